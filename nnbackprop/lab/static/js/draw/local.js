// The network in the page, for pages without a server: drawings prepared as MNIST's were, dense layers, the gradient.

import { ApiError } from "../api.js";

const [SIDE, BOX] = [28, 20];
const SLOPES = {
  relu: [(z) => Math.max(z, 0), (z) => (z > 0 ? 1 : 0)],
  sigmoid: [(z) => 0.5 * Math.tanh(0.5 * z) + 0.5, (z, a) => a * (1 - a)],
  tanh: [Math.tanh, (z, a) => 1 - a * a],
  identity: [(z) => z, () => 1],
};

const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const base64 = (bytes) => btoa(String.fromCharCode(...bytes));

/** As POST /api/predict answers. */
export function predictHere(model, pixels, { explain, attack, activations }) {
  if (!model) throw new ApiError("missing", "");
  const prepared = prepare(pixels, Math.sqrt(pixels.length));
  const x = inputOf(model, prepared.at(-1).values);
  const result = forward(model, x);
  const answer = { model: { title: model.title }, classes: model.classes, ...result.answer, stages: prepared.map(asStage), attack: null };
  answer.activations = activations ? result.passes.filter(({ layer }) => layer.kind === "activation").map(({ layer, a }) => described(layer.name, a)) : [];
  const dx = inputGradient(model, result.passes, (_, k) => Number(k === explain));
  answer.gradient = { class: explain, picture: { rows: SIDE, columns: SIDE, values: base64(new Uint8Array(dx.buffer)), max: dx.reduce((m, v) => Math.max(m, Math.abs(v)), 0) } };
  if (attack) answer.attack = attacked(model, prepared.at(-1).values, result, attack.epsilon);
  return answer;
}

const inputOf = ({ shift, factor }, pixels) => Float32Array.from(pixels, (v, k) => (v - (Array.isArray(shift) ? shift[k] : shift)) * (Array.isArray(factor) ? factor[k] : factor));

/** Through all layers: what went into each and came out, and the probabilities by softmax. */
export function forward({ layers }, x) {
  const passes = [];
  let a = x;
  for (const layer of layers) {
    const input = a;
    a = layer.kind === "dense" ? dense(layer, input) : input.map(SLOPES[layer.function][0]);
    passes.push({ layer, input, a });
  }
  const top = Math.max(...a);
  const e = Array.from(a, (z) => Math.exp(z - top));
  const sum = e.reduce((s, v) => s + v, 0);
  const probabilities = e.map((v) => v / sum);
  return { passes, answer: { probabilities, predicted: probabilities.indexOf(Math.max(...probabilities)) } };
}

function dense(layer, x) {
  layer.weights ??= floats(layer.W);
  const z = Float32Array.from(floats(layer.b));
  for (let i = 0; i < layer.in; i += 1) {
    if (x[i] === 0) continue;
    for (let j = 0; j < layer.out; j += 1) z[j] += x[i] * layer.weights[i * layer.out + j];
  }
  return z;
}

/** dX of the first layer (D18, D19), from the slope by each of the last layer's outputs. */
function inputGradient({ layers }, passes, slope) {
  let d = Float32Array.from(passes.at(-1).a, slope);
  for (let l = layers.length - 1; l >= 0; l -= 1) {
    const [layer, { input, a }] = [layers[l], passes[l]];
    if (layer.kind === "activation") d = d.map((value, k) => value * SLOPES[layer.function][1](input[k], a[k]));
    else {
      const dx = new Float32Array(layer.in);
      for (let i = 0; i < layer.in; i += 1) for (let j = 0; j < layer.out; j += 1) dx[i] += d[j] * layer.weights[i * layer.out + j];
      d = dx;
    }
  }
  return d;
}

/** Every pixel by epsilon in the direction in which the loss of the predicted class grows: Goodfellow et al., 2015. */
function attacked(model, pixels, { passes, answer }, epsilon) {
  const { probabilities, predicted } = answer;
  const dx = inputGradient(model, passes, (_, k) => probabilities[k] - Number(k === predicted));
  const moved = Uint8Array.from(pixels, (v, k) => Math.max(0, Math.min(255, Math.round(v + 255 * epsilon * Math.sign(dx[k])))));
  return { epsilon, label: predicted, picture: { rows: SIDE, columns: SIDE, pixels: base64(moved) }, ...forward(model, inputOf(model, moved)).answer };
}

function described(name, a) {
  const values = Array.from(a.slice(0, 1024));
  return { name, units: a.length, values, zeros: a.filter((v) => v === 0).length / a.length };
}

const asStage = ({ name, columns, values }) => ({ name, picture: { rows: values.length / columns, columns, pixels: base64(values) } });

/** Crop to the ink, fit into 20 x 20, centre by mass in 28 x 28. */
export function prepare(pixels, side) {
  let [left, right, top, bottom] = [side, -1, side, -1];
  pixels.forEach((value, k) => {
    if (value <= 51) return;
    const [row, column] = [Math.floor(k / side), k % side];
    [left, right, top, bottom] = [Math.min(left, column), Math.max(right, column), Math.min(top, row), Math.max(bottom, row)];
  });
  if (right < 0) throw new ApiError("data", "");
  const [width, height] = [right - left + 1, bottom - top + 1];
  const cropped = new Uint8Array(width * height).map((_, k) => pixels[(top + Math.floor(k / width)) * side + left + (k % width)]);
  const scale = BOX / Math.max(width, height);
  const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const fitted = area(cropped, width, height, w, h);
  let [mass, x, y] = [0, 0, 0];
  fitted.forEach((v, k) => {
    mass += v;
    x += v * ((k % w) + 0.5);
    y += v * (Math.floor(k / w) + 0.5);
  });
  const place = (centre, size) => Math.max(0, Math.min(SIDE - size, Math.round(SIDE / 2 - centre / mass)));
  const [dx, dy] = [place(x, w), place(y, h)];
  const centred = new Uint8Array(SIDE * SIDE);
  fitted.forEach((v, k) => (centred[(dy + Math.floor(k / w)) * SIDE + dx + (k % w)] = v));
  return [
    { name: "grey", columns: side, values: Uint8Array.from(pixels) }, { name: "cropped", columns: width, values: cropped },
    { name: "fitted", columns: w, values: fitted }, { name: "centred", columns: SIDE, values: centred },
  ];
}

/** Means over the areas that the new pixels cover. */
function area(values, width, height, w, h) {
  const overlap = (k, scale, n) => Array.from({ length: n }, (_, i) => Math.max(0, Math.min(i + 1, (k + 1) * scale) - Math.max(i, k * scale)));
  const columns = Array.from({ length: w }, (_, c) => overlap(c, width / w, width));
  const rows = Array.from({ length: h }, (_, r) => overlap(r, height / h, height));
  const each = (width / w) * (height / h);
  return new Uint8Array(w * h).map((_, k) => {
    let sum = 0;
    const [ys, xs] = [rows[Math.floor(k / w)], columns[k % w]];
    ys.forEach((y, r) => y > 0 && xs.forEach((x, c) => x > 0 && (sum += x * y * values[r * width + c])));
    return Math.round(sum / each);
  });
}
