// One number: what it is, its formula with the numbers put in, the equation, the line of code, and the way to it.

import { ACTIVATIONS } from "../activations.js";
import { EQUATIONS, OF_SEVERAL } from "../equations.js";
import { has, t } from "../i18n.js";
import { number, plain, short } from "../format.js";
import { h } from "../dom.js";

/** A symbol with its indices set below and above. */
export function symbolOf({ base, sub = "", sup = "", mark = "" }) {
  return h("span", { class: "sym" }, h("i", { text: base }), sub && h("sub", { text: sub }), mark, sup && h("sup", { text: `(${sup})` }));
}

const SLOPES = ["lossSlope", "outputError", "activationSlope", "hiddenError", "weightGradient", "biasGradient"];
const BY_HAND = 5; // decimals with which a pocket calculator comes to what is shown
const opened = { code: false, way: true }; // as the reader left them

/** What there is to say of a number; `onPick` is told which of its parts was chosen. */
export function explain(one, { numbers, reached, source, whole, onPick }) {
  const parts = [
    h("p", { class: "kind", text: describe(one) }),
    h("p", { class: "big" }, symbolOf(one.symbol), " = ", h("output", { class: "figure", text: valueOf(one), data: { value: String(one.value) } })),
  ];
  if (one.formula) parts.push(workings(one, numbers, onPick));
  if (one.right) {
    parts.push(h("p", { class: "wrong-formula" }, `${t("should-be")} `, ...put(one.right, numbers, (part) => symbolOf(part.symbol))));
  }
  if (namesSlope(one)) parts.push(h("p", { class: "muted slope-about", text: t("slope-about", { slope: ACTIVATIONS[one.activation].prime }) }));
  if (one.place) parts.push(siblings(one, numbers, reached, onPick));
  if (whole && SLOPES.includes(one.kind) && one.kind !== "lossSlope") parts.push(wholeWay(one, numbers, onPick));
  if (one.equation) parts.push(equation(one.equation, numbers.has("t.1")));
  if (source) parts.push(code(source));
  return parts;
}

const valueOf = (one) => (one.kind === "input" || one.kind === "target" ? short(one.value) : number(one.value, 6));

/** Whether f′, the slope of the activation, stands in its formula. */
const namesSlope = ({ formula = [] }) => formula.some((part) => (part.symbol?.base ?? String(part)).includes("f′"));

export function describe({ kind, i, j, l, place, of }) {
  const from = (place?.i ?? i ?? 0) + 1;
  const to = (place?.j ?? j ?? 0) + 1;
  const layer = place?.layer ?? l;
  const key = ["weight", "bias", "sum", "weightGradient", "biasGradient"].includes(kind) ? `${kind}.${layer + 1}` : kind;
  return t(has(`kind.${key}.${of}`) ? `kind.${key}.${of}` : `kind.${key}`, { i: from, j: to });
}

/** The formula in letters, in numbers, and its value. */
function workings(one, numbers, onPick) {
  const letters = put(one.formula, numbers, (part) => chip(part, onPick));
  const figures = put(one.formula, numbers, (part, first) => bracketed(part.value, first));
  return h("div", { class: "workings" },
    h("p", {}, symbolOf(one.symbol), " = ", letters),
    h("p", { class: "figures", data: { value: String(one.value) } }, "= ", figures),
    h("p", { class: "figures" }, `= ${number(one.value, 6)}`),
    h("p", { class: "muted", text: t("rounded") }));
}

/** `render` is told whether a minus may stand there: at the beginning, and after an opening bracket. */
function put(formula, numbers, render) {
  return formula.map((part, k) => {
    if (typeof part === "string") return part;
    const full = part.id ? numbers.get(part.id) : part;
    const before = formula.slice(0, k).filter((one) => one !== "").at(-1);
    const squared = /^[²³]/.test(formula[k + 1] ?? "");
    return render(full, !squared && (before === undefined || /[([]$/.test(before)));
  });
}

function chip(part, onPick) {
  if (!part.id) return symbolOf(part.symbol);
  return h("button", { type: "button", class: "chip", "aria-label": `${plain(part.symbol)}, ${number(part.value)}`, onclick: () => onPick(part.id) }, symbolOf(part.symbol));
}

/** Negative numbers in the middle of a formula stand in brackets. */
function bracketed(value, first, decimals) {
  const text = Number.isInteger(value) ? short(value) : number(value, decimals);
  return h("span", { class: "put-in", text: value < 0 && !first ? `(${text})` : text });
}

/** Of a parameter, its gradient and its next value, and the other way round. */
function siblings({ id, place }, numbers, reached, onPick) {
  const name = place.i === undefined ? `b${place.layer + 1}.${place.j}` : `w${place.layer + 1}.${place.i}.${place.j}`;
  const others = [name, `d${name}`, `s0${name}`, `s1${name}`, `n${name}`].filter((other) => other !== id && (other === name || reached.has(other)));
  return h("p", { class: "siblings" }, others.map((other) =>
    h("span", {}, chip({ ...numbers.get(other), id: other }, onPick), ` = ${number(numbers.get(other).value)}`)));
}

/** All slopes that a gradient is made of, from the loss to it, each with its numbers: what one computes by hand. */
function wholeWay(one, numbers, onPick) {
  const way = [];
  const follow = (number_) => {
    if (way.includes(number_)) return;
    for (const { id } of number_.formula) if (id && SLOPES.includes(numbers.get(id).kind)) follow(numbers.get(id));
    way.push(number_);
  };
  follow(one);
  const [before, after] = t("whole-way", { symbol: "|" }).split("|"); // the symbol is one word, and is not broken
  return h("details", { class: "way", open: opened.way, ontoggle: (event) => (opened.way = event.target.open) },
    h("summary", {}, before, symbolOf(one.symbol), after),
    h("ol", {}, way.map((step) => h("li", {},
      chip(step, onPick), " = ", put(step.formula, numbers, (part) => symbolOf(part.symbol)), h("br"),
      step.equation ? h("span", { class: "tag", text: step.equation }) : null,
      h("span", { class: "figures" }, " = ", put(step.formula, numbers, (part, first) => bracketed(part.value, first, BY_HAND)), ` = ${number(step.value, BY_HAND)}`)))));
}

/** An equation of the derivation by its number; of what has none there, the formula and its paper by its name. */
function equation(name, severalOutputs) {
  const text = (severalOutputs && OF_SEVERAL[name]) || EQUATIONS[name];
  return h("p", { class: "equation" }, h("span", { class: "tag", text: name }), " ", h("span", { text }));
}

/** The function that computes a number, its line marked. It comes with the page's own data: no link leads out. */
function code({ file, line, function: name, code: text, marked }) {
  const first = marked.length ? line + marked[0] : line;
  const where = `${file}:${first}`;
  const lines = text.trimEnd().split("\n").map((one, k) =>
    h(marked.includes(k) ? "mark" : "span", { class: "code-line" }, h("span", { class: "line-number", text: line + k, "aria-hidden": "true" }), `${one}\n`));
  return h("details", { class: "code", open: opened.code, ontoggle: (event) => (opened.code = event.target.open) },
    h("summary", {}, h("code", { text: name }), " ", h("span", { class: "muted", text: where })),
    h("pre", { tabindex: "0", role: "region", "aria-label": where }, h("code", {}, lines)));
}
