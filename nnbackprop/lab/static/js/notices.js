// What is said aloud to screen readers, and errors at the top of the page.

import { find, h } from "./dom.js";
import { current, has, t } from "./i18n.js";

export function announce(text) {
  find("#announcer").textContent = text;
}

/** The server's paragraph is English: in Chinese what kind of error it is stands before it. */
export function showError(error) {
  const box = find("#notice");
  const key = `error.${error.kind}`;
  const kind = has(key) && (current() !== "en" || !error.message) ? t(key) : "";
  find(".text", box).replaceChildren(kind, kind && error.message ? " " : "", h("span", { lang: "en", text: error.message }));
  box.hidden = false;
}

export function hideError() {
  find("#notice").hidden = true;
}
