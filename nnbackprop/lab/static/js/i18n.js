// The page's words in two languages, and who wants to know when the language changes.

import en from "./strings/en.js";
import zh from "./strings/zh.js";

const STRINGS = { en, zh };
const stored = localStorage.getItem("lab-language");
let language = STRINGS[stored] ? stored : navigator.language.startsWith("zh") ? "zh" : "en";

export const current = () => language;

/** The text of a key, with {names} filled in. */
export function t(key, values = {}) {
  const text = STRINGS[language][key];
  if (text === undefined) throw new Error(`no text for ${key}`);
  return filled(text, values);
}

export const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

export const has = (key) => key in STRINGS[language];

export function setLanguage(next) {
  if (!STRINGS[next]) return;
  language = next;
  localStorage.setItem("lab-language", next);
  translatePage();
  document.dispatchEvent(new CustomEvent("language"));
}

/** Fill in what index.html marks: data-t is a text, data-t-label an aria-label. */
export function translatePage() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = t("title");
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
}
