// What is said aloud to screen readers, and errors at the top of the page.

import { find } from "./dom.js";
import { has, t } from "./i18n.js";

export function announce(text) {
  find("#announcer").textContent = text;
}

export function showError(error) {
  const box = find("#notice");
  const key = `error.${error.kind}`;
  find(".text", box).textContent = [has(key) ? t(key) : "", error.message].filter(Boolean).join(" ");
  box.hidden = false;
}

export function hideError() {
  find("#notice").hidden = true;
}
