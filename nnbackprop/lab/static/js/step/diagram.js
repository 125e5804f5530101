// The network as a picture: every number stands on its edge or in its neuron, and is a button.

import { t } from "../i18n.js";
import { number, plain, short } from "../format.js";
import { s } from "../dom.js";
import { gridDiagram } from "./diagram_grid.js";
import { smallDiagram } from "./diagram_small.js";

/** `view`: numbers, states (how many the optimizer keeps of a parameter), reached (a set of ids), now and used (sets), selected, layers, names, image, narrow. */
export function diagram(view, { onPick, onHover }) {
  const { width, height, marks } = (view.image ? gridDiagram : smallDiagram)(view, tools(view));
  const svg = s("svg", { class: "diagram", tabindex: "-1", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": t("diagram") }, marks);
  const groups = [...svg.querySelectorAll(".number")];
  const active = groups.find((g) => g.dataset.id === view.selected) ?? groups[0];
  active?.setAttribute("tabindex", "0");
  const idOf = (event) => event.target.closest?.(".number")?.dataset.id;
  svg.addEventListener("click", (event) => idOf(event) && onPick(idOf(event)));
  svg.addEventListener("focusin", (event) => idOf(event) && onHover(idOf(event)));
  svg.addEventListener("pointerover", (event) => event.pointerType === "mouse" && idOf(event) && onHover(idOf(event)));
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      onPick(idOf(event));
      return;
    }
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const k = groups.indexOf(event.target);
    if (!by || k < 0) return;
    event.preventDefault();
    const next = groups[(k + by + groups.length) % groups.length];
    groups[k].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
  return svg;
}

/** What both layouts draw with. */
function tools(view) {
  const { numbers, reached, now, used, selected } = view;
  const known = (id) => numbers.has(id) && (reached.has(id) || /^([xtwb]|o\d[wb])\d*\./.test(id));

  /** A number in a box of w by h at its centre; `symbol` shows its letter before it. */
  function num(id, x, y, w, { symbol = true, decimals = 4, h = 20, tint } = {}) {
    const one = numbers.get(id);
    const shown = known(id);
    const text = shown ? (one.kind === "input" || one.kind === "target" ? short(one.value, decimals) : number(one.value, decimals)) : "·";
    const classes = ["number", kindOf(one), !shown && "hidden-yet", now.has(id) && "now", used.has(id) && "used", selected === id && "selected", one.right && "mistaken"];
    return s("g", {
      class: classes.filter(Boolean).join(" "), tabindex: "-1", role: "button",
      "aria-label": `${plain(one.symbol)} ${shown ? text : t("not-yet")}`,
      data: { id, key: id, ...(shown ? { value: String(one.value) } : {}) },
    },
      s("rect", { class: "hit", x: x - w / 2, y: y - h / 2, width: w, height: h, rx: 4 }),
      tint === undefined ? null : s("rect", { class: tint > 0 ? "tint-above" : "tint-below", "fill-opacity": Math.min(Math.abs(tint), 1) * 0.35, x: x - w / 2, y: y - h / 2, width: w, height: h, rx: 2 }),
      symbol ? s("text", { class: "symbol", x: x - w / 2 + 4, y: y + 4, text: `${plain(one.symbol)} ` }) : null,
      s("text", { class: "value", x: symbol ? x + w / 2 - 4 : x, y: y + 4, "text-anchor": symbol ? "end" : "middle", text }));
  }

  /** Of a parameter the latest that is known: itself, or what it is after the update. */
  const latest = (id) => (reached.has(`n${id}`) ? `n${id}` : id);
  const edge = (x1, y1, x2, y2, id) =>
    s("line", {
      class: ["edge", [id, `d${id}`, `s0${id}`, `s1${id}`, `n${id}`].some((one) => now.has(one) || used.has(one)) && "active", selected === id && "selected"].filter(Boolean).join(" "),
      x1, y1, x2, y2, "stroke-width": (0.75 + Math.min(Math.abs(numbers.get(id).value), 3) * 1.5).toFixed(2),
    });
  const label = (text, x, y, anchor = "middle", cls = "caption") => s("text", { class: cls, x, y, "text-anchor": anchor, text });
  return { num, known, latest, edge, label, box: (x, y, w, h, cls) => s("rect", { class: cls, x: x - w / 2, y: y - h / 2, width: w, height: h, rx: 8 }) };
}

function kindOf({ kind }) {
  if (kind === "update" || kind === "optimizerUpdate") return "updated";
  if (kind === "newState") return "updated state";
  if (["lossSlope", "activationSlope", "outputError", "hiddenError", "weightGradient", "biasGradient"].includes(kind)) return "slope";
  return kind === "weight" || kind === "bias" ? "parameter" : "forward";
}
