// "Step through": the network, its lines, and what is said of the number that is chosen.

import * as api from "../api.js";
import { announce, showError } from "../notices.js";
import { ACTIVATIONS } from "../activations.js";
import { find, h, replace } from "../dom.js";
import { has, t } from "../i18n.js";
import { fragment, setFragment } from "../place.js";
import { plain, number } from "../format.js";
import { OPTIMIZERS } from "../optimizers.js";
import { breakIt } from "./break.js";
import { checkIt } from "./check.js";
import { diagram } from "./diagram.js";
import { editor } from "./editor.js";
import { describe, explain } from "./inspector.js";
import { advance, compute, fromFragment, load, lossesOf, rebuilt, restarted, sourceOf, stepBack, toFragment } from "./model.js";
import { heads, PHASES, tape } from "./tape.js";

const PLAY_MS = 1100;
const narrow = window.matchMedia("(max-width: 720px)");

export function stepTab(panel) {
  let [state, computed, options, timer] = [null, null, null, null];
  const at = (selector) => find(selector, panel);

  async function start() {
    options = await api.options();
    await reload(fromFragment(fragment("step")));
    narrow.addEventListener("change", render);
    document.addEventListener("language", render);
  }

  /** Load what is asked for; where that cannot be, the first network, if nothing is there yet. */
  async function reload(asked, last = false) {
    const known = options.step.networks;
    const network = known.find(({ name }) => name === asked.network) ?? known[0];
    try {
      state = await load(asked, network);
    } catch (error) {
      showError(error);
      if (!state && !last) await reload({}, true);
      return;
    }
    render();
    if (elsewhere(asked)) showError({ kind: "other-sample" });
  }

  /** Whether a link is of a sample or of first weights that are not here: an exported page has few. */
  const elsewhere = ({ sample = state.first + state.row, seed = state.seed }) => sample !== state.first + state.row || seed !== state.seed;

  const change = (next) => {
    state = { ...state, ...next };
    render();
  };

  function render() {
    computed = compute(state);
    const { lines, numbers } = computed;
    state.line = Math.min(state.line, lines.length);
    if (state.selected && !numbers.has(state.selected)) state.selected = null;
    setFragment("step", toFragment(state));
    settings();
    controls();
    picture();
    caption();
    replace(at(".tape"), tape(lines, state.line, numbers, (line) => change({ line, selected: lines[line - 1].ids[0] })));
    inspect(state.selected ?? lines[Math.max(state.line - 1, 0)].ids[0], true);
    breakIt(at(".break"), state, { options, change });
  }

  function picture() {
    const { lines, numbers } = computed;
    const reached = reachedNow();
    const now = new Set(state.line > 0 ? lines[state.line - 1].ids : []);
    const used = new Set([...now].flatMap((id) => (numbers.get(id).formula ?? []).map((part) => part.id).filter(Boolean)));
    const classes = state.T[0].map((_, k) => String(k));
    replace(at(".picture"), diagram(
      { numbers, layers: state.layers, states: state.states.length, names: state.names.map((name) => (has(`input.${name}`) ? t(`input.${name}`) : name)), image: state.image, selected: state.selected, narrow: narrow.matches, reached, now, used, classes },
      { onPick: pick, onHover: inspect }));
  }

  const reachedNow = () => new Set(computed.lines.slice(0, state.line).flatMap(({ ids }) => ids));
  const pick = (id) => change({ selected: id });

  /** Tell of a number; what is measured changes with it, or where everything has. */
  function inspect(id, afresh = false) {
    const one = computed.numbers.get(id);
    const box = at(".inspector");
    const place = one.place && (one.kind === "weight" || one.kind === "bias") ? one.place : null;
    replace(find(".about", box), explain(one, { numbers: computed.numbers, reached: reachedNow(), source: sourceOf(state, one, options.step.sources), whole: !state.image, onPick: pick }));
    editor(find(".editor", box), { id, one, place, state, change });
    if (one.place || afresh) checkIt(at(".check"), state, computed, one);
    for (const group of panel.querySelectorAll(".number.hovered")) group.classList.remove("hovered");
    at(`.number[data-id="${CSS.escape(id)}"]`)?.classList.add("hovered");
  }

  function caption() {
    const { lines, numbers } = computed;
    const line = lines[state.line - 1];
    const text = line
      ? t("line-of", { line: state.line, lines: lines.length, phase: t(`phase.${line.phase}`), what: describe(numbers.get(line.ids[0])), symbol: heads(line, numbers) })
      : t("line-none");
    at(".caption-line").textContent = text;
    at(".step-count").textContent = t("steps-made", { n: state.steps, loss: number(computed.result.J) });
  }

  function controls() {
    const total = computed.lines.length;
    at(".progress-bar").value = state.line;
    at(".progress-bar").max = total;
    at("[data-do=back]").disabled = state.line === 0 && state.history.length === 0;
    at("[data-do=play]").textContent = t(timer ? "pause" : "play");
    const phase = computed.lines[Math.max(state.line - 1, 0)].phase;
    for (const button of panel.querySelectorAll(".phases button")) button.setAttribute("aria-current", String(state.line > 0 && button.dataset.phase === phase));
  }

  function settings() {
    const { networks } = options.step;
    choose(at("[name=network]"), networks.map(({ name, data }) => [name, `${name} · ${has(`data.${data}`) ? t(`data.${data}`) : data}`]), state.network);
    const titles = (table) => Object.entries(table).map(([name, { title }]) => [name, title]);
    choose(at("[name=activation]"), titles(ACTIVATIONS), state.activation);
    choose(at("[name=loss]"), lossesOf(state.T[0].length).map((name) => [name, t(`loss.${name}`)]), state.loss);
    choose(at("[name=optimizer]"), titles(OPTIMIZERS), state.optimizer);
    const samples = Array.from({ length: state.nSamples }, (_, k) => [k, `${k + 1} · ${state.labels[k]}`]);
    choose(at("[name=sample]"), samples, state.first + state.row);
    at("[name=batch]").checked = state.batch;
    at(".batch-name").textContent = t("whole-batch", { n: state.X.length });
    at("[name=arrays]").checked = !state.scalars;
    if (document.activeElement !== at("[name=lr]")) at("[name=lr]").value = state.lr;
  }

  function next() {
    if (state.line < computed.lines.length) change({ line: state.line + 1, selected: null });
    else {
      state = { ...advance(state), selected: null };
      render();
    }
  }

  const actions = {
    next,
    back() {
      if (state.line > 0) change({ line: state.line - 1, selected: null });
      else change(stepBack(state, computed.lines.length));
    },
    first: () => change({ line: 0, selected: null }),
    end: () => change({ line: computed.lines.length, selected: null }),
    play: () => play(!timer),
    reset: () => change(restarted(state)),
    many() {
      for (let k = 0; k < 100; k += 1) state = advance(state);
      render();
      announce(t("steps-made", { n: state.steps, loss: number(computed.result.J) }));
    },
  };

  function play(on) {
    clearInterval(timer);
    timer = on ? setInterval(() => (panel.hidden ? play(false) : next()), PLAY_MS) : null;
    controls();
  }

  panel.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do],[data-phase]");
    if (!button || !state || !panel.contains(button)) return;
    if (button.dataset.phase) {
      const line = computed.lines.findIndex(({ phase }) => phase === button.dataset.phase) + 1;
      change({ line, selected: null });
    } else if (actions[button.dataset.do]) {
      if (button.dataset.do !== "play") play(false);
      actions[button.dataset.do]();
      announceLine();
    }
  });

  function announceLine() {
    const line = computed.lines[state.line - 1];
    if (line && !timer) announce(line.ids.slice(0, 3).map((id) => `${plain(computed.numbers.get(id).symbol)} = ${number(computed.numbers.get(id).value)}`).join(", "));
  }

  panel.addEventListener("change", ({ target }) => {
    if (!state) return;
    if (target.name === "network") reload({ network: target.value });
    else if (["activation", "loss", "optimizer"].includes(target.name)) change(rebuilt(state, { [target.name]: target.value }));
    else if (target.name === "sample") selectSample(Number(target.value));
    else if (target.name === "batch") change({ batch: target.checked, line: 0, selected: null, mistake: null });
    else if (target.name === "arrays") change({ scalars: !target.checked, line: 0, selected: null });
    else if (target.name === "lr" && Number(target.value) > 0) change({ lr: Number(target.value) });
  });

  function selectSample(k) {
    if (k >= state.first && k < state.first + state.X.length) change({ row: k - state.first });
    else reload({ ...fromFragment(toFragment(state)), sample: k });
  }

  at(".tape").addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const line = Math.max(1, Math.min(computed.lines.length, state.line + by));
    change({ line, selected: null });
    find(`[data-key="line-${line}"]`, panel)?.focus();
  });

  window.addEventListener("hashchange", () => state && fragment("step") && fragment("step") !== toFragment(state) && reload(fromFragment(fragment("step"))));
  return { start, phases: PHASES, table: () => computed, picture: () => at(".picture svg") };
}

/** The choices of a select, and which is chosen. */
export function choose(select, choices, chosen) {
  const same = select.options.length === choices.length && choices.every(([value, text], k) => select.options[k].value === String(value) && select.options[k].textContent === text);
  if (!same) select.replaceChildren(...choices.map(([value, text]) => h("option", { value, text })));
  select.value = String(chosen);
}
