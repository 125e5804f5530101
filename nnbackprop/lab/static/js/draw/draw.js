// "Draw": a digit on the pad, and what the network makes of it while it is drawn.

import { exported, get, isStatic, options, post } from "../api.js";
import { choose } from "../step/step.js";
import { find } from "../dom.js";
import { t } from "../i18n.js";
import { announce, hideError, showError } from "../notices.js";
import { activations, attack, bars, gradient, says, stages } from "./answer.js";
import { predictHere } from "./local.js";
import { drawingPad } from "./pad.js";

const DIGITS = [..."0123456789"];
const LOOK_EVERY = 1000; // ms between two looks for a network where there is none: one may be in training

export function drawTab(panel, tabs) {
  let [pad, answer, drawings, asking, again, model, waiting] = [null, null, null, false, false, null, false];
  let classes = DIGITS; // of the network that answered last
  let [network, lookAgain, labelled] = [null, 0, false]; // whether there is one, null until that is known; whether a label was chosen
  let retry = 0; // the timer that asks again, without a stroke, while there is no network
  const at = (selector) => find(selector, panel);

  async function start() {
    if (isStatic) model = (await exported()).draw;
    pad ??= drawingPad(panel, ask); // before the options are there, for which a server that has just begun takes seconds
    document.addEventListener("language", show);
    words();
    show();
    ({ drawings } = await options());
    ownData();
  }

  function words() {
    choose(at("[name=label]"), DIGITS.map((digit) => [digit, digit]), label());
    choose(at("[name=towards]"), [["", t("predicted")], ...classes.map((name) => [name, name])], at("[name=towards]").value);
  }

  /** What the drawing is kept as: what the network says, until the person has chosen. */
  function label() {
    const [chosen, said] = [at("[name=label]").value || "0", answer?.classes[answer.predicted]];
    return !labelled && DIGITS.includes(said) ? said : chosen;
  }

  async function lookForNetwork() {
    if (network || performance.now() < lookAgain) return;
    lookAgain = performance.now() + LOOK_EVERY;
    network = isStatic ? Boolean(model) : (await get("api/network")).network;
  }

  /** Ask for an answer to the drawing as it is; while one is on its way, only the newest drawing waits. */
  async function ask() {
    if (pad.empty()) {
      [answer, labelled] = [null, false];
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
      await lookForNetwork();
      answer = network ? await predict() : null;
      hideError();
    } catch (error) {
      answer = null;
      if (error.kind === "missing") network = false; // its run was deleted
      else if (error.kind !== "data") showError(error);
    }
    asking = false;
    if (pad.empty()) answer = null; // the drawing was cleared meanwhile
    show();
    clearTimeout(retry);
    if (!network && !isStatic && !pad.empty()) retry = setTimeout(() => panel.hidden || ask(), LOOK_EVERY);
    const stale = answer && request().explain !== answer.gradient?.class; // the first answer tells which class to explain
    if (again || stale) {
      again = false;
      ask();
    }
  }

  const predict = () => (isStatic ? predictHere(model, pad.pixels(), request()) : post("api/predict", { drawing: pad.picture(), ...request() }));

  function request() {
    const towards = answer ? answer.classes.indexOf(at("[name=towards]").value) : -1;
    const epsilon = Number(at("[name=epsilon]").value);
    return { explain: towards < 0 ? (answer?.predicted ?? 0) : towards, attack: epsilon > 0 ? { epsilon } : null, activations: true };
  }

  /** The class at once, and the pictures after that: of the newest answer alone. */
  function show() {
    classes = answer?.classes ?? classes;
    at(".no-model").hidden = network !== false;
    says(panel, answer, network === false ? "no-model" : pad.empty() ? "draw-first" : asking ? "loading" : "no-digit");
    bars(panel, classes, answer);
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
  at("[name=label]").addEventListener("input", () => (labelled = true));

  function shown() {
    if (!pad) return;
    [network, lookAgain, answer] = [null, 0, null]; // another run may answer now
    ask();
  }

  return { start, shown };
}
