// What a network says of a drawing: bars, the steps of preparation, gradient, attack, activations.

import { decode } from "../base64.js";
import { drawPicture, drawSigned, find, h, paint, rgb } from "../dom.js";
import { t } from "../i18n.js";
import { count, percent } from "../format.js";

export function bars(panel, classes, answer) {
  const top = answer ? answer.predicted : -1;
  const box = find(".bars", panel);
  if (box.children.length !== classes.length) {
    box.replaceChildren(...classes.map(() =>
      h("div", { class: "bar" }, h("span", { class: "name" }), h("span", { class: "track" }, h("span", { class: "fill" })), h("span", { class: "share" }))));
  }
  [...box.children].forEach((bar, k) => {
    const p = answer ? answer.probabilities[k] : 0;
    bar.classList.toggle("top-class", k === top);
    find(".name", bar).textContent = classes[k];
    find(".fill", bar).style.width = `${(100 * p).toFixed(1)}%`;
    find(".share", bar).textContent = answer ? percent(p) : "–";
  });
}

export function says(panel, answer, waiting) {
  find(".verdict-line", panel).textContent = answer
    ? t("says", { digit: answer.classes[answer.predicted], percent: percent(answer.probabilities[answer.predicted]) })
    : t(waiting);
  const { run, step, title } = answer?.model ?? { title: "" };
  find(".model", panel).textContent = run ? t(step === null ? "by-model" : "by-model-in-training", { run, step: count(step), title }) : title;
}

function tile(label, caption, draw, large = false, signed = false) {
  const canvas = h("canvas", { role: "img", "aria-label": label, class: signed ? "signed" : "" });
  draw(canvas);
  return h("li", { class: large ? "tile large" : "tile" }, canvas, h("span", { text: caption }));
}

export function stages(panel, answer) {
  find(".stages", panel).replaceChildren(...(answer?.stages ?? []).map(({ name, picture }, k) =>
    tile(t("stage-label", { n: k + 1, name: t(`stage.${name}`) }), t(`stage.${name}`), (canvas) => drawPicture(canvas, picture))));
}

/** The gradient beside the prepared digit; returns what can be laid over the drawing. */
export function gradient(panel, answer) {
  const row = find(".gradient-row", panel);
  const prepared = answer?.stages?.at(-1)?.picture;
  if (!answer?.gradient || !prepared) {
    row.replaceChildren();
    return null;
  }
  const { picture } = answer.gradient;
  const layer = document.createElement("canvas");
  drawSigned(layer, picture, 225);
  const digit = answer.classes[answer.gradient.class];
  const both = (canvas) => {
    drawPicture(canvas, prepared);
    canvas.getContext("2d").drawImage(layer, 0, 0);
  };
  row.replaceChildren(
    list(tile(t("gradient-label", { digit }), digit, (canvas) => drawSigned(canvas, picture), true, true),
      tile(`${t("gradient-label", { digit })}, ${t("stage.centred")}`, `+ ${t("stage.centred")}`, both, true)));
  return { layer, prepared: { columns: prepared.columns, values: decode(prepared.pixels) } };
}

const list = (...items) => h("ul", { class: "unit-row" }, items);

export function attack(panel, answer) {
  const row = find(".attack-row", panel);
  if (!answer?.attack) {
    row.replaceChildren();
    return;
  }
  const { picture, predicted, probabilities } = answer.attack;
  row.replaceChildren(
    list(tile(t("attack-label"), "", (canvas) => drawPicture(canvas, picture), true)),
    h("p", { role: "status", text: t("attack-says", { digit: answer.classes[predicted], percent: percent(probabilities[predicted]) }) }));
}

export function activations(panel, answer) {
  find(".activations", panel).replaceChildren(...(answer?.activations ?? []).map((layer) => {
    const title = t("activations-of", { name: layer.name, units: layer.units, zeros: percent(layer.zeros, 0) });
    return h("div", { class: "activation" }, h("p", { class: "muted", text: title }), layer.pictures?.length ? maps(layer, title) : strip(layer, title));
  }));
}

/** A vector of activations as rows of pixels, 32 a row at most. */
function strip({ values }, title) {
  const columns = Math.min(32, values.length);
  const rows = Math.ceil(values.length / columns);
  const most = Math.max(...values.map(Math.abs), 1e-9);
  const canvas = h("canvas", { class: "strip", role: "img", "aria-label": title });
  paint(canvas, rows, columns, values, (value) => {
    const strength = Math.abs(value) / most;
    return value >= 0 ? rgb(60 * strength, 150 * strength, 255 * strength) : rgb(255 * strength, 80 * strength, 60 * strength);
  });
  canvas.style.aspectRatio = `${columns} / ${rows}`;
  canvas.style.maxWidth = `${columns * 14}px`;
  return canvas;
}

function maps({ pictures }, title) {
  return h("div", { class: "maps" }, pictures.map((picture, k) => {
    const canvas = h("canvas", { role: "img", "aria-label": `${title}, ${k + 1}` });
    drawSigned(canvas, picture);
    return canvas;
  }));
}
