// The numbers of one step and the lines that compute them. A number has an id, a symbol, a value, the equation of the
// derivation and a formula: a list of texts and of the numbers that go in. The same list gives "v₁ · h₁" and "-0.26 · 0.23".
//
// Ids: x.i, t.j, J, dJ.j, p.j; of layer l: w1.i.j, b1.j, z1.j, a1.j, their derivatives dw1.i.j, db1.j, dz1.j, da1.j, and
// after the update nw1.i.j, nb1.j. The optimizer's state k of a parameter is o0w1.i.j before the step, s0w1.i.j after it.
// Places count from 0, layers and symbols from 1.

import { ACTIVATIONS } from "./activations.js";
import { plain } from "./format.js";
import { step } from "./network.js";
import { LOGITS, rulesWith, written } from "./mistakes.js";
import { OPTIMIZERS } from "./optimizers.js";

const LETTERS = [["w", "b", "s", "h"], ["v", "c", "s", "y"]];
const ref = (id) => ({ id });

/** Everything of one step that the page shows: {numbers, lines, result}. `state` is that of step.js. */
export function computeStep(state) {
  const { layers, X, T, row, loss, lr, mistake, optimizer, states, t } = state;
  const result = step(layers, X, T, { loss, lr, rules: rulesWith(mistake), optimizer, states, t });
  const numbers = new Map();
  const context = { ...state, result, numbers, n: X.length, add: (id, number) => numbers.set(id, { id, ...number }) };
  addData(context);
  layers.forEach((_, l) => addForward(context, l));
  addLoss(context);
  for (let l = layers.length - 1; l >= 0; l -= 1) addBackward(context, l);
  layers.forEach((_, l) => addUpdate(context, l));
  return { numbers, lines: linesOf(context), result, row };
}

/** Symbols: a letter and what stands below it; one output has none. */
function symbol({ layers }, kind, l, ...places) {
  const last = l === layers.length - 1;
  const letter = LETTERS[last ? 1 : 0]["wbsh".indexOf(kind)];
  const several = layers[l].b.length > 1;
  const shown = several || !last ? places : kind === "w" ? places.slice(0, 1) : [];
  const wide = kind === "w" && Math.max(layers[l].W.length, layers[l].b.length) > 9;
  return { base: letter, sub: shown.map((k) => k + 1).join(wide ? "," : "") };
}

const sub = (base, k, of) => ({ base, sub: of > 1 ? String(k + 1) : "" });

function addData({ X, T, row, add, layers, names, image }) {
  X[row].forEach((value, i) => add(`x.${i}`, { kind: "input", value, symbol: sub("x", i, 2), i, of: image ? "pixel" : names?.[i] }));
  T[row].forEach((value, j) => add(`t.${j}`, { kind: "target", value, symbol: sub("t", j, T[row].length), j, of: image ? "digit" : "person" }));
  layers.forEach(({ W, b }, layer) => {
    W.forEach((line, i) =>
      line.forEach((value, j) =>
        add(`w${layer + 1}.${i}.${j}`, { kind: "weight", value, symbol: symbol({ layers }, "w", layer, i, j), place: { layer, i, j } })));
    b.forEach((value, j) =>
      add(`b${layer + 1}.${j}`, { kind: "bias", value, symbol: symbol({ layers }, "b", layer, j), place: { layer, j } }));
  });
}

const source = (l) => (i) => (l === 0 ? `x.${i}` : `a${l}.${i}`);

function addForward(context, l) {
  const { layers, result, row, add, n } = context;
  const { W, b, activation } = layers[l];
  const from = source(l);
  const last = l === layers.length - 1;
  b.forEach((_, j) => {
    const terms = W.flatMap((__, i) => [i ? " + " : "", ref(`w${l + 1}.${i}.${j}`), " · ", ref(from(i))]);
    add(`z${l + 1}.${j}`, {
      kind: "sum", l, j, value: result.passes[l].Z[row][j], symbol: symbol(context, "s", l, j),
      equation: pick(context, "D1", "D10", "D14"), formula: [...terms, " + ", ref(`b${l + 1}.${j}`)], n,
    });
  });
  if (last && activation === "identity") return;
  b.forEach((_, j) => {
    const { equation, write } = ACTIVATIONS[activation];
    add(`a${l + 1}.${j}`, {
      kind: last ? "output" : "activation", l, j, value: result.passes[l].A[row][j], symbol: symbol(context, "h", l, j), activation,
      equation, formula: write(ref(`z${l + 1}.${j}`), result.passes[l].Z[row][j]),
    });
  });
}

/** The equation for one number at a time, for the arrays of one sample, for those of a batch. */
function pick({ X, scalars }, scalar, vector, batch) {
  return X.length > 1 ? batch : scalars ? scalar : vector;
}

function addLoss(context) {
  const { T, result, row, add, loss, n, layers, mistake } = context;
  const k = T[row].length;
  const L = layers.length;
  const squares = !LOGITS.includes(loss);
  const softmax = loss === "softmax-cross-entropy";
  const direct = layers.at(-1).activation === "identity"; // J's slope by the output is the output neuron's error
  const out = (j) => ref(direct ? `z${L}.${j}` : `a${L}.${j}`);
  if (!squares) {
    const bottom = T[row].flatMap((_, j) => [j ? " + " : "", "e^", out(j)]);
    const formula = (j) => (softmax ? ["e^", out(j), " / (", ...bottom, ")"] : ["σ(", out(j), ")"]);
    result.P[row].forEach((value, j) =>
      add(`p.${j}`, { kind: softmax ? "probability" : "outputProbability", value, j, symbol: sub("p", j, k), equation: softmax ? "D23" : "D2", formula: formula(j) }));
  }
  const terms = T[row].flatMap((t, j) => {
    const [target, p] = [ref(`t.${j}`), ref(`p.${j}`)];
    if (squares) return [j ? " + " : "", "(", out(j), " − ", target, ")²"];
    if (softmax) return t === 0 ? [] : ["−", target, " · log ", p];
    return [j ? " − " : "−", "[", target, " · log ", p, " + (1 − ", target, ") · log(1 − ", p, ")]"];
  });
  const mean = n > 1 ? [`1/${n} · ( … + `, ...terms, " + … )"] : terms;
  const factor = loss === "half-mse" ? "½ · " : squares && k > 1 ? `1/${k} · ` : "";
  add("J", { kind: "loss", value: result.J, symbol: { base: "J", sub: "" }, equation: squares ? pick(context, "D3", "D15", "D15") : softmax ? "D25" : "D27", formula: [factor, ...mean] });
  T[row].forEach((_, j) => {
    const difference = ["(", squares ? out(j) : ref(`p.${j}`), " − ", ref(`t.${j}`), ")"];
    const below = (loss === "mse" ? k : 1) * n;
    const right = [loss === "mse" ? "2 " : "", ...difference, below > 1 ? ` / ${below}` : ""];
    const slope = { value: result.dY[row][j], j, ...written(mistake, ["dJ"], right, j) };
    const equation = squares ? pick(context, "D3", "D15", "D15") : softmax ? "D26" : "D27";
    const index = k > 1 ? String(j + 1) : "";
    if (direct) add(`dz${L}.${j}`, { kind: "outputError", l: L - 1, symbol: { base: "δ", sub: index }, equation, ...slope });
    else add(`dJ.${j}`, { kind: "lossSlope", symbol: { base: "∂J/∂y", sub: index }, equation, ...slope });
  });
}

function addBackward(context, l) {
  const { layers, result, row, add, X, mistake } = context;
  const { W, b, activation } = layers[l];
  const { dA, dZ, dW, db } = result.grads[l];
  const last = l === layers.length - 1;
  const from = source(l);
  const inputs = result.passes[l].X;
  const delta = (j, r) => ({ value: dZ[r][j], symbol: { base: "δ", sub: last ? sub("", j, b.length).sub : String(j + 1) } });
  b.forEach((_, j) => {
    if (last) return;
    const above = layers[l + 1].b.flatMap((__, k) => [k ? " + " : "", ref(`dz${l + 2}.${k}`), " · ", ref(`w${l + 2}.${j}.${k}`)]);
    add(`da${l + 1}.${j}`, {
      kind: "activationSlope", l, j, value: dA[row][j], symbol: { base: "∂J/∂h", sub: String(j + 1) }, equation: pick(context, "D6", "D12", "D18"), ...written(mistake, ["da"], above),
    });
  });
  b.forEach((_, j) => {
    if (last && activation === "identity") return;
    const before = ref(last ? `dJ.${j}` : `da${l + 1}.${j}`);
    const { slopeEquation, writeSlope } = ACTIVATIONS[activation];
    const slope = writeSlope(ref(`z${l + 1}.${j}`), ref(`a${l + 1}.${j}`), result.passes[l].Z[row][j]);
    const equation = activation === "sigmoid" ? pick(context, last ? "D4" : "D7", "D13", "D19") : slopeEquation;
    add(`dz${l + 1}.${j}`, { kind: last ? "outputError" : "hiddenError", l, j, activation, ...delta(j, row), equation, ...written(mistake, [last ? "dzLast" : "dzHidden"], [before, ...slope], j) });
  });
  W.forEach((line, i) =>
    line.forEach((_, j) => {
      const rows = X.flatMap((__, r) => [r ? " + " : "", r === row ? ref(from(i)) : { value: inputs[r][i], symbol: at(context, from(i), r) }, " · ",
        r === row ? ref(`dz${l + 1}.${j}`) : { value: dZ[r][j], symbol: { ...delta(j, r).symbol, sup: String(r + 1) } }]);
      add(`dw${l + 1}.${i}.${j}`, {
        kind: "weightGradient", value: dW[i][j], symbol: derivative(symbol(context, "w", l, i, j)),
        place: { layer: l, i, j }, equation: pick(context, last ? "D5" : "D8", "D11", "D16"), ...written(mistake, ["dw"], rows, j, X.length),
      });
    }));
  b.forEach((_, j) => {
    const rows = X.flatMap((__, r) => [r ? " + " : "", r === row ? ref(`dz${l + 1}.${j}`) : { value: dZ[r][j], symbol: { ...delta(j, r).symbol, sup: String(r + 1) } }]);
    add(`db${l + 1}.${j}`, {
      kind: "biasGradient", value: db[j], symbol: derivative(symbol(context, "b", l, j)), place: { layer: l, j },
      equation: pick(context, last ? "D5" : "D8", "D11", "D17"), ...written(mistake, ["db", `db${l + 1}`], rows, j, X.length),
    });
  });
}

const derivative = ({ base, sub: below }) => ({ base: `∂J/∂${base}`, sub: below });
const at = ({ numbers }, id, r) => ({ ...numbers.get(id).symbol, sup: String(r + 1) });

function addUpdate(context, l) {
  const { result, layers } = context;
  layers[l].W.forEach((line, i) => line.forEach((_, j) =>
    addNewParameter(context, `w${l + 1}.${i}.${j}`, { layer: l, i, j }, ({ W }) => W[i][j], result.next[l])));
  layers[l].b.forEach((_, j) => addNewParameter(context, `b${l + 1}.${j}`, { layer: l, j }, ({ b }) => b[j], result.next[l]));
}

/** The optimizer's states of a parameter, before and after the step, and the parameter after it. */
function addNewParameter({ result, add, lr, t, numbers, optimizer, states, X }, id, place, valueIn, next) {
  const { letters, title, write } = OPTIMIZERS[optimizer];
  const { symbol } = numbers.get(id);
  const stateRefs = (head) => letters.map((_, k) => ref(`${head}${k}${id}`));
  const formulas = write({ w: ref(id), g: ref(`d${id}`), s: stateRefs("o"), n: stateRefs("s"), lr, t });
  const equation = optimizer === "sgd" ? (X.length > 1 ? "D22" : "D9") : title;
  letters.forEach((base, k) => {
    const of = `(${plain(symbol)})`;
    add(`o${k}${id}`, { kind: "oldState", value: valueIn(states[k][place.layer]), symbol: { base, mark: of }, place });
    add(`s${k}${id}`, { kind: "newState", k, value: valueIn(result.states[k][place.layer]), symbol: { base, mark: `′${of}` }, place, equation, formula: formulas.states[k] });
  });
  add(`n${id}`, { kind: optimizer === "sgd" ? "update" : "optimizerUpdate", value: valueIn(next), symbol: { ...symbol, mark: "′" }, place, equation, formula: formulas.w });
}

/** Lines in the order of computation: one number each, or, where `scalars` is false, all of one kind and layer. */
function linesOf({ layers, numbers, scalars }) {
  const L = layers.length;
  const ids = [...numbers.keys()];
  const group = (phase, head, layer) => {
    const members = ids.filter((id) => id.split(".")[0] === head);
    if (members.length === 0) return [];
    return scalars ? members.map((id) => ({ phase, layer, ids: [id] })) : [{ phase, layer, ids: members }];
  };
  const forward = layers.flatMap((_, l) => [...group("forward", `z${l + 1}`, l), ...group("forward", `a${l + 1}`, l)]);
  const loss = ["p", "J", "dJ"].flatMap((head) => group("loss", head, L - 1));
  const order = [...layers.keys()].reverse();
  const backward = order.flatMap((l) => ["da", "dz", "dw", "db"].flatMap((head) => group("backward", `${head}${l + 1}`, l)));
  const update = layers.flatMap((_, l) => ["s0w", "s0b", "s1w", "s1b", "nw", "nb"].flatMap((head) => group("update", `${head}${l + 1}`, l)));
  return [...forward, ...loss, ...backward, ...update];
}
