// Line charts by uPlot, in the colours of the page.

import { h } from "./dom.js";

const charts = new WeakMap();
const probe = document.body.appendChild(h("span", { hidden: true }));
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]; // between ticks
const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]];

/** What a custom property is in the theme that is on: light-dark() is resolved where a colour is used. */
function colour(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

/** On a logarithmic axis, powers of ten alone. */
function decades(grid) {
  const filter = (_, splits) => splits.map((v) => (v > 0 && Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-6 ? v : null));
  return { filter, grid: { ...grid, filter } };
}

const inLegend = (value) => (value === null || value === undefined ? "–" : String(Number(value.toPrecision(4))));

/** Whether a series has one value alone, which no line shows. */
const single = ({ data }, k) => data[k].filter((value) => value !== null).length === 1;

/** Draw or redraw {title, x, series: [{label, values, colour, dash}], height, log, share, whole} in a box; the legend has the values at the pointer, else the last. */
export function lineChart(box, { title, x, series, height = 200, log = false, share = false, whole = false, xLabel = "" }) {
  const key = JSON.stringify([title, height, log, series.map(({ label, colour: c, dash }) => [label, c, dash]), getComputedStyle(document.body).color]);
  const data = [x, ...series.map(({ values }) => values)];
  const known = charts.get(box);
  if (known?.key === key && box.contains(known.plot.root)) {
    known.plot.setData(data);
    return known.plot;
  }
  known?.plot.destroy();
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const width = () => Math.max(box.clientWidth, 200);
  const plot = new window.uPlot({
    width: width(), height, cursor: { y: false, points: { size: 6 } }, scales: { x: { time: false }, y: log ? { distr: 3 } : share ? { range: (_, least) => [Math.max(0, Math.min(0.9, Math.floor(least * 20 - 0.5) / 20)), 1] } : {} },
    axes: [{ ...axis, ...(whole ? { incrs: WHOLE } : {}), label: xLabel || undefined, labelSize: 18, labelFont: axis.font, size: 30 }, { ...axis, size: 56, ...(log ? decades(axis.grid) : {}), values: (_, ticks) => ticks.map((v) => (v === null ? "" : String(Number(v.toPrecision(3))))) }],
    series: [{ label: xLabel || "x" }, ...series.map(({ label, colour: name, dash = 0 }) => ({
      label, stroke: colour(name), width: 1.75, dash: DASHES[dash], points: { show: single, size: 6, fill: colour(name) }, spanGaps: true,
      value: ({ data }, v, k, pointer) => inLegend(typeof pointer === "number" ? v : data[k].findLast((one) => one !== null)),
    }))],
  }, data, null);
  box.replaceChildren(h("h3", { class: "chart-title", text: title }), plot.root);
  const area = plot.root.querySelector(".u-wrap");
  area.setAttribute("role", "img");
  area.setAttribute("aria-label", title);
  charts.set(box, { key, plot });
  if (!box.dataset.watched) {
    box.dataset.watched = "1";
    new ResizeObserver(() => {
      const one = charts.get(box)?.plot;
      if (one && box.clientWidth > 0) one.setSize({ width: width(), height: one.height });
    }).observe(box);
  }
  return plot;
}
