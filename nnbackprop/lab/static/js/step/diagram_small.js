// A network of a few neurons: boxes and lines, from left to right, or downwards on a narrow screen.

const BOX = { width: 158, row: 22 };

export function smallDiagram(view, tools) {
  const { layers, numbers } = view;
  const L = layers.length;
  const inputs = layers[0].W.length;
  const sizes = [inputs, ...layers.map(({ b }) => b.length)];
  const { width, height, at } = place(view.narrow, sizes, view.states);
  const marks = [];
  layers.forEach(({ W }, l) => W.forEach((row, i) => row.forEach((_, j) => marks.push(tools.edge(...ends(at, l, i, j, view.narrow), `w${l + 1}.${i}.${j}`)))));
  const [lossX, lossY] = at(L + 1, 0);
  const [outX, outY] = at(L, 0);
  marks.push(lineTo(outX, outY, lossX, lossY));
  for (let i = 0; i < inputs; i += 1) marks.push(...input(view, tools, i, at(0, i)));
  layers.forEach(({ b }, l) => b.forEach((_, j) => marks.push(...neuron(view, tools, l, j, at(l + 1, j), L))));
  layers.forEach(({ W }, l) => W.forEach((row, i) => row.forEach((_, j) => marks.push(...edgeNumbers(tools, l, i, j, at, view)))));
  const scored = ["p.0", "t.0", "J"].filter((id) => numbers.has(id)); // p where the loss takes the sigmoid itself
  marks.push(tools.box(lossX, lossY, 104, 8 + 24 * scored.length, "node loss"), ...scored.map((id, k) => tools.num(id, lossX, lossY + 24 * (k - (scored.length - 1) / 2), 92)));
  return { width, height, marks };

  function lineTo(x1, y1, x2, y2) {
    const line = tools.edge(x1, y1, x2, y2, "J");
    line.setAttribute("stroke-width", "1");
    return line;
  }
}

/** Where node k of column c lies; the loss is the last column. What is below a weight on its edge takes room, the optimizer's states too. */
function place(narrow, sizes, states) {
  if (narrow) {
    const width = 344;
    const more = 40 + states * 64;
    const rows = [40, 220 + more, 408 + 2 * more, 506 + 2.3 * more];
    return { width, height: 546 + 2.3 * more, at: (c, k) => [spread(k, sizes[c] ?? 1, width), rows[c]] };
  }
  const height = 480 + states * 95;
  const columns = [50, 336, 620, 790];
  return { width: 846, height, at: (c, k) => [columns[c], spread(k, sizes[c] ?? 1, height)] };
}

const spread = (k, n, length) => (length / n) * (k + 0.5);

function halves(l, narrow) {
  if (narrow) return [l === 0 ? 17 : 55, 55];
  return [l === 0 ? 44 : BOX.width / 2, BOX.width / 2];
}

/** From the border of one node to that of the next. */
function ends(at, l, i, j, narrow) {
  const [x1, y1] = at(l, i);
  const [x2, y2] = at(l + 1, j);
  const [from, to] = halves(l, narrow);
  return narrow ? [x1, y1 + from, x2, y2 - to] : [x1 + from, y1, x2 - to, y2];
}

/** A label lies off the middle of its edge, so that those of crossing edges do not meet. */
function edgeNumbers(tools, l, i, j, at, { narrow, states }) {
  const [x1, y1, x2, y2] = ends(at, l, i, j, narrow);
  const crossing = l === 0 && i !== j;
  const share = l > 0 ? (narrow ? 0.4 : 0.5) : narrow ? (crossing ? 0.27 : 0.7) : crossing ? (states ? 0.3 : 0.37) : 0.5;
  const [x, y] = [x1 + share * (x2 - x1), y1 + share * (y2 - y1)];
  const w = narrow && crossing ? 82 : 98;
  const id = `w${l + 1}.${i}.${j}`;
  const rows = [id, ...[`d${id}`, `s0${id}`, `s1${id}`, `n${id}`].filter(tools.known)];
  const top = y - 10 * (rows.length - 1);
  return [
    tools.box(x, y, w, 20 * rows.length, "edge-label"),
    ...rows.map((one, k) => tools.num(one, x, top + 20 * k, w, { symbol: k === 0 || one.startsWith("n"), h: 20 })),
  ];
}

function input(view, tools, i, [x, y]) {
  const name = view.names[i];
  return [
    tools.box(x, y, 88, 34, "node input"),
    tools.num(`x.${i}`, x, y, 80),
    name ? tools.label(name, x, view.narrow ? y - 22 : y + 32) : null,
  ];
}

function neuron({ numbers, states }, tools, l, j, [x, y], L) {
  const last = l === L - 1;
  const b = `b${l + 1}.${j}`;
  const rows = [
    [b, `d${b}`],
    ...(states ? [[`s0${b}`, `s1${b}`]] : []),
    [`n${b}`],
    [`z${l + 1}.${j}`, `dz${l + 1}.${j}`],
    [`a${l + 1}.${j}`, last ? `dJ.${j}` : `da${l + 1}.${j}`],
  ].filter(([id]) => numbers.has(id));
  const top = y - ((rows.length - 1) * BOX.row) / 2;
  return [
    tools.box(x, y, BOX.width, rows.length * BOX.row + 22, "node neuron"),
    ...rows.flatMap(([value, slope], k) => [
      tools.num(value, x - 30, top + k * BOX.row, 90, { symbol: !value.startsWith("s0") }),
      numbers.has(slope) ? tools.num(slope, x + 45, top + k * BOX.row, 58, { symbol: false }) : null,
    ]),
  ];
}
