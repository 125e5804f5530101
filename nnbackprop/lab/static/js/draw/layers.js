// The layers of an exported network, forward and backward, a sample at a time. Images are rows x columns x channels,
// channels last, as in nnbackprop/nn/layers.

import { ACTIVATIONS } from "../activations.js";
import { decodeFloats } from "../base64.js";

/** Calls act(x0, z0, place) for all that windows see: where its channels begin in x, the window's in z, and its place in the kernel. */
function eachWindow({ in: [rows, columns, c], out: [R, S, k], size: [h, w], stride: [down, across], before: [top, left] }, act) {
  for (let r = 0; r < R; r += 1) for (let s = 0; s < S; s += 1) for (let i = 0; i < h; i += 1) for (let j = 0; j < w; j += 1) {
    const [row, column] = [r * down + i - top, s * across + j - left];
    if (row >= 0 && row < rows && column >= 0 && column < columns) act((row * columns + column) * c, (r * S + s) * k, i * w + j);
  }
}

const numbers = ([rows, columns, channels]) => rows * columns * channels;

/** z = cols W + b (D37, D38), and dx (D39); a dense layer is one of an image of one pixel (D4, D18). */
const conv = {
  forward(layer, x) {
    const { in: [, , c], out: [, , k], W, b } = layer;
    const z = new Float32Array(numbers(layer.out)).map((_, place) => b[place % k]);
    eachWindow(layer, (x0, z0, place) => {
      for (let i = 0; i < c; i += 1) {
        const [value, row] = [x[x0 + i], (place * c + i) * k];
        if (value !== 0) for (let f = 0; f < k; f += 1) z[z0 + f] += value * W[row + f];
      }
    });
    return z;
  },
  backward(layer, x, z, dz) {
    const { in: [, , c], out: [, , k], W } = layer;
    const dx = new Float32Array(numbers(layer.in));
    eachWindow(layer, (x0, z0, place) => {
      for (let i = 0; i < c; i += 1) for (let [f, row] = [0, (place * c + i) * k]; f < k; f += 1) dx[x0 + i] += dz[z0 + f] * W[row + f];
    });
    return dx;
  },
};

/** The largest of each window (D41); backward to the first that is it (D42). */
const maxpool = {
  forward(layer, x) {
    const y = new Float32Array(numbers(layer.out)).fill(-Infinity);
    eachWindow(layer, (x0, y0) => {
      for (let i = 0; i < layer.in[2]; i += 1) y[y0 + i] = Math.max(y[y0 + i], x[x0 + i]);
    });
    return y;
  },
  backward(layer, x, y, dy) {
    const [dx, rest] = [new Float32Array(numbers(layer.in)), dy.slice()];
    eachWindow(layer, (x0, y0) => {
      for (let i = 0; i < layer.in[2]; i += 1) if (x[x0 + i] === y[y0 + i]) [dx[x0 + i], rest[y0 + i]] = [dx[x0 + i] + rest[y0 + i], 0];
    });
    return dx;
  },
};

/** The mean of each window (D43, D45); backward to all of it (D44). */
const averagepool = {
  forward(layer, x) {
    const y = new Float32Array(numbers(layer.out));
    eachWindow(layer, (x0, y0) => {
      for (let i = 0; i < layer.in[2]; i += 1) y[y0 + i] += x[x0 + i] / layer.size[0] / layer.size[1];
    });
    return y;
  },
  backward(layer, x, y, dy) {
    const dx = new Float32Array(numbers(layer.in));
    eachWindow(layer, (x0, y0) => {
      for (let i = 0; i < layer.in[2]; i += 1) dx[x0 + i] += dy[y0 + i] / layer.size[0] / layer.size[1];
    });
    return dx;
  },
};

/** Batch normalization by its running statistics, which is a scale and a shift of each channel (D46, D50). */
const scale = {
  forward: ({ scale: s, shift }, x) => x.map((value, k) => value * s[k % s.length] + shift[k % s.length]),
  backward: ({ scale: s }, x, y, dy) => dy.map((value, k) => value * s[k % s.length]),
};

const activation = {
  forward: (layer, z) => z.map((value) => ACTIVATIONS[layer.function].f(value)),
  backward: (layer, z, a, da) => da.map((value, k) => value * ACTIVATIONS[layer.function].slope(z[k], a[k])),
};

export const KINDS = { conv, maxpool, averagepool, scale, activation };

/** A layer as lab.json has it, with its numbers. */
export function decoded(layer) {
  const arrays = Object.fromEntries(["W", "b", "scale", "shift"].filter((name) => name in layer).map((name) => [name, decodeFloats(layer[name])]));
  if (layer.kind !== "dense") return { ...layer, ...arrays };
  return { name: layer.name, kind: "conv", in: [1, 1, layer.in], out: [1, 1, layer.out], size: [1, 1], stride: [1, 1], before: [0, 0], ...arrays };
}
