// The parts of "Look": each asks the server for one view of a run and draws it.

import { lineChart } from "../chart.js";
import { decodeFloats } from "../base64.js";
import { drawPicture, drawSigned, h } from "../dom.js";
import { t } from "../i18n.js";
import { number, percent } from "../format.js";
import { isShare, metricName } from "../metrics.js";

const FULL = 0.8; // of the largest: below, shades are so light that text on them stays readable

const canvasOf = (draw, label) => {
  const canvas = h("canvas", { role: "img", "aria-label": label });
  draw(canvas);
  return canvas;
};

/** A sample's picture, or its numbers where it is a row of a table. */
export function pictureOf({ picture, values, label }, caption) {
  if (picture) return canvasOf((canvas) => drawPicture(canvas, picture), `${label}, ${caption}`);
  return h("span", { class: "values", text: (values ?? []).map((value) => number(value, 2)).join("  ") });
}

export function samples(list) {
  if (list.length === 0) return h("p", { text: t("no-samples") });
  return h("ul", { class: "samples" }, list.map((one) => {
    const caption = "activation" in one ? t("activation-is", { value: number(one.activation, 2) }) : t("sample-caption", { label: one.label, predicted: one.predicted, percent: percent(one.probability) });
    return h("li", { class: "tile" }, pictureOf(one, caption), h("span", { text: caption }));
  }));
}

/** Rows of samples, as a table of a list has them. */
const sampleRows = (list) => [
  ["sample", "label", "predicted", "activation" in (list[0] ?? {}) ? "activation" : "probability"],
  ...list.map((one) => [one.index, one.label, one.predicted, one.activation ?? one.probability]),
];

/** A button that asks for the next of a list and puts them below. */
function more(total, shown, ask) {
  if (shown >= total) return null;
  return h("div", { class: "buttons" }, h("button", { type: "button", text: t("more"), onclick: async (event) => {
    const place = event.target.parentElement;
    place.replaceWith(...(await ask(shown)).filter(Boolean));
  } }));
}

export async function confusion(box, look) {
  const { classes, counts, accuracy, n } = await look({ view: "confusion" });
  const most = Math.max(...counts.flatMap((row, i) => row.filter((_, j) => i !== j)), 1);
  const under = h("div", { class: "cell-samples", role: "status" }, h("p", { class: "muted", text: t("choose-cell") }));
  const cell = (i, j) => {
    const value = counts[i][j];
    const share = i === j ? value / Math.max(...counts[i], 1) : value / most;
    const label = t("cell-label", { true: classes[i], predicted: classes[j], n: value });
    const classesOf = [i !== j && "mistake", value === 0 && "empty", share > FULL && "strong"].filter(Boolean).join(" ");
    const shade = h("span", { class: "shade" });
    shade.style.opacity = String(value === 0 ? 0 : share > FULL ? 1 : 0.06 + 0.38 * share);
    return h("td", {}, h("button", { type: "button", class: classesOf, "aria-label": label, onclick: () => open(i, j, 0) }, shade, h("span", { class: "n", text: value })));
  };

  async function open(i, j) {
    const part = async (offset) => {
      const found = await look({ view: "cell", true: i, predicted: j, offset });
      return [samples(found.samples), more(found.total, offset + found.samples.length, part)];
    };
    const title = h("h3", { text: t("cell-of", { n: counts[i][j], true: classes[i], predicted: classes[j] }) });
    under.replaceChildren(title, ...(await part(0)).filter(Boolean));
  }

  box.replaceChildren(
    h("p", {}, h("strong", { text: t("accuracy-over", { percent: percent(accuracy, 2), n }) })), h("p", { class: "muted", text: t("confusion-about") }),
    h("div", { class: "confusion" },
      h("table", { class: "matrix" },
        h("thead", {}, h("tr", {}, h("td"), classes.map((name) => h("th", { scope: "col", text: name })))),
        h("tbody", {}, counts.map((row, i) => h("tr", {}, h("th", { scope: "row", text: classes[i] }), row.map((_, j) => cell(i, j)))))),
      under));
}

export async function wrong(box, look) {
  const part = async (offset) => {
    const found = await look({ view: "wrong", offset });
    box.table = [...(box.table ?? []), ...sampleRows(found.samples).slice(offset ? 1 : 0)];
    return [samples(found.samples), more(found.total, offset + found.samples.length, part)];
  };
  box.replaceChildren(h("p", { class: "muted", text: t("wrong-about") }), ...(await part(0)).filter(Boolean));
}

export async function weights(box, look, open) {
  const part = async (offset) => {
    const { total, units } = await look({ view: "weights", offset });
    box.table = [...(box.table ?? []), ...units.map(({ unit: k, picture }) => [k, ...decodeFloats(picture.values)])];
    const tiles = units.map(({ unit, picture }) => h("li", { class: "tile" },
      canvasOf((canvas) => drawSigned(canvas, picture), t("unit-label", { unit })),
      h("button", { type: "button", class: "quiet", text: t("unit-label", { unit }), onclick: () => open("unit", { unit }) })));
    return [h("ul", { class: "samples" }, tiles), more(total, offset + units.length, part)];
  };
  box.replaceChildren(h("p", { class: "muted", text: t("weights-about") }), ...(await part(0)).filter(Boolean));
}

export async function unit(box, look, open, { layer, unit: k = 0 } = {}) {
  const asked = layer ? { view: "unit", layer, unit: k } : { view: "unit", unit: k };
  const found = await look(asked);
  const chosen = found.layers.find(({ name }) => name === (layer ?? found.layer)) ?? found.layers[0];
  const change = () => open("unit", { layer: box.querySelector("[name=layer]").value, unit: Number(box.querySelector("[name=unit]").value) });
  box.replaceChildren(
    h("p", { class: "muted", text: t("unit-about") }),
    h("label", { class: "field" }, h("span", { text: t("layer") }),
      h("select", { name: "layer", data: { key: "layer" }, onchange: () => open("unit", { layer: box.querySelector("[name=layer]").value, unit: 0 }) }, found.layers.map(({ name }) => h("option", { value: name, text: name, selected: name === chosen.name })))),
    h("label", { class: "field" }, h("span", { text: t("unit") }),
      h("input", { type: "number", name: "unit", min: 0, max: chosen.units - 1, value: k, data: { key: "unit" }, onchange: change })),
    samples(found.samples));
  box.table = sampleRows(found.samples);
}

export async function compare(box, look, open, { other } = {}, runs = [], run = "") {
  const others = runs.filter((name) => name !== run);
  const chosen = other ?? others.at(-1);
  if (!chosen) {
    box.replaceChildren(h("p", { class: "muted", text: t("no-runs") }));
    return;
  }
  const { runs: both, differences } = await look({ view: "compare", other: chosen });
  const epochs = [...new Set(both.flatMap((one) => one.epochs.map((e) => e.epoch)))].sort((a, b) => a - b);
  const along = (one, of) => epochs.map((epoch) => of(one.epochs.find((e) => e.epoch === epoch)) ?? null);
  const heldOutOf = (e) => e?.validation ?? e?.test ?? e?.train;
  const [metric] = Object.keys(heldOutOf(both[0].epochs.at(-1))?.metrics ?? {});
  const loss = h("div", { class: "chart" });
  const accuracy = h("div", { class: "chart" });
  box.replaceChildren(
    h("label", { class: "field" }, h("span", { text: t("other-run") }),
      h("select", { data: { key: "other" }, onchange: (event) => open("compare", { other: event.target.value }) }, others.map((name) => h("option", { value: name, text: name, selected: name === chosen })))),
    h("div", { class: "compare" }, h("div", {}, loss, accuracy),
      h("div", {}, h("h3", { text: t("differences") }), differences.length
        ? h("table", { class: "plain" }, h("thead", {}, h("tr", {}, [t("setting"), ...both.map(({ name }) => name)].map((text) => h("th", { scope: "col", text })))),
          h("tbody", {}, differences.map(({ setting, values }) => h("tr", {}, h("th", { scope: "row", text: setting }), values.map((value) => h("td", { text: JSON.stringify(value) }))))))
        : h("p", { class: "muted", text: t("no-differences") }))));
  const names = Object.keys(both[0].epochs.at(-1)?.train?.metrics ?? {});
  box.table = [["run", "epoch", "train_loss", ...names.map((name) => `held_out_${name}`)],
    ...both.flatMap((one) => one.epochs.map((e) => [one.name, e.epoch, e.train?.loss, ...names.map((name) => heldOutOf(e)?.metrics?.[name])]))];
  const lines = (of) => both.map((one, k) => ({ label: one.name, colour: k ? "--backward" : "--forward", dash: k, values: along(one, of) }));
  const chart = (place, title, of, scale) => lineChart(place, { title, x: epochs, xLabel: t("epoch"), whole: true, series: lines(of), ...scale });
  chart(loss, t("training-loss"), (e) => e?.train?.loss);
  if (metric) chart(accuracy, `${metricName(metric)}, ${t("held-out")}`, (e) => heldOutOf(e)?.metrics[metric], { share: isShare(metric) });
}
