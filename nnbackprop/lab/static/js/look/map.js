// The map: samples by the activations of a hidden layer, on two axes, coloured by class.

import { h } from "../dom.js";
import { t } from "../i18n.js";
import { percent } from "../format.js";
import { pictureOf } from "./views.js";

const HUES = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999", "#ee7733", "#009988", "#8866cc"];
const [WIDTH, HEIGHT] = [960, 720];

export async function map(box, look, open, { layer } = {}) {
  const found = await look(layer ? { view: "map", layer } : { view: "map" });
  const canvas = h("canvas", { class: "map", width: WIDTH, height: HEIGHT, role: "img", "aria-label": t("map-label") });
  const side = h("div", { class: "map-sample", role: "status" }, h("p", { class: "muted", text: t("choose-point") }));
  const labels = [...new Set(found.labels)].sort((a, b) => a - b);
  const nameOf = (label) => found.classes[label];
  const colourOf = (label) => HUES[labels.indexOf(label) % HUES.length];
  const place = placer(found.points);

  function draw(chosen) {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, WIDTH, HEIGHT);
    found.points.forEach((point, k) => {
      const [x, y] = place(point);
      context.beginPath();
      context.arc(x, y, 4, 0, 7);
      context.fillStyle = colourOf(found.labels[k]);
      context.globalAlpha = 0.75;
      context.fill();
      context.globalAlpha = 1;
      if (found.labels[k] !== found.predicted[k] || k === chosen) ring(context, x, y, k === chosen ? 11 : 7);
    });
  }

  function ring(context, x, y, radius) {
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 2;
    context.stroke();
  }

  async function choose(k) {
    draw(k);
    const sample = await look({ view: "sample", index: found.indices[k] });
    const caption = t("sample-caption", { label: sample.label, predicted: sample.predicted, percent: percent(sample.probability) });
    side.replaceChildren(h("div", { class: "tile large" }, pictureOf(sample, caption), h("span", { text: caption })));
  }

  canvas.addEventListener("click", (event) => {
    const frame = canvas.getBoundingClientRect();
    const [x, y] = [((event.clientX - frame.left) / frame.width) * WIDTH, ((event.clientY - frame.top) / frame.height) * HEIGHT];
    const distances = found.points.map((point) => Math.hypot(place(point)[0] - x, place(point)[1] - y));
    slider.value = distances.indexOf(Math.min(...distances));
    choose(Number(slider.value));
  });
  const slider = h("input", { type: "range", min: 0, max: found.points.length - 1, value: 0, onchange: (event) => choose(Number(event.target.value)) });

  const [a, b] = found.explained.map((share) => percent(share));
  box.replaceChildren(
    h("p", { class: "muted", text: t("map-about", { a, b }) }),
    found.layers ? h("label", { class: "field" }, h("span", { text: t("layer") }),
      h("select", { data: { key: "layer" }, onchange: (event) => open("map", { layer: event.target.value }) }, found.layers.map(({ name }) => h("option", { value: name, text: name, selected: name === found.layer })))) : h("h3", { text: found.layer }),
    h("div", { class: "map-stack" }, h("div", {}, canvas, h("label", { class: "field map-point" }, h("span", { text: t("point") }), slider), legend(labels, nameOf, colourOf)), side));
  box.table = [["sample", "label", "predicted", "x", "y"], ...found.points.map((point, k) => [found.indices[k], nameOf(found.labels[k]), nameOf(found.predicted[k]), ...point])];
  requestAnimationFrame(() => draw(null)); // once it stands in the page, whose colour its rings have
}

function legend(labels, nameOf, colourOf) {
  return h("ul", { class: "map-legend" }, labels.map((label) => {
    const swatch = h("span", { class: "swatch" });
    swatch.style.background = colourOf(label);
    return h("li", {}, swatch, nameOf(label));
  }));
}

function placer(points) {
  const range = (k) => [Math.min(...points.map((p) => p[k])), Math.max(...points.map((p) => p[k]))];
  const [[x0, x1], [y0, y1]] = [range(0), range(1)];
  return ([x, y]) => [20 + ((WIDTH - 40) * (x - x0)) / (x1 - x0 || 1), HEIGHT - 20 - ((HEIGHT - 40) * (y - y0)) / (y1 - y0 || 1)];
}
