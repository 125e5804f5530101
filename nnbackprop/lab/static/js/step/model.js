// The state of "step through": the network's parameters, the samples, the place in the lines; and its form in a link.

import { ACTIVATIONS } from "../activations.js";
import { exported, isStatic, post } from "../api.js";
import { computeStep } from "../numbers.js";
import { LOGITS, possible, rulesWith } from "../mistakes.js";
import { LOSSES, lossOf, step } from "../network.js";
import { OPTIMIZERS, noStates } from "../optimizers.js";

export const CHUNK = 8; // samples that are asked for at once, and the largest batch

/** Ask for a network at its first weights, or at those given, and put the state of the page together. */
export async function load(asked, network) {
  const nSamples = isStatic ? Math.min(CHUNK, network.samples) : network.samples; // those that were exported
  const chunk = Math.min(CHUNK, nSamples);
  const sample = Math.min(asked.sample ?? 0, nSamples - 1);
  const first = Math.min(Math.floor(sample / chunk) * chunk, nSamples - chunk);
  const answer = await ask(network.name, asked.seed, Array.from({ length: chunk }, (_, k) => first + k));
  const names = Object.keys(answer.params).filter((name) => name.endsWith(".W"));
  const initial = names.map((name) => ({ W: answer.params[name], b: answer.params[name.replace(".W", ".b")] }));
  const outputs = initial.at(-1).b.length;
  const made = {
    activation: known(asked.activation, ACTIVATIONS) ?? "sigmoid",
    loss: lossesOf(outputs).includes(asked.loss) ? asked.loss : network.loss,
    optimizer: known(asked.optimizer, OPTIMIZERS) ?? "sgd",
  };
  const layers = asked.params ? withParams(initial, asked.params) : initial;
  const none = noStates(made.optimizer, initial);
  const states = asked.states ? withStates(none, asked.states) : none;
  return withActivations({
    ...made, network: network.name, image: network.image_shape ?? null, names: network.inputs, nSamples,
    seed: answer.seed, lr: asked.lr ?? answer.lr, layers, initial, states, t: states === none ? 1 : Math.max(asked.t ?? 1, 1),
    first, X: answer.x, T: answer.targets.map((target) => targetRow(target, outputs)), labels: network.names,
    row: sample - first, batch: Boolean(asked.batch), scalars: asked.scalars ?? !network.image_shape,
    line: asked.line ?? 0, mistake: possible(made.loss, made.activation, asked.batch ? chunk : 1).includes(asked.mistake) ? asked.mistake : null,
    selected: asked.selected ?? null, steps: asked.steps ?? 0, history: [], losses: [],
  });
}

const known = (name, table) => (Object.hasOwn(table, name ?? "") ? name : undefined);

/** The losses for so many outputs: a softmax of one would always be 1. */
export const lossesOf = (outputs) => Object.keys(LOSSES).filter((name) => outputs > 1 || name !== "softmax-cross-entropy");

export const outputActivation = (loss) => (LOGITS.includes(loss) ? "identity" : "sigmoid");

/** The state with its layers' activations as it names them: losses of logits have their own at the output. */
export function withActivations(state) {
  const { layers, activation, loss } = state;
  const last = layers.length - 1;
  return { ...state, layers: layers.map((layer, l) => ({ ...layer, activation: l === last ? outputActivation(loss) : activation })) };
}

/** The state with other parts of the network; a mistake that cannot be made with them is repaired. */
export function rebuilt(state, change) {
  const next = withActivations({ ...state, ...change });
  if (change.optimizer) Object.assign(next, { states: noStates(change.optimizer, next.layers), t: 1 });
  const mistakes = possible(next.loss, next.activation, next.batch ? next.X.length : 1);
  return { ...next, selected: null, mistake: mistakes.includes(next.mistake) ? next.mistake : null };
}

async function ask(network, seed, samples) {
  if (isStatic) return (await exported()).step[network];
  return post("api/step", { network, samples, ...(seed === undefined ? {} : { seed }) });
}

const targetRow = (target, outputs) => (Array.isArray(target) ? target : Array.from({ length: outputs }, (_, k) => Number(k === target)));

/** The code of a number, by its name among the sources, and the kind whose lines are marked. */
const SOURCE_OF = {
  sum: () => ["sum", "sum"],
  activation: ({ activation }) => [`activation.${activation}`],
  output: ({ loss }) => [`activation.${outputActivation(loss)}`],
  probability: ({ loss }) => [`probability.${loss}`],
  outputProbability: ({ loss }) => [`probability.${loss}`],
  loss: ({ loss }) => [`loss.${loss}`, "loss"],
  lossSlope: ({ loss }) => [`loss.${loss}`, "loss"],
  outputError: ({ loss }) => (LOGITS.includes(loss) ? [`loss.${loss}`, "loss"] : [`slope.${outputActivation(loss)}`]),
  activationSlope: () => ["backward", "activationSlope"],
  hiddenError: ({ activation }) => [`slope.${activation}`],
  weightGradient: () => ["backward", "weightGradient"],
  biasGradient: () => ["backward", "biasGradient"],
  newState: ({ optimizer }, { k }) => [`optimizer.${optimizer}`, `state${k}`],
  update: () => ["optimizer.sgd", "update"],
  optimizerUpdate: ({ optimizer }) => [`optimizer.${optimizer}`, "update"],
};

/** Where a number is computed: {file, line, function, code, marked}; of a planted mistake, the wrong code. */
export function sourceOf(state, one, sources) {
  if (!SOURCE_OF[one.kind]) return null;
  const [name, kind] = one.right ? [`mistake.${state.mistake}`] : SOURCE_OF[one.kind](state, one);
  return sources[name] && { ...sources[name], marked: sources[name].marks[kind] ?? [] };
}

/** The samples that a step is made with: the one that is shown, or all that were asked for. */
const batchOf = ({ batch, X, T, row }) => (batch ? { X, T, row } : { X: [X[row]], T: [T[row]], row: 0 });

export const compute = (state) => computeStep({ ...state, ...batchOf(state) });

/** One step from where the state is; the next sample is the next in the row. */
export function advance(state) {
  const { X, T } = batchOf(state);
  const { loss, lr, mistake, optimizer, states, t } = state;
  const made = step(state.layers, X, T, { loss, lr, rules: rulesWith(mistake), optimizer, states, t });
  return {
    ...state, layers: made.next, states: made.states, t: t + 1, line: 0, steps: state.steps + 1, losses: [...state.losses, made.J],
    row: state.batch ? state.row : (state.row + 1) % state.X.length,
    history: [...state.history.slice(-199), { layers: state.layers, states, t, row: state.row, steps: state.steps }],
  };
}

export function stepBack(state, lines) {
  const before = state.history.at(-1);
  return before ? { ...state, ...before, line: lines, history: state.history.slice(0, -1), losses: state.losses.slice(0, -1) } : state;
}

/** The first weights again, and an optimizer that has seen nothing. */
export const restarted = (state) =>
  withActivations({ ...state, layers: state.initial, states: noStates(state.optimizer, state.initial), t: 1, line: 0, steps: 0, history: [], losses: [], selected: null });

/** Loss over all samples after each of so many steps, without touching the state. */
export function lossesOver(state, steps, mistake) {
  let { layers, states } = state;
  const { loss, lr, optimizer } = state;
  const losses = [];
  for (let k = 0; k <= steps; k += 1) {
    losses.push(lossOf(layers, state.X, state.T, loss));
    const row = (state.row + k) % state.X.length;
    const { X, T } = state.batch ? state : { X: [state.X[row]], T: [state.T[row]] };
    ({ next: layers, states } = step(layers, X, T, { loss, lr, rules: rulesWith(mistake), optimizer, states, t: state.t + k }));
  }
  return losses;
}

function withParams(layers, flat) {
  const size = layers.reduce((sum, { W, b }) => sum + W.length * b.length + b.length, 0);
  if (flat.length !== size || !flat.every(Number.isFinite)) return layers;
  const rest = [...flat];
  return layers.map((layer) => ({ ...layer, W: layer.W.map((row) => rest.splice(0, row.length)), b: rest.splice(0, layer.b.length) }));
}

function withStates(none, flat) {
  const size = flatParams(none.flat()).length;
  if (flat.length !== size || !flat.every(Number.isFinite)) return none;
  const each = size / Math.max(none.length, 1);
  return none.map((layers, k) => withParams(layers, flat.slice(k * each, (k + 1) * each)));
}

const flatParams = (layers) => layers.flatMap(({ W, b }) => [...W.flat(), ...b]);

/** The whole state as the words of a link's fragment. */
export function toFragment(state) {
  const words = { net: state.network, act: state.activation, loss: state.loss, opt: state.optimizer, seed: state.seed, lr: state.lr, sample: state.first + state.row, line: state.line };
  if (state.batch) words.batch = 1;
  if (state.scalars === Boolean(state.image)) words.scalars = Number(state.scalars);
  if (state.mistake) words.mistake = state.mistake;
  if (state.selected) words.number = state.selected;
  if (state.steps) words.steps = state.steps;
  const flat = flatParams(state.layers);
  if (String(flat) !== String(flatParams(state.initial))) words.w = flat.join(",");
  if (state.t > 1) words.t = state.t;
  if (state.t > 1 && state.states.length) words.state = flatParams(state.states.flat()).join(",");
  return new URLSearchParams(words).toString();
}

const asNumber = (text) => (text !== null && text !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined);
const asRate = (text) => (asNumber(text) > 0 ? asNumber(text) : undefined);
const asPlace = (text) => (/^\d{1,6}$/.test(text ?? "") ? Number(text) : undefined);

export function fromFragment(text) {
  const words = new URLSearchParams(text);
  return {
    network: words.get("net") ?? undefined, activation: words.get("act") ?? undefined, loss: words.get("loss") ?? undefined, optimizer: words.get("opt") ?? undefined,
    seed: asPlace(words.get("seed")), lr: asRate(words.get("lr")), sample: asPlace(words.get("sample")), line: asPlace(words.get("line")),
    batch: words.get("batch") === "1", scalars: words.has("scalars") ? words.get("scalars") === "1" : undefined,
    mistake: words.get("mistake") ?? undefined, selected: words.get("number") ?? undefined, steps: asPlace(words.get("steps")),
    params: words.has("w") ? words.get("w").split(",").map(Number) : undefined,
    states: words.has("state") ? words.get("state").split(",").map(Number) : undefined, t: asPlace(words.get("t")),
  };
}
