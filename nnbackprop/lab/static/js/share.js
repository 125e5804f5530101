// "Share": the link, and pictures and tables of what the other tabs show.

import { ApiError, isStatic } from "./api.js";
import { find, h } from "./dom.js";
import { t } from "./i18n.js";
import { announce, showError } from "./notices.js";
import { fragmentOf } from "./place.js";
import { choose } from "./step/step.js";

const INLINED = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-family", "font-size", "font-style", "font-weight"];
const PANELS = isStatic ? ["step", "draw"] : ["step", "train", "draw", "look"];

export function shareTab(panel, tabs) {
  const at = (selector) => find(selector, panel);

  function shown() {
    at("[name=link]").value = `${location.origin}${location.pathname}#step?${fragmentOf("step")}`;
    choose(at("[name=panel]"), PANELS.map((name) => [name, t(`tab.${name}`)]), at("[name=panel]").value || "step");
  }

  async function copy() {
    at("[name=link]").select();
    if (navigator.clipboard) await navigator.clipboard.writeText(at("[name=link]").value);
    else document.execCommand("copy"); // where the page comes over the network without TLS
    announce(t("copied"));
    at("[data-do=copy]").textContent = t("copied");
  }

  /** The network as SVG; of other panels all pictures, side by side, as PNG. */
  async function picture() {
    const name = at("[name=panel]").value;
    if (name === "step") return save("step-through.svg", new Blob([standalone(needed(tabs.step.picture()))], { type: "image/svg+xml" }));
    const canvases = [...document.querySelectorAll(`#${name} canvas`)].filter(({ width, height, ariaHidden }) => width * height > 0 && ariaHidden !== "true");
    return save(`${name}.png`, await together(needed(canvases.length && canvases), document.getElementById(name)));
  }

  function table() {
    const name = at("[name=panel]").value;
    const rows = { step: () => numberRows(needed(tabs.step.table())), train: () => epochRows(tabs.train.table()), look: () => tabs.look.table(), draw: () => null }[name]();
    save(`${name}.csv`, new Blob([csv(rows ?? needed(tableRows(document.getElementById(name))))], { type: "text/csv" }));
  }

  const actions = { copy, picture, table };
  panel.addEventListener("click", (event) => {
    const action = actions[event.target.dataset?.do];
    if (action) Promise.resolve().then(action).catch(showError);
  });
  document.addEventListener("language", () => panel.hidden || shown());
  return { start: shown, shown };
}

function needed(found) {
  if (!found) throw new ApiError("nothing-shown", "");
  return found;
}

function save(name, blob) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** The picture with its colours and fonts in every element, as it has no style sheet elsewhere. */
function standalone(svg) {
  const copy = svg.cloneNode(true);
  const originals = svg.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((element, k) => {
    const style = getComputedStyle(originals[k]);
    for (const name of INLINED) element.setAttribute(name, style.getPropertyValue(name));
    for (const name of ["tabindex", "role", "class", "data-id", "data-key"]) element.removeAttribute(name);
  });
  const [, , width, height] = copy.getAttribute("viewBox").split(" ");
  for (const [name, value] of Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height })) copy.setAttribute(name, value);
  return new XMLSerializer().serializeToString(copy);
}

/** Canvases of a panel in rows, each as large as the panel shows it, on the colour of the page. */
async function together(canvases, panel) {
  panel.hidden = false; // to be measured
  const [margin, widest] = [12, 1200];
  let [x, y, tallest, width] = [margin, margin, 0, 0];
  const places = canvases.map((canvas) => {
    const [w, h_] = [canvas.clientWidth || canvas.width, canvas.clientHeight || canvas.height];
    if (x + w > widest && x > margin) [x, y, tallest] = [margin, y + tallest + margin, 0];
    const place = [canvas, x, y, w, h_];
    [x, tallest, width] = [x + w + margin, Math.max(tallest, h_), Math.max(width, x + w + margin)];
    return place;
  });
  panel.hidden = true;
  const sheet = new OffscreenCanvas(Math.ceil(width), Math.ceil(y + tallest + margin));
  const context = sheet.getContext("2d");
  context.fillStyle = getComputedStyle(document.body).backgroundColor;
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.imageSmoothingEnabled = false;
  for (const place of places) context.drawImage(...place);
  return sheet.convertToBlob({ type: "image/png" });
}

const numberRows = ({ numbers, lines }) => [
  ["line", "phase", "number", "value", "equation"],
  ...lines.flatMap(({ phase, ids }, k) => ids.map((id) => [k + 1, phase, id, numbers.get(id).value, numbers.get(id).equation])),
];

function epochRows(epochs) {
  if (!epochs) return null;
  const metrics = Object.keys(epochs.at(-1).train?.metrics ?? {});
  const parts = ["train", "validation", "test"].filter((part) => epochs.some((e) => e[part]));
  const heads = parts.flatMap((part) => ["loss", ...metrics].map((name) => `${part}_${name}`));
  const cells = (e) => parts.flatMap((part) => [e[part]?.loss, ...metrics.map((name) => e[part]?.metrics?.[name])]);
  return [["epoch", "step", ...heads], ...epochs.map((e) => [e.epoch, e.step, ...cells(e)])];
}

/** The first table of a panel, or its list of bars. */
function tableRows(panel) {
  const rows = panel.querySelector("table")?.rows ?? panel.querySelectorAll(".bar");
  return rows.length ? [...rows].map((row) => [...row.children].filter((cell) => !cell.matches(".track")).map((cell) => cell.textContent)).filter((row) => row.length) : null;
}

const quoted = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
const csv = (rows) => rows.map((row) => row.map((value) => quoted(String(value ?? ""))).join(",")).join("\r\n") + "\r\n";
