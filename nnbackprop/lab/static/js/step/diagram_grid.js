// A network on a small image: the image, for each hidden neuron its weights laid out as the pixels, and the outputs as a table.

import { s } from "../dom.js";

export function gridDiagram(view, tools) {
  const draw = view.narrow ? narrowGrid : wideGrid;
  return draw(view, tools);
}

function wideGrid(view, tools) {
  const { layers, image } = view;
  const hidden = layers[0].b.length;
  const outputs = layers[1].b.length;
  const [cell, row] = [40, 24];
  const band = image[0] * row + 42;
  const height = Math.max(hidden * band, (outputs + 1) * 28) + 16;
  const imageX = 8;
  const imageY = height / 2 - (image[0] * cell) / 2;
  const gridX = 214;
  const boxX = 472;
  const tableX = 586;
  const marks = [];
  const centre = (j) => 8 + (height - 16) * ((j + 0.5) / hidden);
  const table = outputTable(view, tools, { x: tableX, y: height / 2 - ((outputs + 1) * 28) / 2, row: 28, widths: { label: 20, v: 48, rest: 52 } });
  for (let j = 0; j < hidden; j += 1) {
    marks.push(wire(imageX + image[1] * cell, height / 2, gridX, centre(j)), wire(gridX + image[1] * cell, centre(j), boxX - 66, centre(j)));
    for (let k = 0; k < outputs; k += 1) marks.push(tools.edge(boxX + 66, centre(j), tableX, table.rowY(k), `w2.${j}.${k}`));
  }
  marks.push(...pixels(view, tools, imageX, imageY, cell, cell));
  for (let j = 0; j < hidden; j += 1) {
    marks.push(...weights(view, tools, j, gridX, centre(j) - (image[0] * row) / 2, cell, row, 2));
    marks.push(...neuron(view, tools, j, boxX, centre(j), 132, 3));
  }
  marks.push(...table.marks, ...lossBox(tools, imageX + 80, imageY + image[0] * cell + 40));
  return { width: table.right + 8, height, marks };
}

function narrowGrid(view, tools) {
  const { layers, image } = view;
  const hidden = layers[0].b.length;
  const outputs = layers[1].b.length;
  const width = 344;
  const marks = [];
  const cell = 34;
  const imageX = width / 2 - (image[1] * cell) / 2;
  const slot = width / hidden;
  const small = (slot - 10) / image[1];
  const gridY = image[0] * cell + 44;
  const boxY = gridY + image[0] * 20 + 66;
  const table = outputTable(view, tools, { x: 0, y: boxY + 66, row: 26, widths: { label: 14, v: 40, rest: 42 } });
  for (let j = 0; j < hidden; j += 1) {
    const x = slot * (j + 0.5);
    marks.push(wire(width / 2, image[0] * cell + 8, x, gridY), wire(x, gridY + image[0] * 20, x, boxY - 40), wire(x, boxY + 40, x, boxY + 66));
    marks.push(...weights(view, tools, j, x - (small * image[1]) / 2, gridY, small, 20, 1), ...neuron(view, tools, j, x, boxY, slot - 8, 3));
  }
  marks.push(...pixels(view, tools, imageX, 8, cell, cell), ...lossBox(tools, width - 48, 30), ...table.marks);
  return { width, height: boxY + 66 + (outputs + 1) * 26 + 8, marks };
}

function pixels({ image, numbers }, tools, x, y, w, h) {
  const marks = [];
  for (let i = 0; i < image[0] * image[1]; i += 1) {
    const [r, c] = [Math.floor(i / image[1]), i % image[1]];
    const number = tools.num(`x.${i}`, x + (c + 0.5) * w, y + (r + 0.5) * h, w - 1, { symbol: false, h: h - 1, decimals: 2 });
    number.classList.add("pixel");
    number.querySelector(".hit").setAttribute("fill-opacity", Math.max(0, Math.min(1, numbers.get(`x.${i}`).value)));
    if (numbers.get(`x.${i}`).value > 0.55) number.classList.add("bright");
    marks.push(number);
  }
  return marks;
}

/** The weights of hidden neuron j where their pixels are; in backward their slopes, after the update the new ones. */
function weights({ image, numbers, reached }, tools, j, x, y, w, h, decimals) {
  const marks = [];
  for (let i = 0; i < image[0] * image[1]; i += 1) {
    const [r, c] = [Math.floor(i / image[1]), i % image[1]];
    const id = shown(reached, `w1.${i}.${j}`);
    const number = tools.num(id, x + (c + 0.5) * w, y + (r + 0.5) * h, w - 1, { symbol: false, h: h - 1, decimals, tint: /^[ds]/.test(id) ? undefined : numbers.get(id).value });
    number.classList.add("cell");
    if (w < 30) number.classList.add("tight");
    marks.push(number);
  }
  return marks;
}

/** Of a parameter's numbers the one computed last: itself, its slope, the optimizer's states, the new one. */
const shown = (reached, id) => [`n${id}`, `s1${id}`, `s0${id}`, `d${id}`].find((one) => reached.has(one)) ?? id;

function neuron({ reached }, tools, j, x, y, width, decimals) {
  const b = `b1.${j}`;
  const rows = [
    [tools.latest(b), [`s1${b}`, `s0${b}`].find((id) => reached.has(id)) ?? `d${b}`],
    [`z1.${j}`, `dz1.${j}`],
    [`a1.${j}`, `da1.${j}`],
  ];
  const left = width * 0.58;
  return [
    tools.box(x, y, width, 80, "node neuron"),
    ...rows.flatMap(([value, slope], k) => [
      tools.num(value, x - width / 2 + 4 + left / 2, y + (k - 1) * 23, left, { decimals, h: 21 }),
      tools.num(slope, x + width / 2 - 4 - (width - left - 8) / 2, y + (k - 1) * 23, width - left - 8, { decimals: 2, symbol: false, h: 21 }),
    ]),
  ];
}

/** A row a class: the weights to it, its bias, sum, probability, target and error. */
function outputTable({ layers, numbers, reached, classes }, tools, { x, y, row, widths }) {
  const hidden = layers[0].b.length;
  const outputs = layers[1].b.length;
  const columns = [
    ...layers[0].b.map((_, i) => ({ head: `v${"₁₂₃₄₅₆₇₈₉"[i]}`, width: widths.v, id: (k) => shown(reached, `w2.${i}.${k}`) })),
    { head: "c", width: widths.v, id: (k) => shown(reached, `b2.${k}`) },
    { head: "s", width: widths.rest, id: (k) => `z2.${k}` },
    { head: numbers.has("p.0") ? "p" : "y", width: widths.rest, id: (k) => (numbers.has("p.0") ? `p.${k}` : `a2.${k}`) },
    ...(numbers.has("dJ.0") ? [{ head: "∂J/∂y", width: widths.rest, id: (k) => `dJ.${k}` }] : []),
    { head: "t", width: widths.rest * 0.6, id: (k) => `t.${k}` },
    { head: "δ", width: widths.rest, id: (k) => `dz2.${k}` },
  ];
  const rowY = (k) => y + row * (k + 1.5);
  const marks = [];
  let left = x + widths.label;
  const right = left + columns.reduce((sum, column) => sum + column.width, 0);
  marks.push(tools.box((x + right) / 2, y + (row * (outputs + 1)) / 2, right - x, row * (outputs + 1), "node table"));
  for (const column of columns) {
    marks.push(tools.label(column.head, left + column.width / 2, y + row * 0.65, "middle", "symbol"));
    for (let k = 0; k < outputs; k += 1) {
      const id = column.id(k);
      const tint = /^n?w/.test(id) ? numbers.get(id).value : undefined;
      marks.push(tools.num(id, left + column.width / 2, rowY(k), column.width - 2, { symbol: false, decimals: 2, h: row - 2, tint }));
    }
    left += column.width;
  }
  for (let k = 0; k < outputs; k += 1) marks.push(tools.label(classes[k] ?? String(k), x + widths.label / 2 + 1, rowY(k) + 4, "middle", "class"));
  return { marks, rowY, right, hidden };
}

function lossBox(tools, x, y) {
  return [tools.box(x, y, 92, 34, "node loss"), tools.num("J", x, y, 84)];
}

const wire = (x1, y1, x2, y2) => s("line", { class: "edge wire", x1, y1, x2, y2 });
