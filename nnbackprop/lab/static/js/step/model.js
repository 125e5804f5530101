// The state of "step through": the network's parameters, the samples, the place in the lines; and its form in a link.

import { exported, isStatic, post } from "../api.js";
import { computeStep } from "../numbers.js";
import { possible } from "../mistakes.js";
import { step } from "../network.js";
import { rulesWith } from "../mistakes.js";

export const CHUNK = 8; // samples that are asked for at once, and the largest batch

/** Ask for a network at its first weights, or at those given, and put the state of the page together. */
export async function load(asked, network) {
  const nSamples = isStatic ? Math.min(CHUNK, network.samples) : network.samples; // those that were exported
  const chunk = Math.min(CHUNK, nSamples);
  const sample = Math.min(asked.sample ?? 0, nSamples - 1);
  const first = Math.min(Math.floor(sample / chunk) * chunk, nSamples - chunk);
  const samples = Array.from({ length: chunk }, (_, k) => first + k);
  const answer = await ask(network.name, asked, samples);
  const names = Object.keys(answer.params).filter((name) => name.endsWith(".W"));
  const activations = names.map((_, l) => (l === names.length - 1 ? answer.output_activation : answer.activation));
  const initial = names.map((name, l) => ({
    W: answer.params[name], b: answer.params[name.replace(".W", ".b")], activation: activations[l],
  }));
  const outputs = initial.at(-1).b.length;
  return {
    network: network.name, image: network.image_shape ?? null, names: network.inputs, nSamples,
    activation: answer.activation, loss: answer.loss, seed: answer.seed, lr: asked.lr ?? answer.lr,
    layers: asked.params ? withParams(initial, asked.params) : initial, initial,
    first, X: answer.x, T: answer.targets.map((target) => targetRow(target, outputs)), labels: network.names,
    row: sample - first, batch: Boolean(asked.batch), scalars: asked.scalars ?? !network.image_shape,
    line: asked.line ?? 0, mistake: possible(answer.loss, answer.activation, asked.batch ? chunk : 1).includes(asked.mistake) ? asked.mistake : null,
    selected: asked.selected ?? null, steps: asked.steps ?? 0, history: [], losses: [], sources: sourcesOf(answer.steps),
  };
}

async function ask(network, { activation, loss, seed }, samples) {
  if (isStatic) return (await exported()).step[network];
  const body = { network, samples };
  for (const [name, value] of Object.entries({ activation, loss, seed })) if (value !== undefined) body[name] = value;
  return post("api/step", body);
}

const targetRow = (target, outputs) => (Array.isArray(target) ? target : Array.from({ length: outputs }, (_, k) => Number(k === target)));

/** Where the code of each kind of line is. */
function sourcesOf(lines) {
  const found = {};
  for (const { phase, kind, layer, source } of lines) {
    const place = kind === "Dense" || phase === "loss" || phase === "update" ? phase : `${phase}-activation`;
    found[`${place}:${layer}`] ??= source;
    found[place] ??= source;
  }
  return found;
}

const SOURCE_OF = {
  sum: "forward", activation: "forward-activation", output: "forward-activation", probability: "loss", loss: "loss", lossSlope: "loss",
  outputError: "backward-activation", hiddenError: "backward-activation", activationSlope: "backward", weightGradient: "backward", biasGradient: "backward", update: "update",
};

export function sourceOf(state, { kind }) {
  const place = SOURCE_OF[kind];
  if (kind === "outputError" && state.layers.at(-1).activation === "identity") return state.sources.loss;
  return place && state.sources[place];
}

/** The samples that a step is made with: the one that is shown, or all that were asked for. */
const batchOf = ({ batch, X, T, row }) => (batch ? { X, T, row } : { X: [X[row]], T: [T[row]], row: 0 });

export const compute = (state) => computeStep({ ...state, ...batchOf(state) });

/** One step from where the state is; the next sample is the next in the row. */
export function advance(state) {
  const { X, T } = batchOf(state);
  const made = step(state.layers, X, T, { loss: state.loss, lr: state.lr, rules: rulesWith(state.mistake) });
  return {
    ...state, layers: made.next, line: 0, steps: state.steps + 1, losses: [...state.losses, made.J],
    row: state.batch ? state.row : (state.row + 1) % state.X.length,
    history: [...state.history.slice(-199), { layers: state.layers, row: state.row, steps: state.steps }],
  };
}

export function stepBack(state, lines) {
  const before = state.history.at(-1);
  return before ? { ...state, ...before, line: lines, history: state.history.slice(0, -1), losses: state.losses.slice(0, -1) } : state;
}

/** Loss over all samples after each of so many steps, without touching the state. */
export function lossesOver(state, steps, mistake) {
  let { layers } = state;
  const losses = [];
  for (let k = 0; k <= steps; k += 1) {
    losses.push(step(layers, state.X, state.T, { loss: state.loss, lr: 0 }).J);
    const row = (state.row + k) % state.X.length;
    const { X, T } = state.batch ? state : { X: [state.X[row]], T: [state.T[row]] };
    layers = step(layers, X, T, { loss: state.loss, lr: state.lr, rules: rulesWith(mistake) }).next;
  }
  return losses;
}

function withParams(layers, flat) {
  const size = layers.reduce((sum, { W, b }) => sum + W.length * b.length + b.length, 0);
  if (flat.length !== size || !flat.every(Number.isFinite)) return layers;
  const rest = [...flat];
  return layers.map((layer) => ({ ...layer, W: layer.W.map((row) => rest.splice(0, row.length)), b: rest.splice(0, layer.b.length) }));
}

const flatParams = (layers) => layers.flatMap(({ W, b }) => [...W.flat(), ...b]);

/** The whole state as the words of a link's fragment. */
export function toFragment(state) {
  const words = { net: state.network, act: state.activation, loss: state.loss, seed: state.seed, lr: state.lr, sample: state.first + state.row, line: state.line };
  if (state.batch) words.batch = 1;
  if (state.scalars === Boolean(state.image)) words.scalars = Number(state.scalars);
  if (state.mistake) words.mistake = state.mistake;
  if (state.selected) words.number = state.selected;
  if (state.steps) words.steps = state.steps;
  const flat = flatParams(state.layers);
  if (String(flat) !== String(flatParams(state.initial))) words.w = flat.join(",");
  return new URLSearchParams(words).toString();
}

const asNumber = (text) => (text !== null && text !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined);
const asRate = (text) => (asNumber(text) > 0 ? asNumber(text) : undefined);
const asPlace = (text) => (/^\d{1,6}$/.test(text ?? "") ? Number(text) : undefined);

export function fromFragment(text) {
  const words = new URLSearchParams(text);
  return {
    network: words.get("net") ?? undefined, activation: words.get("act") ?? undefined, loss: words.get("loss") ?? undefined,
    seed: asPlace(words.get("seed")), lr: asRate(words.get("lr")), sample: asPlace(words.get("sample")), line: asPlace(words.get("line")),
    batch: words.get("batch") === "1", scalars: words.has("scalars") ? words.get("scalars") === "1" : undefined,
    mistake: words.get("mistake") ?? undefined, selected: words.get("number") ?? undefined, steps: asPlace(words.get("steps")),
    params: words.has("w") ? words.get("w").split(",").map(Number) : undefined,
  };
}
