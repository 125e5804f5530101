// "Look": a trained run from several sides.

import { get, post } from "../api.js";
import { find, h } from "../dom.js";
import { t } from "../i18n.js";
import { hideError, showError } from "../notices.js";
import { fragment, setFragment } from "../place.js";
import { choose } from "../step/step.js";
import { map } from "./map.js";
import { compare, confusion, unit, weights, wrong } from "./views.js";

const VIEWS = { confusion, wrong, weights, unit, map, compare };

export function lookTab(panel) {
  let [runs, run, view, more, turn] = [[], null, "confusion", {}, 0];
  const at = (selector) => find(selector, panel);

  async function start() {
    document.addEventListener("language", () => open(view, more));
    document.addEventListener("theme", () => panel.hidden || open(view, more));
    await shown();
  }

  async function shown() {
    const words = new URLSearchParams(fragment("look"));
    const asked = words.get("view");
    if (VIEWS[asked] && asked !== view) [view, more] = [asked, {}];
    run = words.get("run") ?? run;
    runs = (await get("api/runs")).runs;
    const known = runs.map(({ name }) => name);
    if (!known.includes(run)) run = (runs.findLast(({ score }) => score?.name === "accuracy") ?? runs.at(-1))?.name ?? null;
    choose(at("[name=run]"), known.map((name) => [name, name]), run);
    await open(view, more);
  }

  /** Show a view; an older one that answers later is not shown. */
  async function open(name, asked = {}) {
    [view, more] = [name, asked];
    at(".views").replaceChildren(...Object.keys(VIEWS).map((key) =>
      h("button", { type: "button", class: "quiet", "aria-pressed": String(key === view), data: { view: key }, text: t(`view.${key}`), onclick: () => open(key) })));
    setFragment("look", new URLSearchParams({ ...(run ? { run } : {}), view }).toString());
    const box = at(".view");
    if (!run) {
      box.replaceChildren(h("p", { class: "muted", text: t("no-runs") }));
      return;
    }
    turn += 1;
    const mine = turn;
    const fresh = h("div", { class: "view-body" });
    const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    if (!box.firstChild) box.append(h("p", { class: "muted", text: t("loading") }));
    try {
      box.setAttribute("aria-busy", "true");
      await VIEWS[view](fresh, (body) => post("api/look", { run, ...body }), (next, details) => open(next, details).catch(showError), asked, runs.map(({ name: one }) => one), run);
      hideError();
    } catch (error) {
      fresh.replaceChildren();
      if (mine === turn) showError(error);
    }
    if (mine !== turn) return;
    box.setAttribute("aria-busy", "false");
    box.replaceChildren(fresh);
    if (focused) find(`[data-key="${focused}"]`, box)?.focus();
  }

  panel.addEventListener("change", ({ target }) => {
    if (target.name !== "run") return;
    run = target.value;
    open(view).catch(showError);
  });
  /** What the view shows as rows; of the matrix the page has a table. */
  const table = () => find(".view-body", panel)?.table ?? null;
  return { start, shown, table };
}
