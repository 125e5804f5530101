// A network of dense layers: forward, loss, backward and one step, on plain arrays.
// X holds a sample a row; W has a row an input and a column a unit: Z = X W + b. The equations' numbers are those of
// docs/derivation.md, and tests compare every number with the Python package's.

import { ACTIVATIONS, sigmoid } from "./activations.js";
import { noStates, updated } from "./optimizers.js";

export const matmul = (A, B) => A.map((row) => B[0].map((_, j) => row.reduce((sum, a, i) => sum + a * B[i][j], 0)));
export const transpose = (A) => A[0].map((_, j) => A.map((row) => row[j]));
/** f of what stands in the same place of each array. */
export const each = (f, ...arrays) => arrays[0].map((row, r) => row.map((_, j) => f(...arrays.map((A) => A[r][j]))));

export function softmax(Z) { // D23
  return Z.map((z) => {
    const top = Math.max(...z);
    const e = z.map((value) => Math.exp(value - top));
    const sum = e.reduce((a, b) => a + b, 0);
    return e.map((value) => value / sum);
  });
}

/** Loss and its derivative by the network's output Y: {J, P, dY}; T is as wide as Y. */
export const LOSSES = {
  mse(Y, T) { // D3, D15
    const f = 2 / (Y.length * Y[0].length);
    const E = each((y, t) => y - t, Y, T);
    return { J: (f / 2) * E.flat().reduce((sum, e) => sum + e * e, 0), P: Y, dY: each((e) => e * f, E) };
  },
  "half-mse"(Y, T) { // D15
    const f = 1 / Y.length;
    const E = each((y, t) => y - t, Y, T);
    return { J: (f / 2) * E.flat().reduce((sum, e) => sum + e * e, 0), P: Y, dY: each((e) => e * f, E) };
  },
  "binary-cross-entropy"(Y, T) { // D27
    const n = Y.length;
    const P = Y.map((y) => y.map(sigmoid));
    const terms = each((y, t) => Math.max(y, 0) - t * y + Math.log1p(Math.exp(-Math.abs(y))), Y, T);
    return { J: terms.flat().reduce((sum, term) => sum + term, 0) / n, P, dY: each((p, t) => (p - t) / n, P, T) };
  },
  "softmax-cross-entropy"(Y, T) { // D25, D26
    const P = softmax(Y);
    const n = Y.length;
    const logs = Y.map((y) => {
      const top = Math.max(...y);
      return top + Math.log(y.reduce((sum, value) => sum + Math.exp(value - top), 0));
    });
    const J = Y.reduce((sum, y, r) => sum + y.reduce((s, value, j) => s + T[r][j] * (logs[r] - value), 0), 0) / n;
    return { J, P, dY: each((p, t) => (p - t) / n, P, T) };
  },
};

/** Where backward and the update compute; a planted mistake is one of these replaced (mistakes.js). */
export const RULES = {
  lossSlope: ({ dY }) => dY, // of {Y, T, P, dY}
  throughOutput: (dA, slope) => dA * slope, // D4
  throughHidden: (dA, slope) => dA * slope, // D7, D13
  weightGradient: (X, dZ) => matmul(transpose(X), dZ), // D16
  biasGradient: (dZ) => transpose(dZ).map((column) => column.reduce((a, b) => a + b, 0)), // D17
  sentBack: (dZ, W) => matmul(dZ, transpose(W)), // D18
};

/** Forward through all layers (D20): for each layer its input X, its sums Z and its outputs A. */
export function forward(layers, X) {
  const passes = [];
  let input = X;
  for (const { W, b, activation } of layers) {
    const Z = matmul(input, W).map((row) => row.map((z, j) => z + b[j])); // D14
    const A = Z.map((row) => row.map(ACTIVATIONS[activation].f));
    passes.push({ X: input, Z, A });
    input = A;
  }
  return passes;
}

/** Back through all layers (D21): dA, dZ, dW and db of each. */
export function backward(layers, passes, dY, rules = RULES, lr = 0) {
  const grads = new Array(layers.length);
  let dA = dY;
  for (let l = layers.length - 1; l >= 0; l -= 1) {
    const { X, Z, A } = passes[l];
    const through = l === layers.length - 1 ? rules.throughOutput : rules.throughHidden;
    const { f, slope } = ACTIVATIONS[layers[l].activation];
    const dZ = each((da, z, a) => through(da, slope(z, a), a, () => slope(a, f(a))), dA, Z, A);
    const dW = rules.weightGradient(X, dZ);
    grads[l] = { dA, dZ, dW, db: rules.biasGradient(dZ, l) };
    if (l > 0) dA = rules.sentBack(dZ, layers[l].W, dW, lr);
  }
  return grads;
}

/** One step of an optimizer (D9, D22 by plain descent): everything computed on the way, the layers and its states after it. */
export function step(layers, X, T, { loss, lr, rules = RULES, optimizer = "sgd", states = noStates(optimizer, layers), t = 1 }) {
  const passes = forward(layers, X);
  const Y = passes.at(-1).A;
  const scored = LOSSES[loss](Y, T);
  const dY = rules.lossSlope({ Y, T, ...scored });
  const grads = backward(layers, passes, dY, rules, lr);
  const after = updated(optimizer, layers, grads, states, { lr, t });
  return { passes, Y, P: scored.P, J: scored.J, dY, grads, ...after };
}

export const lossOf = (layers, X, T, loss) => LOSSES[loss](forward(layers, X).at(-1).A, T).J;

/** The slope of J by one parameter, measured: (J(w + e) - J(w - e)) / 2e. `place` is {layer, i, j}, without i a bias. */
export function measuredSlope(layers, X, T, loss, place, epsilon) {
  const at = (by) => lossOf(moved(layers, place, by), X, T, loss);
  const [above, below] = [at(epsilon), at(-epsilon)];
  return { above, below, slope: (above - below) / (2 * epsilon) };
}

/** The layers with one parameter moved by `by`. */
export function moved(layers, { layer, i, j }, by) {
  return layers.map((one, l) => {
    if (l !== layer) return one;
    if (i === undefined) return { ...one, b: one.b.map((b, k) => (k === j ? b + by : b)) };
    return { ...one, W: one.W.map((row, r) => (r === i ? row.map((w, k) => (k === j ? w + by : w)) : row)) };
  });
}
