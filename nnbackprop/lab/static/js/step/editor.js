// The field and the slider that change one parameter.

import { t } from "../i18n.js";
import { plain } from "../format.js";
import { h } from "../dom.js";

/** Kept while one parameter is edited, so that a slider can be dragged while everything else follows. */
export function editor(box, { id, one, place, state, change }) {
  box.hidden = !place;
  if (!place) {
    box.dataset.for = "";
    return;
  }
  if (box.dataset.for === id) {
    for (const field of box.querySelectorAll("input")) if (field !== document.activeElement) field.value = one.value;
    box.put = put;
    return;
  }
  box.dataset.for = id;
  box.put = put;
  const name = t("change", { symbol: plain(one.symbol) });
  const reach = Math.max(3, Math.ceil(Math.abs(one.value) * 1.5));
  const oninput = (event) => event.target.value !== "" && Number.isFinite(Number(event.target.value)) && box.put(Number(event.target.value), event.target);
  box.replaceChildren(
    h("label", { class: "field" }, h("span", { text: name }),
      h("input", { type: "number", step: "any", name: "parameter", value: one.value, oninput })),
    h("input", { type: "range", min: -reach, max: reach, step: 0.01, value: one.value, "aria-label": name, oninput }));

  function put(value, from) {
    const layers = state.layers.map((layer, l) => {
      if (l !== place.layer) return layer;
      if (place.i === undefined) return { ...layer, b: layer.b.map((b, j) => (j === place.j ? value : b)) };
      return { ...layer, W: layer.W.map((row, i) => (i === place.i ? row.map((w, j) => (j === place.j ? value : w)) : row)) };
    });
    for (const field of box.querySelectorAll("input")) if (field !== from) field.value = value;
    change({ layers, selected: id });
  }
}
