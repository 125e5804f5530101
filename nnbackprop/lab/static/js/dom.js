// Elements of HTML and SVG.

import { decode, decodeFloats } from "./base64.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (on* are listeners, `data` a dict, `text` its text) and children. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const find = (selector, within = document) => within.querySelector(selector);

/** Set a text; one that stands there already is left alone, as a new one is laid out and painted again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replace an element's children, and give the focus back to the one that had it, by its data-key. */
export function replace(element, ...children) {
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (key !== undefined) element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

/** A picture of the API, {rows, columns, pixels}, on a canvas, grey. */
export function drawPicture(canvas, { rows, columns, pixels }) {
  paint(canvas, rows, columns, decode(pixels), (v) => rgb(v, v, v));
}

/** A signed picture: blue above 0, red below, of the strength of its share of the largest. */
export function drawSigned(canvas, { rows, columns, values, max }, alpha = 255) {
  paint(canvas, rows, columns, decodeFloats(values), (v) => {
    const strength = max > 0 ? Math.min(Math.abs(v) / max, 1) : 0;
    const [r, g, b] = v > 0 ? [29, 95, 209] : [194, 58, 34];
    if (alpha < 255) return rgb(r, g, b, alpha * strength);
    const fade = (c) => 255 + (c - 255) * strength;
    return rgb(fade(r), fade(g), fade(b));
  });
}

/** A pixel, 0..255 each, as it lies in the memory of a canvas. */
export const rgb = (r, g, b, alpha = 255) => (Math.round(alpha) << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r);

/** A pixel a value, row by row. */
export function paint(canvas, rows, columns, values, pixelOf) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let k = 0; k < values.length; k += 1) pixels[k] = pixelOf(values[k]);
  context.putImageData(image, 0, 0);
}
