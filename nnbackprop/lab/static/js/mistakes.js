// Planted mistakes: each replaces one of network.js's RULES, as learners' code does by accident, and says so in the
// formula of the numbers it changes: `write` has a function of the right formula by the head of the number's id.

import { RULES, each, matmul, transpose } from "./network.js";

const scaled = (A, f) => A.map((row) => row.map((value) => value * f));
const SQUARED = ["mse", "half-mse"];
const SOFTMAX = ["softmax-cross-entropy"];
export const LOGITS = ["binary-cross-entropy", ...SOFTMAX]; // losses of logits, which have an activation of their own
const KINKED = ["identity", "relu", "leaky-relu"]; // whose slope at the output is that at the sum
const id = (name) => ({ id: name });
const moved = (part) => (part.id?.startsWith("w") ? id(`n${part.id}`) : part);

/** By the name in the doctor's catalogue: what it replaces, with which losses it can be made, how it is written. */
export const MISTAKES = {
  "sign-flipped": { lossSlope: ({ dY }) => scaled(dY, -1), write: { dJ: (right) => ["−", ...right] } },
  "mse-factor": { losses: ["mse"], lossSlope: ({ dY }) => scaled(dY, 0.5), write: { dJ: (right) => right.slice(1) } },
  "output-derivative-missing": { losses: SQUARED, throughOutput: (dA) => dA, write: { dzLast: (right) => right.slice(0, 1) } },
  "output-derivative-extra": {
    losses: LOGITS,
    lossSlope: ({ dY, P }) => each((d, p) => d * p * (1 - p), dY, P),
    write: { dJ: (right, j) => [...right, " · ", id(`p.${j}`), " · (1 − ", id(`p.${j}`), ")"] },
  },
  "softmax-diagonal": {
    losses: SOFTMAX,
    lossSlope: ({ P, T }) => each((p, t) => (-t * (1 - p)) / P.length, P, T),
    write: { dJ: (right, j) => ["−", id(`t.${j}`), " · (1 − ", id(`p.${j}`), ")", right.at(-1)] },
  },
  "activation-derivative-missing": { except: ["identity"], throughHidden: (dA) => dA, write: { dzHidden: (right) => right.slice(0, 1) } },
  "activation-derivative-at-a": {
    except: KINKED,
    throughHidden: (dA, slope, a, slopeAtOutput) => dA * slopeAtOutput(),
    write: { dzHidden: (right, j) => [right[0], " · f′(", id(`a1.${j}`), ")"] },
  },
  "updated-too-early": {
    sentBack: (dZ, W, dW, lr) => matmul(dZ, transpose(W.map((row, i) => row.map((w, j) => w - lr * dW[i][j])))),
    write: { da: (right) => right.map(moved) },
  },
  "wrong-activation-derivative": {
    activations: ["sigmoid"],
    throughHidden: (dA, slope, a) => dA * (1 - a * a),
    write: { dzHidden: (right, j) => [right[0], " · (1 − ", id(`a1.${j}`), "²)"] },
  },
  "gradient-zero": { biasGradient: (dZ) => dZ[0].map(() => 0), write: { db: () => ["0"] } },
  "mean-twice": {
    batch: true,
    weightGradient: (X, dZ) => scaled(RULES.weightGradient(X, dZ), 1 / X.length),
    biasGradient: (dZ) => RULES.biasGradient(dZ).map((db) => db / dZ.length),
    write: { dw: (right, j, n) => ["(", ...right, `) / ${n}`], db: (right, j, n) => ["(", ...right, `) / ${n}`] },
  },
  "bias-not-summed": {
    batch: true,
    biasGradient: (dZ, l) => (l === 0 ? dZ[0] : RULES.biasGradient(dZ)),
    write: { db1: (right) => right.slice(0, 2) },
  },
  "missing-batch-mean": { batch: true, lossSlope: ({ dY }) => scaled(dY, dY.length), write: { dJ: (right) => right.slice(0, -1) } },
};

export const rulesWith = (mistake) => (mistake ? { ...RULES, ...MISTAKES[mistake] } : RULES);

/** The formula of a number as it is computed, and the right one where a mistake has another. */
export function written(mistake, heads, right, j, n) {
  const head = mistake && heads.find((one) => MISTAKES[mistake].write[one]);
  return head ? { formula: MISTAKES[mistake].write[head](right, j, n), right } : { formula: right };
}

/** Those that can be made with a loss, an activation and a batch of this size. */
export const possible = (loss, activation, n) =>
  Object.keys(MISTAKES).filter((name) => {
    const { losses, activations, except, batch } = MISTAKES[name];
    return (!losses || losses.includes(loss)) && (!activations || activations.includes(activation)) && !except?.includes(activation) && (!batch || n > 1);
  });
