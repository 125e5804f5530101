// The drawing pad: strokes by mouse, finger, pen or arrow keys, kept as lists of points in 0..280.

import { encode } from "../base64.js";
import { find } from "../dom.js";

const SIDE = 280;
const PEN = 20;
const SENT = 112; // pixels a side of what the network is given
const KEY_STEP = 7;
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

export const EXAMPLES = [
  [[[70, 70], [205, 70], [130, 225]]],
  [[[90, 85], [120, 60], [170, 62], [192, 100], [165, 140], [100, 190], [78, 222], [205, 222]]],
  [[[85, 75], [140, 55], [190, 90], [140, 135], [195, 175], [160, 225], [85, 215]]],
  [[[160, 60], [85, 165], [205, 165]], [[165, 110], [165, 230]]],
  [[[140, 55], [85, 95], [85, 180], [140, 225], [195, 180], [195, 95], [140, 55]]],
];

export function drawingPad(panel, changed) {
  const canvas = find(".drawing", panel);
  const overlay = find(".overlay", panel);
  const ink = canvas.getContext("2d", { willReadFrequently: true });
  let strokes = [];
  let [drawing, pen, example] = [false, [SIDE / 2, SIDE / 2], 0];

  function paint() {
    ink.fillStyle = "#000";
    ink.fillRect(0, 0, SIDE, SIDE);
    Object.assign(ink, { strokeStyle: "#fff", lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    for (const points of strokes) {
      ink.beginPath();
      ink.moveTo(...points[0]);
      for (const point of points) ink.lineTo(...point);
      ink.stroke();
    }
  }

  function put(next) {
    strokes = next;
    paint();
    changed();
  }

  const placeOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    drawing = true;
    put([...strokes, [placeOf(event)]]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    const between = event.getCoalescedEvents?.() ?? [];
    strokes.at(-1).push(...(between.length ? between : [event]).map(placeOf));
    paint();
    changed();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (drawing = false));
  canvas.addEventListener("keydown", (event) => {
    const move = ARROWS[event.key];
    if (!move) return;
    event.preventDefault();
    const next = pen.map((p, k) => Math.min(SIDE - 10, Math.max(10, p + KEY_STEP * move[k])));
    const last = strokes.at(-1);
    if (event.shiftKey && last && String(last.at(-1)) === String(pen)) last.push(next);
    else if (event.shiftKey) strokes.push([pen, next]);
    pen = next;
    if (event.shiftKey) put(strokes);
    else changed();
  });
  canvas.addEventListener("focus", changed);
  canvas.addEventListener("blur", changed);

  /** A ring where the pen is, while the keyboard draws. */
  function showPen() {
    if (!canvas.matches(":focus-visible")) return;
    const context = overlay.getContext("2d");
    Object.assign(context, { strokeStyle: "#ffb000", lineWidth: 2 });
    context.beginPath();
    context.arc(...pen, PEN / 2, 0, 7);
    context.stroke();
  }

  /** Lay a picture of the network's input over the ink: where its own ink is, the drawing's ink lies. */
  function lay(picture, prepared) {
    overlay.width = SIDE;
    overlay.height = SIDE;
    if (picture && prepared && strokes.length) {
      const drawn = inkBox(pixels(), SENT, SIDE / SENT);
      const there = inkBox(prepared.values, prepared.columns, 1);
      if (drawn && there) {
        const scale = Math.max(drawn.width, drawn.height) / Math.max(there.width, there.height);
        const context = overlay.getContext("2d");
        context.imageSmoothingEnabled = false;
        context.drawImage(picture, drawn.x - there.x * scale, drawn.y - there.y * scale, picture.width * scale, picture.height * scale);
      }
    }
    showPen();
  }

  /** Brightness of the drawing, row by row. */
  function pixels() {
    const small = new OffscreenCanvas(SENT, SENT).getContext("2d");
    small.imageSmoothingQuality = "high";
    small.drawImage(canvas, 0, 0, SENT, SENT);
    const { data } = small.getImageData(0, 0, SENT, SENT);
    return new Uint8Array(SENT * SENT).map((_, k) => data[4 * k]);
  }

  paint();
  return {
    lay, pixels, empty: () => !strokes.some(hasLength),
    picture: () => ({ rows: SENT, columns: SENT, pixels: encode(pixels()) }),
    clear: () => put([]), undo: () => put(strokes.slice(0, -1)),
    example: () => put(structuredClone(EXAMPLES[example++ % EXAMPLES.length])),
  };
}

/** Whether a stroke leaves ink: a touch in one place draws nothing. */
const hasLength = ([first, ...rest]) => rest.some((point) => String(point) !== String(first));

/** The box that holds what is brighter than a fifth, in units of `scale`. */
function inkBox(values, columns, scale) {
  let [left, right, top, bottom] = [columns, -1, columns, -1];
  values.forEach((value, k) => {
    if (value <= 51) return;
    const [row, column] = [Math.floor(k / columns), k % columns];
    [left, right, top, bottom] = [Math.min(left, column), Math.max(right, column), Math.min(top, row), Math.max(bottom, row)];
  });
  if (right < 0) return null;
  return { x: left * scale, y: top * scale, width: (right - left + 1) * scale, height: (bottom - top + 1) * scale };
}
