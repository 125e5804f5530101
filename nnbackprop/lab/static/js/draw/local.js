// The network in the page, for pages without a server: drawings prepared as MNIST's were, the answer, the gradient.

import { ApiError } from "../api.js";
import { encode } from "../base64.js";
import { KINDS, decoded } from "./layers.js";

const [SIDE, BOX, INK] = [28, 20, 0.2];
const MAX_CHANNELS = 16; // that are shown

/** As POST /api/predict answers. */
export function predictHere(model, pixels, { explain, attack, activations }) {
  const prepared = prepare(pixels, Math.sqrt(pixels.length));
  const x = inputOf(model, prepared.at(-1).values);
  const result = forward(model, x);
  const answer = { model: { title: model.title }, classes: model.classes, ...result.answer, stages: prepared.map(asStage), attack: null };
  answer.activations = activations ? result.passes.filter(({ layer }) => layer.kind === "activation").map(({ layer, a }) => described(layer, a)) : [];
  const dx = inputGradient(result.passes, (_, k) => Number(k === explain));
  answer.gradient = { class: explain, picture: signed(SIDE, SIDE, dx) };
  if (attack) answer.attack = attacked(model, prepared.at(-1).values, result, attack.epsilon);
  return answer;
}

export const inputOf = ({ shift, factor }, pixels) => Float32Array.from(pixels, (v, k) => (v - (Array.isArray(shift) ? shift[k] : shift)) * (Array.isArray(factor) ? factor[k] : factor));

/** Through all layers: what went into each and came out, and the probabilities by softmax. */
export function forward(model, x) {
  model.decoded ??= model.layers.map(decoded);
  const passes = [];
  let a = x;
  for (const layer of model.decoded) {
    const input = a;
    a = KINDS[layer.kind].forward(layer, input);
    passes.push({ layer, input, a });
  }
  const top = Math.max(...a);
  const e = Array.from(a, (z) => Math.exp(z - top));
  const sum = e.reduce((s, v) => s + v, 0);
  const probabilities = e.map((v) => v / sum);
  return { passes, answer: { probabilities, predicted: probabilities.indexOf(Math.max(...probabilities)) } };
}

/** dX of the first layer, from the slope by each of the last layer's outputs. */
export function inputGradient(passes, slope) {
  const dy = Float32Array.from(passes.at(-1).a, slope);
  return passes.reduceRight((d, { layer, input, a }) => KINDS[layer.kind].backward(layer, input, a, d), dy);
}

/** Every pixel by epsilon in the direction in which the loss of the predicted class grows: Goodfellow et al., 2015. */
function attacked(model, pixels, { passes, answer }, epsilon) {
  const { probabilities, predicted } = answer;
  const dx = inputGradient(passes, (_, k) => probabilities[k] - Number(k === predicted));
  const moved = pixels.map((v, k) => Math.max(0, Math.min(255, v + 255 * epsilon * Math.sign(dx[k]))));
  return { epsilon, label: predicted, picture: { rows: SIDE, columns: SIDE, pixels: encode(Uint8Array.from(moved, Math.round)) }, ...forward(model, inputOf(model, moved)).answer };
}

/** An activation: of a vector its numbers, of an image a picture a channel. */
function described({ name, shape }, a) {
  const [rows, columns, channels = 0] = shape;
  const pictures = Array.from({ length: Math.min(channels, MAX_CHANNELS) }, (_, c) => signed(rows, columns, a.filter((__, k) => k % channels === c)));
  return { name, units: a.length, values: Array.from(a.slice(0, 1024)), pictures, zeros: a.filter((v) => v === 0).length / a.length };
}

const signed = (rows, columns, values) => ({ rows, columns, values: encode(new Uint8Array(values.buffer)), max: values.reduce((m, v) => Math.max(m, Math.abs(v)), 0) });

const asStage = ({ name, columns, values }) => ({ name, picture: { rows: values.length / columns, columns, pixels: encode(Uint8Array.from(values, Math.round)) } });

/** Crop to the ink, fit into 20 x 20, centre by mass in 28 x 28: as nnbackprop/data/digit.py, for drawings without specks. */
export function prepare(pixels, side) {
  const most = pixels.reduce((m, v) => Math.max(m, v), 0);
  const ink = Float64Array.from(pixels, (v) => v / most);
  let [left, right, top, bottom] = [side, -1, side, -1];
  ink.forEach((value, k) => {
    if (!(value >= INK)) return;
    const [row, column] = [Math.floor(k / side), k % side];
    [left, right, top, bottom] = [Math.min(left, column), Math.max(right, column), Math.min(top, row), Math.max(bottom, row)];
  });
  if (right < 0) throw new ApiError("data", "");
  const [width, height] = [right - left + 1, bottom - top + 1];
  const cropped = new Float64Array(width * height).map((_, k) => ink[(top + Math.floor(k / width)) * side + left + (k % width)]);
  const scale = BOX / Math.max(width, height);
  const [w, h] = [width, height].map((length) => Math.max(1, Math.floor(length * scale + 0.5)));
  const resized = resize(cropped, width, height, w, h);
  const brightest = resized.reduce((m, v) => Math.max(m, v), 0);
  const fitted = resized.map((v) => v / brightest);
  let [mass, x, y] = [0, 0, 0];
  fitted.forEach((v, k) => {
    mass += v;
    x += v * ((k % w) + 0.5);
    y += v * (Math.floor(k / w) + 0.5);
  });
  const corner = (moment, length) => Math.min(Math.max(0, Math.ceil(SIDE / 2 - moment / mass)), SIDE - length);
  const [dx, dy] = [corner(x, w), corner(y, h)];
  const centred = new Float64Array(SIDE * SIDE);
  fitted.forEach((v, k) => (centred[(dy + Math.floor(k / w)) * SIDE + dx + (k % w)] = v));
  return [["grey", side, ink], ["cropped", width, cropped], ["fitted", w, fitted], ["centred", SIDE, centred]].map(
    ([name, columns, values]) => ({ name, columns, values: values.map((v) => 255 * v) }));
}

/** By a triangle as wide as what is left out, as Pillow's bilinear filter. */
function resize(values, width, height, w, h) {
  const weights = (length, small) => Array.from({ length: small }, (_, k) => {
    const step = length / small;
    const reach = Math.max(step, 1);
    const row = Array.from({ length }, (__, i) => Math.max(0, 1 - Math.abs(i + 0.5 - (k + 0.5) * step) / reach));
    const sum = row.reduce((a, b) => a + b, 0);
    return row.map((v) => v / sum);
  });
  const [columns, rows] = [weights(width, w), weights(height, h)];
  const narrow = Array.from({ length: height }, (_, r) => columns.map((column) => column.reduce((sum, v, i) => sum + v * values[r * width + i], 0)));
  return new Float64Array(w * h).map((_, k) => rows[Math.floor(k / w)].reduce((sum, v, r) => sum + v * narrow[r][k % w], 0));
}
