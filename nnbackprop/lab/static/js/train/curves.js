// The curves of a run: loss, accuracy (or what else is measured) and the norms of the gradients, by step.

import { lineChart } from "../chart.js";
import { h, setText } from "../dom.js";
import { t } from "../i18n.js";
import { count, number, seconds } from "../format.js";
import { isShare, metricName, metricText } from "../metrics.js";

const MOST = 3000; // points a curve: beyond, every second is left out
const COLOURS = ["--forward", "--backward", "--good", "--muted"];

export function emptyCurves() {
  return { chunks: [], epochs: [] };
}

export function append(curves, { chunks, epochs }) {
  curves.chunks.push(...chunks);
  curves.epochs.push(...epochs);
  for (const name of ["chunks", "epochs"]) {
    if (curves[name].length > MOST) curves[name] = curves[name].filter((_, k) => k % 2 === 0 || k === curves[name].length - 1);
  }
}

export const heldOut = (epoch) => (epoch.validation ? "validation" : epoch.test ? "test" : null);

export function drawCurves(panel, { chunks, epochs }) {
  const lastEpoch = epochs.at(-1);
  const held = lastEpoch && heldOut(lastEpoch);
  const metric = Object.keys(chunks.at(-1)?.metrics ?? lastEpoch?.train?.metrics ?? {})[0];
  const steps = [...new Set([...chunks.map((c) => c.step), ...epochs.map((e) => e.step)])].sort((a, b) => a - b);
  const place = new Map(steps.map((step, k) => [step, k]));
  const along = (points, value) => {
    const values = new Array(steps.length).fill(null);
    for (const point of points) values[place.get(point.step)] = value(point) ?? null;
    return values;
  };
  const pair = (of) => [
    { label: t("training"), values: along(chunks.length ? chunks : epochs, (p) => of(p.train ?? p)), colour: "--forward" },
    ...(held ? [{ label: t(held), values: along(epochs, (e) => e[held] && of(e[held])), colour: "--backward", dash: 1 }] : []),
  ];
  const chart = (name, title, series, scale = {}) =>
    lineChart(panel.querySelector(name), { title, x: steps, series, ...scale, height: 190, xLabel: t("step") });
  chart(".loss-chart", t("loss"), pair((p) => p.loss));
  const box = panel.querySelector(".metric-chart");
  box.hidden = !metric;
  if (metric) chart(".metric-chart", metricName(metric), pair((p) => p.metrics?.[metric]), { share: isShare(metric) });
  const layers = Object.keys(chunks.at(-1)?.gradient_norms ?? lastEpoch?.gradient_norms ?? {});
  const norms = panel.querySelector(".norm-chart");
  norms.hidden = layers.length === 0;
  if (layers.length) {
    const points = chunks.length ? chunks : epochs;
    chart(".norm-chart", t("gradient-norms"), layers.map((layer, k) => ({
      label: layer, colour: COLOURS[k % 4], dash: Math.floor(k / 4) % 4, values: along(points, (p) => (p.gradient_norms?.[layer] > 0 ? p.gradient_norms[layer] : null)),
    })), { log: true });
  }
}

export function tiles(box, state, { chunks, epochs }) {
  const [chunk, epoch] = [chunks.at(-1), epochs.at(-1)];
  const score = chunk ?? epoch?.train;
  const metric = Object.keys(score?.metrics ?? {})[0];
  const held = epoch && heldOut(epoch);
  const facts = [
    [t("epoch"), `${state.epoch ?? 0} / ${state.epochs ?? "–"}`],
    [t("step"), count(state.step ?? 0)],
    [t("loss"), number(score?.loss)],
    metric && [metricName(metric), metricText(metric, score.metrics[metric])],
    held && metric && [`${t(held)} · ${metricName(metric)}`, metricText(metric, epoch[held].metrics[metric])],
    [t("samples-per-second"), score?.samples_per_second ?? epoch?.samples_per_second ? count(score?.samples_per_second ?? epoch.samples_per_second) : "–"],
    [t("time"), seconds(state.seconds)],
  ].filter(Boolean);
  const names = JSON.stringify(facts.map(([name]) => name));
  if (box.dataset.names !== names) {
    box.dataset.names = names;
    box.replaceChildren(...facts.map(([name]) => h("div", {}, h("dt", { text: name }), h("dd"))));
  }
  box.querySelectorAll("dd").forEach((dd, k) => setText(dd, facts[k][1]));
}

export function epochTable(table, epochs) {
  const held = epochs.length ? heldOut(epochs.at(-1)) : null;
  const metric = Object.keys(epochs.at(-1)?.train?.metrics ?? {})[0];
  const heads = [t("epoch"), t("training"), ...(metric ? [metricName(metric)] : []), ...(held ? [t(held), ...(metric ? [metricName(metric)] : [])] : [])];
  table.tHead.replaceChildren(h("tr", {}, heads.map((text) => h("th", { scope: "col", text }))));
  const cells = (score) => [number(score?.loss), ...(metric ? [metricText(metric, score?.metrics?.[metric])] : [])];
  table.tBodies[0].replaceChildren(...epochs.slice(-200).reverse().map((e) => h("tr", {}, h("th", { scope: "row", text: e.epoch }), [...cells(e.train), ...(held ? cells(e[held]) : [])].map((text) => h("td", { text })))));
}
