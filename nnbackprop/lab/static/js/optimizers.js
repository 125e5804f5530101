// The optimizers: one update of one parameter, w by its gradient g and its states s (zeros at first), as the kernels of
// nnbackprop/optim; and how it is written. `write` gives a formula of each new state and one of the new parameter.

const [MOMENTUM, RHO, BETA1, BETA2, DECAY] = [0.9, 0.9, 0.9, 0.999, 0.01];
const [EPSILON, ADAGRAD_EPSILON] = [1e-8, 1e-10];
const number = (base, value) => ({ value, symbol: { base } });
const [mu, rho, beta1, beta2] = [number("μ", MOMENTUM), number("ρ", RHO), number("β₁", BETA1), number("β₂", BETA2)];
const eta = (lr) => number("η", lr);

const rooted = (epsilon) => (w, g, v, lr) => [w, " − ", eta(lr), " · ", g, " / (√", v, " + ", number("ε", epsilon), ")"];
const mean = (beta, s, g, square = "") => [beta, " · ", s, " + (1 − ", beta, ") · ", g, square];

function adam(w, g, [m, v], { lr, t }) {
  const first = BETA1 * m + (1 - BETA1) * g;
  const second = BETA2 * v + (1 - BETA2) * g * g;
  const correction = 1 / Math.sqrt(1 - BETA2 ** t);
  return [w - ((lr / (1 - BETA1 ** t)) * first) / (correction * Math.sqrt(second) + EPSILON), first, second];
}

function writeAdam({ w, g, s, n, lr, t }) {
  const step = number("t", t);
  const corrected = [n[0], " / (1 − ", beta1, "^", step, ") / (√(", n[1], " / (1 − ", beta2, "^", step, ")) + ", number("ε", EPSILON), ")"];
  return { states: [mean(beta1, s[0], g), mean(beta2, s[1], g, "²")], w: [...w, " − ", eta(lr), " · ", ...corrected] };
}

/** By their names in a configuration; `states` are the names that the package gives them, `letters` those shown. */
export const OPTIMIZERS = {
  sgd: {
    title: "SGD", states: [], letters: [], update: (w, g, s, { lr }) => [w - lr * g],
    write: ({ w, g, lr }) => ({ states: [], w: [w, " − ", eta(lr), " · ", g] }),
  },
  momentum: {
    title: "Momentum", states: ["velocity"], letters: ["v"],
    update(w, g, [v], { lr }) {
      const velocity = MOMENTUM * v + g;
      return [w - lr * velocity, velocity];
    },
    write: ({ w, g, s, n, lr }) => ({ states: [[mu, " · ", s[0], " + ", g]], w: [w, " − ", eta(lr), " · ", n[0]] }),
  },
  nesterov: {
    title: "Nesterov", states: ["velocity"], letters: ["v"],
    update(w, g, [v], { lr }) {
      const velocity = MOMENTUM * v + g;
      return [w - lr * (g + MOMENTUM * velocity), velocity];
    },
    write: ({ w, g, s, n, lr }) => ({ states: [[mu, " · ", s[0], " + ", g]], w: [w, " − ", eta(lr), " · (", g, " + ", mu, " · ", n[0], ")"] }),
  },
  rmsprop: {
    title: "RMSprop", states: ["mean_square"], letters: ["v"],
    update(w, g, [v], { lr }) {
      const square = RHO * v + (1 - RHO) * g * g;
      return [w - (lr * g) / (Math.sqrt(square) + EPSILON), square];
    },
    write: ({ w, g, s, n, lr }) => ({ states: [mean(rho, s[0], g, "²")], w: rooted(EPSILON)(w, g, n[0], lr) }),
  },
  adagrad: {
    title: "Adagrad", states: ["sum_of_squares"], letters: ["v"],
    update(w, g, [v], { lr }) {
      const squares = v + g * g;
      return [w - (lr * g) / (Math.sqrt(squares) + ADAGRAD_EPSILON), squares];
    },
    write: ({ w, g, s, n, lr }) => ({ states: [[s[0], " + ", g, "²"]], w: rooted(ADAGRAD_EPSILON)(w, g, n[0], lr) }),
  },
  adam: { title: "Adam", states: ["m", "v"], letters: ["m", "v"], update: adam, write: (parts) => writeAdam({ ...parts, w: [parts.w] }) },
  adamw: {
    title: "AdamW", states: ["m", "v"], letters: ["m", "v"],
    update(w, g, s, { lr, t }) {
      const [moved, ...states] = adam(0, g, s, { lr, t });
      return [(1 - lr * DECAY) * w + moved, ...states];
    },
    write: (parts) => writeAdam({ ...parts, w: ["(1 − ", eta(parts.lr), " · ", number("λ", DECAY), ") · ", parts.w] }),
  },
};

/** The states before the first step: for each an array like each parameter, of zeros. */
export const noStates = (optimizer, layers) =>
  OPTIMIZERS[optimizer].states.map(() => layers.map(({ W, b }) => ({ W: W.map((row) => row.map(() => 0)), b: b.map(() => 0) })));

/** All parameters and states after step t. */
export function updated(optimizer, layers, grads, states, scalars) {
  const { update } = OPTIMIZERS[optimizer];
  const next = layers.map(({ W, b, activation }, l) => {
    const weights = W.map((row, i) => row.map((w, j) => update(w, grads[l].dW[i][j], states.map((s) => s[l].W[i][j]), scalars)));
    const biases = b.map((w, j) => update(w, grads[l].db[j], states.map((s) => s[l].b[j]), scalars));
    const part = (k) => ({ W: weights.map((row) => row.map((one) => one[k])), b: biases.map((one) => one[k]) });
    return { layer: { ...part(0), activation }, states: states.map((_, k) => part(k + 1)) };
  });
  return { next: next.map(({ layer }) => layer), states: states.map((_, k) => next.map((one) => one.states[k])) };
}
