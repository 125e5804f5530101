// The activations: f, its slope by the sum z and the output a, and how both are written with numbers put in.
// `write` and `writeSlope` get references to z and a and the value of z, and give lists as numbers.js has them. `prime` is
// f′(s) in letters, where a formula has f′.

const [LEAK, ALPHA] = [0.01, 1];
const [C, CUBIC] = [Math.sqrt(2 / Math.PI), 0.044715]; // of GELU's tanh form
export const sigmoid = (z) => 0.5 * Math.tanh(0.5 * z) + 0.5; // D2
const gate = (z) => 0.5 * Math.tanh(C * (z + CUBIC * z * z * z)) + 0.5;
const call = (name) => (z) => [`${name}(`, z, ")"];

export const ACTIVATIONS = {
  sigmoid: {
    title: "sigmoid", equation: "D2", slopeEquation: "D19", f: sigmoid, slope: (z, a) => a * (1 - a), prime: "σ(s) (1 − σ(s))",
    write: call("σ"), writeSlope: (z, a) => [" · ", a, " · (1 − ", a, ")"],
  },
  tanh: {
    title: "tanh", equation: "D19", slopeEquation: "D19", f: Math.tanh, slope: (z, a) => 1 - a * a, prime: "1 − tanh²(s)",
    write: call("tanh"), writeSlope: (z, a) => [" · (1 − ", a, "²)"],
  },
  relu: {
    title: "ReLU", equation: "D19", slopeEquation: "D19", f: (z) => Math.max(z, 0), slope: (z, a) => (a > 0 ? 1 : 0),
    write: (z) => ["max(", z, ", 0)"], writeSlope: (z, a) => [" · [", a, " > 0]"],
  },
  "leaky-relu": {
    title: "Leaky ReLU", equation: "D55", slopeEquation: "D55", f: (z) => Math.max(z, LEAK * z), slope: (z) => (z > 0 ? 1 : LEAK),
    write: (z) => ["max(", z, `, ${LEAK} · `, z, ")"], writeSlope: (z, a, value) => [value > 0 ? " · 1" : ` · ${LEAK}`],
  },
  elu: {
    title: "ELU", equation: "D60", slopeEquation: "D60", f: (z) => Math.max(z, 0) + ALPHA * Math.expm1(Math.min(z, 0)), slope: (z, a) => (a > 0 ? 1 : a + ALPHA), prime: "1 (s > 0), eˢ (s ≤ 0)",
    write: (z, value) => (value > 0 ? [z] : ["e^", z, " − 1"]), writeSlope: (z, a, value) => (value > 0 ? [" · 1"] : [" · (", a, " + 1)"]),
  },
  softplus: {
    title: "Softplus", equation: "D61", slopeEquation: "D61", f: (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))), slope: sigmoid, prime: "σ(s)",
    write: (z) => ["log(1 + e^", z, ")"], writeSlope: (z) => [" · σ(", z, ")"],
  },
  silu: {
    title: "SiLU", equation: "D62", slopeEquation: "D62", f: (z) => z * sigmoid(z), prime: "σ(s) (1 + s (1 − σ(s)))",
    slope(z) {
      const s = sigmoid(z);
      return s + z * s * (1 - s);
    },
    write: (z) => [z, " · σ(", z, ")"], writeSlope: (z) => [" · σ(", z, ") · (1 + ", z, " · (1 − σ(", z, ")))"],
  },
  gelu: {
    title: "GELU", equation: "D63", slopeEquation: "D63", f: (z) => z * gate(z), prime: "u + s u (1 − u) 2c (1 + 3α s²),  u = σ(2c (s + α s³))",
    slope(z) {
      const s = gate(z);
      return s + z * s * (1 - s) * (2 * C + 6 * CUBIC * C * z * z);
    },
    write: (z) => [z, " · σ(1.5958 · (", z, " + 0.0447 · ", z, "³))"],
    writeSlope: (z, a, value) => [" · ", { value: ACTIVATIONS.gelu.slope(value), symbol: { base: "f′(s)" } }],
  },
  identity: {
    title: "identity", equation: null, slopeEquation: null, f: (z) => z, slope: () => 1,
    write: (z) => [z], writeSlope: () => [" · 1"],
  },
};
