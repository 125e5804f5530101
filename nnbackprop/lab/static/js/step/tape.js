// The lines of a step, in four columns by phase: those that have been computed show their numbers.

import { t } from "../i18n.js";
import { number, plain } from "../format.js";
import { h } from "../dom.js";

export const PHASES = ["forward", "loss", "backward", "update"];

export function tape(lines, at, numbers, onJump) {
  return PHASES.map((phase) =>
    h("section", { class: `phase ${phase}` },
      h("h3", { text: t(`phase.${phase}`) }),
      h("ol", {}, lines.map((line, k) => (line.phase === phase ? row(line, k + 1, at, numbers, onJump) : null)))));
}

function row(line, place, at, numbers, onJump) {
  const done = place <= at;
  const classes = ["line", done && "done", place === at && "now"].filter(Boolean).join(" ");
  return h("li", {}, h("button", {
    type: "button", class: classes, data: { key: `line-${place}` }, tabindex: place === Math.max(at, 1) ? "0" : "-1",
    "aria-current": place === at ? "step" : undefined, onclick: () => onJump(place),
  }, h("span", { class: "left", text: heads(line, numbers) }), h("span", { class: "right", text: done ? values(line, numbers) : "·" })));
}

/** One symbol, or the first of several. */
export function heads({ ids }, numbers) {
  const symbols = ids.map((id) => plain(numbers.get(id).symbol));
  return symbols.length === 1 ? symbols[0] : `${symbols[0]} …`;
}

function values({ ids }, numbers) {
  if (ids.length > 3) return t("numbers", { n: ids.length });
  return ids.map((id) => number(numbers.get(id).value, ids.length > 1 ? 2 : 4)).join("  ");
}
