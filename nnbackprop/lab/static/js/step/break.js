// "Break it": plant a mistake in backward, watch training fail, and let the doctor find it.

import { ApiError, isStatic, post } from "../api.js";
import { lineChart } from "../chart.js";
import { mistake } from "../doctor.js";
import { plain } from "../format.js";
import { t } from "../i18n.js";
import { MISTAKES, possible } from "../mistakes.js";
import { showError } from "../notices.js";
import { find, h, replace } from "../dom.js";
import { lossesOver, outputActivation } from "./model.js";
import { paramsOf } from "./params.js";

const STEPS = 300;
let found = null; // the doctor's report of the state with this key
let chart = null;

export function breakIt(box, state, { options, change }) {
  const known = options.step.mistakes.filter(({ id }) => possible(state.loss, state.activation, state.batch ? state.X.length : 1).includes(id));
  const key = JSON.stringify([state.mistake, state.network, state.activation, state.loss, state.optimizer, state.lr, state.batch, state.row, state.layers]);
  if (found && found.key !== key) found = null;
  const chosen = known.find(({ id }) => id === state.mistake);
  const parts = [
    h("p", { class: "muted", text: t("break-about") }),
    h("label", { class: "field" }, h("span", { text: t("mistake") }),
      h("select", { data: { key: "mistake" }, name: "mistake", onchange: (event) => change({ mistake: event.target.value || null }) },
        h("option", { value: "", text: t("no-mistake") }),
        known.map(({ id }) => h("option", { value: id, text: t(`mistake.${id}`), selected: id === state.mistake })))),
  ];
  if (chosen) {
    parts.push(
      h("div", { class: "buttons" },
        h("button", { type: "button", data: { key: "watch", do: "watch" }, onclick: () => watch(box, state), text: t("watch") }),
        isStatic ? null : h("button", { type: "button", class: "primary", data: { key: "doctor", do: "doctor" }, onclick: () => ask(), text: t("ask-doctor") }),
        h("button", { type: "button", data: { key: "repair", do: "repair" }, onclick: () => change({ mistake: null }), text: t("repair") })),
      h("div", { class: "chart small break-chart" }),
      found ? report(found.answer) : null);
  }
  replace(box, ...parts);
  if (chosen && chart?.key === key) draw(box, chart.losses, state.X.length);

  function watch() {
    chart = { key, losses: [lossesOver(state, STEPS, null), lossesOver(state, STEPS, state.mistake)] };
    draw(box, chart.losses, state.X.length);
  }

  async function ask() {
    const body = { network: state.network, activation: state.activation, output_activation: outputActivation(state.loss), loss: state.loss, optimizer: state.optimizer, lr: state.lr, seed: state.seed, params: paramsOf(state.layers), mistake: state.mistake };
    try {
      found = { key, answer: await post("api/break", body) };
      change({});
      pointTo(box.querySelector(".doctor"));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      showError(error);
    }
  }
}

function draw(box, [right, broken], n) {
  lineChart(box.querySelector(".break-chart"), {
    title: t("loss-by-step", { n }), x: right.map((_, k) => k), height: 150,
    series: [{ label: t("right-code"), values: right, colour: "--forward" }, { label: t("broken-code"), values: broken.map((v) => (Number.isFinite(v) ? v : null)), colour: "--backward" }],
  });
}

/** Bring the doctor's answer into the window, and let the focus be on it: it is below the button, often out of sight. */
function pointTo(answer) {
  if (!answer) return; // of a state that was left meanwhile
  find("h4", answer).focus({ preventScroll: true });
  answer.scrollIntoView({ block: "nearest", behavior: window.matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth" });
}

/** What gradcheck said, which was not told the mistake. */
function report({ report: { mistakes, tensors } }) {
  const bad = tensors.filter(({ verdict }) => !["right", "passed", "ok"].includes(verdict));
  const nameOf = ({ id, name, certain }) => {
    const known = id in MISTAKES ? t(`mistake.${id}`) : arraysOf(name);
    return id in MISTAKES && !certain ? t("mistake-likely", { name: known }) : known;
  };
  return h("div", { class: "doctor", role: "status" },
    h("h4", { tabindex: "-1", data: { key: "doctor-says" }, text: t("doctor-says") }),
    mistakes.length === 0 ? h("p", { text: t("doctor-nothing") }) : mistakes.slice(0, 3).map((m) =>
      mistake({ ...m, evidence: arraysOf(m.evidence) }, nameOf(m))),
    h("p", { class: "muted", text: t("doctor-tensors", { bad: bad.map(({ name }) => arraysOf(name)).join(", ") || "–" }) }));
}

/** A text of the package with the page's names of the arrays: W₁ for dense1.W. */
const arraysOf = (text) => text.replace(/\bdense(\d)\.([Wb])\b/g, (_, layer, letter) => plain({ base: letter, sub: layer }));
