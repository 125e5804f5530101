// "Check it": the slope measured by moving one parameter, beside the gradient derived by hand.

import { t } from "../i18n.js";
import { number, plain } from "../format.js";
import { measuredSlope } from "../network.js";
import { h, replace } from "../dom.js";
import { symbolOf } from "./inspector.js";

const LARGEST = 1e-6; // relative error of a right gradient in float64, by central differences of this length
let exponent = -5;

/** `one` is the number that is chosen or under the pointer. */
export function checkIt(box, state, computed, one) {
  const { numbers, result } = computed;
  const batch = state.batch ? state : { X: [state.X[state.row]], T: [state.T[state.row]] };
  const slopeAt = (place, epsilon) => measuredSlope(state.layers, batch.X, batch.T, state.loss, place, epsilon);
  const byHand = ({ layer, i, j }) => (i === undefined ? result.grads[layer].db[j] : result.grads[layer].dW[i][j]);
  const place = one.place ?? steepest(result.grads[0].dW);
  const name = place.i === undefined ? `b${place.layer + 1}.${place.j}` : `w${place.layer + 1}.${place.i}.${place.j}`;
  replace(box, ...single(numbers.get(name), place), every());

  function single({ symbol, value }) {
    const epsilon = 10 ** exponent;
    const { above, below, slope } = slopeAt(place, epsilon);
    const hand = byHand(place);
    const right = agree(hand, slope);
    const w = plain(symbol);
    const power = () => ["10", h("sup", { text: String(exponent).replace("-", "−") })];
    const row = (label, figure, key) => h("tr", {}, h("th", { scope: "row", text: label }), h("td", { text: figure, data: { check: key } }));
    return [
      h("p", { class: "muted", text: t(one.place ? "check-this" : "check-choose", { symbol: w }) }),
      h("label", { class: "field" }, h("span", { text: "ε" }),
        h("input", {
          type: "range", min: -12, max: -1, step: 1, value: exponent, "aria-label": "ε", "aria-valuetext": `10^${exponent}`, data: { key: "epsilon" },
          oninput: (event) => {
            exponent = Number(event.target.value);
            checkIt(box, state, computed, one);
          },
        }), h("output", {}, power())),
      h("div", { class: "workings" },
        h("p", {}, symbolOf(numbers.get(`d${name}`).symbol), ` ≈ (J(${w} + ε) − J(${w} − ε)) / 2ε`),
        h("p", { class: "figures" }, `= (${number(above, 12)} − ${number(below, 12)}) / (2 · `, power(), `) = ${number(slope, 8)}`)),
      h("table", { class: "plain" }, h("tbody", {},
        row(`J(${w} + ε)`, number(above, 12), "above"), row(`J(${w} − ε)`, number(below, 12), "below"),
        row(t("measured"), number(slope, 8), "measured"), row(t("by-hand"), number(hand, 8), "hand"))),
      h("p", { class: right ? "verdict good" : "verdict bad", text: t(right ? "agree" : "differ", { ratio: number(slope === 0 ? NaN : hand / slope, 5) }), data: { at: value } }),
    ];
  }

  /** All parameters, an array a row. */
  function every() {
    const rows = state.layers.flatMap(({ W, b }, layer) => [
      ["W", W.flatMap((row, i) => row.map((_, j) => ({ layer, i, j })))],
      ["b", b.map((_, j) => ({ layer, j }))],
    ].map(([letter, places]) => {
      const pairs = places.map((p) => [byHand(p), slopeAt(p, 1e-5).slope]);
      const right = pairs.every(([hand, slope]) => agree(hand, slope));
      const norm = (k) => Math.hypot(...pairs.map((pair) => pair[k]));
      const apart = Math.hypot(...pairs.map(([hand, slope]) => hand - slope)) / Math.max(norm(0), norm(1), 1e-12);
      return h("tr", {}, h("th", { scope: "row" }, letter, h("sub", { text: layer + 1 })), h("td", { text: places.length }),
        h("td", { text: apart.toExponential(0).replace("-", "−") }), h("td", { class: right ? "good" : "bad", text: t(right ? "right" : "wrong") }));
    }));
    return h("table", { class: "plain every" }, h("caption", { text: t("check-all") }),
      h("thead", {}, h("tr", {}, ["array", "count", "apart", "verdict"].map((key) => h("th", { scope: "col", text: t(`check.${key}`) })))), h("tbody", {}, rows));
  }
}

/** Of the first layer's weights the one that the loss depends on most: where an input is 0, there is nothing to see. */
function steepest(dW) {
  const i = dW.reduce((best, row, k) => (Math.abs(row[0]) > Math.abs(dW[best][0]) ? k : best), 0);
  return { layer: 0, i, j: 0 };
}

const agree = (hand, slope) => Math.abs(hand - slope) <= LARGEST * Math.max(Math.abs(hand), Math.abs(slope), 1e-3);
