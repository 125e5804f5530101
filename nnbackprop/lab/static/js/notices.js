// What is said aloud to screen readers, and errors at the top of the page.

import { find, h } from "./dom.js";
import { current, filled, has, t } from "./i18n.js";
import SERVER_ZH from "./strings/server_zh.js";

export function announce(text) {
  find("#announcer").textContent = text;
}

/** The server's paragraph; in Chinese that of its id, and where it has none the kind of error, then the original. */
export function showError(error) {
  const box = find("#notice");
  const key = `error.${error.kind}`;
  const chinese = current() === "zh" && SERVER_ZH[error.id];
  const kind = has(key) && (current() !== "en" || !error.message) ? t(key, error.values) : "";
  const parts = chinese ? [filled(chinese, error.values)] : [kind, error.message && original(error.message)];
  find(".text", box).replaceChildren(...parts.filter(Boolean));
  box.hidden = false;
}

/** What there is in English alone: in Chinese it is said to be the original. */
export function original(text) {
  return h("span", { class: "original" }, t("original"), h("span", { lang: "en", text }));
}

export function hideError() {
  find("#notice").hidden = true;
}
