// The page: tabs, language, theme; each tab starts when it is first opened.

import { isStatic } from "./api.js";
import { drawTab } from "./draw/draw.js";
import { find } from "./dom.js";
import { current, setLanguage, t, translatePage } from "./i18n.js";
import { lookTab } from "./look/look.js";
import { hideError, showError } from "./notices.js";
import { openTab, showPlace } from "./place.js";
import { shareTab } from "./share.js";
import { stepTab } from "./step/step.js";
import { trainTab } from "./train/train.js";

const TABS = isStatic ? ["draw", "step", "share"] : ["train", "draw", "step", "look", "share"];
const MAKERS = { train: trainTab, draw: drawTab, step: stepTab, look: lookTab, share: shareTab };
const THEMES = ["auto", "light", "dark"];
const tabs = {};
const started = new Set();

function show(name, focus = false) {
  for (const tab of TABS) {
    const button = find(`#tab-${tab}`);
    button.setAttribute("aria-selected", String(tab === name));
    button.tabIndex = tab === name ? 0 : -1;
    find(`#${tab}`).hidden = tab !== name;
    if (tab === name && focus) button.focus();
  }
  hideError();
  showPlace(name);
  if (started.has(name)) tabs[name].shown?.();
  else {
    started.add(name);
    Promise.resolve(tabs[name].start()).catch((error) => {
      started.delete(name);
      showError(error);
    });
  }
}

function keys(event) {
  const k = TABS.indexOf(event.target.getAttribute("aria-controls"));
  const next = { ArrowRight: k + 1, ArrowLeft: k - 1, Home: 0, End: TABS.length - 1 }[event.key];
  if (k < 0 || next === undefined) return;
  event.preventDefault();
  show(TABS[(next + TABS.length) % TABS.length], true);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("lab-theme", theme);
  labels();
  document.dispatchEvent(new CustomEvent("theme"));
}

function labels() {
  find("#language").textContent = current() === "zh" ? "English" : "中文";
  find("#language").lang = current() === "zh" ? "en" : "zh-CN";
  find("#theme").textContent = t(`theme.${document.documentElement.dataset.theme}`);
}

function main() {
  for (const name of ["train", "look"]) if (!TABS.includes(name)) find(`#tab-${name}`).remove();
  window.addEventListener("hashchange", () => TABS.includes(openTab()) && show(openTab())); // before a tab shows what the link asks
  for (const name of TABS) tabs[name] = MAKERS[name](find(`#${name}`), tabs);
  translatePage();
  const theme = localStorage.getItem("lab-theme");
  setTheme(THEMES.includes(theme) ? theme : "auto");
  find("#language").addEventListener("click", () => setLanguage(current() === "zh" ? "en" : "zh"));
  find("#theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]));
  find("#notice .close").addEventListener("click", hideError);
  find(".tabs").addEventListener("click", (event) => event.target.getAttribute("role") === "tab" && show(event.target.getAttribute("aria-controls")));
  find(".tabs").addEventListener("keydown", keys);
  document.addEventListener("language", labels);
  window.addEventListener("unhandledrejection", (event) => event.reason?.kind && showError(event.reason));
  const asked = openTab();
  show(TABS.includes(asked) ? asked : isStatic ? "step" : "train");
}

main();
