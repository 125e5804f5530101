// "Share": the link, and pictures and tables of what the other tabs show.

import { find, h } from "./dom.js";
import { announce, showError } from "./notices.js";
import { ApiError } from "./api.js";
import { t } from "./i18n.js";
import { fragmentOf } from "./place.js";

const INLINED = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "font", "opacity", "visibility"];

export function shareTab(panel, tabs) {
  const field = () => find("[name=link]", panel);

  function shown() {
    field().value = `${location.origin}${location.pathname}#step?${fragmentOf("step")}`;
  }

  async function copy() {
    field().select();
    await navigator.clipboard.writeText(field().value);
    announce(t("copied"));
    find("[data-do=copy]", panel).textContent = t("copied");
  }

  const actions = {
    copy,
    picture: () => save("step-through.svg", "image/svg+xml", standalone(needed(tabs.step.picture?.()))),
    numbers: () => save("step-through.csv", "text/csv", numbersCsv(needed(tabs.step.table?.()))),
    curves: () => save("curves.csv", "text/csv", curvesCsv(needed(tabs.train?.table?.()))),
  };
  panel.addEventListener("click", (event) => {
    const action = actions[event.target.dataset?.do];
    if (action) Promise.resolve().then(action).catch(showError);
  });
  return { start: shown, shown };
}

function needed(found) {
  if (!found) throw new ApiError("nothing-shown", "");
  return found;
}

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** The picture with its colours and fonts in every element, as it has no style sheet elsewhere. */
function standalone(svg) {
  const copy = svg.cloneNode(true);
  const originals = svg.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((element, k) => {
    const style = getComputedStyle(originals[k]);
    for (const name of INLINED) element.setAttribute(name === "font" ? "font-family" : name, name === "font" ? style.fontFamily : style.getPropertyValue(name));
    if (element.tagName === "text") element.setAttribute("font-size", style.fontSize);
    for (const name of ["tabindex", "role", "class", "data-id", "data-key"]) element.removeAttribute(name);
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.removeAttribute("role");
  const [, , width, height] = copy.getAttribute("viewBox").split(" ");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  return new XMLSerializer().serializeToString(copy);
}

function numbersCsv({ numbers, lines }) {
  const rows = lines.flatMap(({ phase, ids }, k) => ids.map((id) => [k + 1, phase, id, numbers.get(id).value, numbers.get(id).equation]));
  return csv([["line", "phase", "number", "value", "equation"], ...rows]);
}

function curvesCsv(epochs) {
  return csv([["epoch", "step", "train_loss", "validation_loss", "test_loss"], ...epochs.map((e) => [e.epoch, e.step, e.train?.loss, e.validation?.loss ?? "", e.test?.loss ?? ""])]);
}

const csv = (rows) => rows.map((row) => row.join(",")).join("\r\n") + "\r\n";
