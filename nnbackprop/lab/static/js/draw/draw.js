// "Draw": a digit on the pad, and what the network makes of it while it is drawn.

import { exported, isStatic, options, post } from "../api.js";
import { choose } from "../step/step.js";
import { find } from "../dom.js";
import { t } from "../i18n.js";
import { announce, hideError, showError } from "../notices.js";
import { activations, attack, bars, gradient, says, stages } from "./answer.js";
import { predictHere } from "./local.js";
import { drawingPad } from "./pad.js";

const DIGITS = [..."0123456789"];

export function drawTab(panel, tabs) {
  let [pad, answer, drawings, asking, again, model, waiting] = [null, null, null, false, false, null, false];
  const at = (selector) => find(selector, panel);

  async function start() {
    const known = await options();
    if (isStatic) model = (await exported()).draw;
    pad = drawingPad(panel, ask);
    drawings = known.drawings;
    document.addEventListener("language", show);
    words();
    show();
  }

  function words() {
    choose(at("[name=label]"), DIGITS.map((digit) => [digit, digit]), at("[name=label]").value || "0");
    choose(at("[name=towards]"), [["", t("predicted")], ...DIGITS.map((digit) => [digit, digit])], at("[name=towards]").value);
  }

  /** Ask for an answer to the drawing as it is; while one is on its way, only the newest drawing waits. */
  async function ask() {
    if (pad.empty()) {
      answer = null;
      show();
      return;
    }
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    if (!answer) show();
    try {
      answer = isStatic ? predictHere(model, pad.pixels(), request()) : await post("api/predict", { drawing: pad.picture(), ...request() });
      at(".no-model").hidden = true;
      hideError();
    } catch (error) {
      answer = null;
      at(".no-model").hidden = error.kind !== "missing";
      if (!["data", "missing"].includes(error.kind)) showError(error);
    }
    asking = false;
    if (pad.empty()) answer = null; // the drawing was cleared meanwhile
    show();
    const stale = answer && request().explain !== answer.gradient?.class; // the first answer tells which class to explain
    if (again || stale) {
      again = false;
      ask();
    }
  }

  function request() {
    const towards = at("[name=towards]").value;
    const epsilon = Number(at("[name=epsilon]").value);
    return { explain: towards === "" ? (answer?.predicted ?? 0) : Number(towards), attack: epsilon > 0 ? { epsilon } : null, activations: true };
  }

  /** The class at once, and the pictures after that: of the newest answer alone. */
  function show() {
    says(panel, answer, pad.empty() ? "draw-first" : asking ? "loading" : "no-digit");
    bars(panel, answer?.classes ?? DIGITS, answer);
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      pictures();
    });
  }

  function pictures() {
    words();
    stages(panel, answer);
    const layer = gradient(panel, answer);
    pad.lay(at("[name=lay]").checked ? layer?.layer : null, layer?.prepared);
    attack(panel, answer);
    activations(panel, answer);
    at(".epsilon").textContent = Number(at("[name=epsilon]").value).toFixed(2);
    ownData();
  }

  function ownData() {
    if (!drawings) return;
    const counts = drawings.counts.map((n, digit) => (n ? `${digit} × ${n}` : "")).filter(Boolean).join(", ");
    at(".own-count").textContent = drawings.n ? t("own-count", { n: drawings.n, counts }) : t("own-none");
    at("[data-do=forget]").disabled = drawings.n === 0;
    at("[data-do=train-own]").disabled = !drawings.trainable;
  }

  async function store(body) {
    ({ drawings } = await post("api/dataset", body));
    ownData();
    announce(at(".own-count").textContent);
  }

  const actions = {
    clear: () => pad.clear(),
    undo: () => pad.undo(),
    example: () => pad.example(),
    keep: () => store({ drawing: pad.picture(), label: Number(at("[name=label]").value) }).then(() => pad.clear()),
    forget: () => store({ forget: "last" }),
    "train-now": async () => {
      find("#tab-train").click();
      await tabs.train.quick();
    },
    "train-own": async () => {
      find("#tab-train").click();
      await tabs.train.onDrawings();
    },
  };
  panel.addEventListener("click", (event) => {
    const action = pad && actions[event.target.dataset?.do];
    if (action) Promise.resolve().then(action).catch(showError);
  });
  panel.addEventListener("input", ({ target }) => ["towards", "epsilon", "lay"].includes(target.name) && ask());
  return { start, shown: () => pad && ask() };
}
