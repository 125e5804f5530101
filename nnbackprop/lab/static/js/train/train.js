// "Train": a run's settings, its buttons, its curves as they come, and the doctor's findings.

import { get, options, post } from "../api.js";
import { finding } from "../doctor.js";
import { find, h, replace, setText } from "../dom.js";
import { current, t } from "../i18n.js";
import { announce, hideError, original, showError } from "../notices.js";
import { metricName, metricText } from "../metrics.js";
import { append, drawCurves, emptyCurves, epochTable, tiles } from "./curves.js";
import { settingsForm, valueOf } from "./settings.js";
import { number } from "../format.js";

const SPOKEN_EVERY = 5000; // ms between epochs that are read aloud
const DRAWN_EVERY = 1000; // ms between two drawings, as often as news come: the cores are those that train
const SHOWN_MESSAGES = 3; // of a run, the last
const QUICK = { hidden: "64", epochs: "8", dropout: "0, 0" }; // of mnist: less than a minute
const ACTIVE = ["starting", "running", "paused"];

export function trainTab(panel) {
  let ready = null; // when the form is there
  let [state, curves, findings, form, told, spoken, drawn, waiting] = [{ status: "idle" }, emptyCurves(), [], null, "", 0, -DRAWN_EVERY, false];
  let [messages, events, lost] = [[], null, false]; // what the run said; the stream; whether the server is gone
  const at = (selector) => find(selector, panel);

  async function start() {
    form = settingsForm(panel, await options());
    document.addEventListener("language", () => {
      form.build();
      draw();
    });
    document.addEventListener("theme", redraw);
    at(".guide").hidden = localStorage.getItem("lab-guide") === "hidden";
    document.addEventListener("visibilitychange", follow);
    follow();
    draw();
    get("api/backends").then(({ backends }) => form.backends(backends), showError);
  }

  /** Listen while the page is seen: a browser has six connections to a server, for all its windows. */
  function follow() {
    if (document.hidden) events?.close();
    else listen();
  }

  function listen() {
    events?.close();
    events = new EventSource("api/events");
    const on = (name, act) => events.addEventListener(name, (event) => act(JSON.parse(event.data)));
    on("history", (all) => {
      [curves, findings, messages] = [{ chunks: all.chunks, epochs: all.epochs }, all.findings, all.messages.map(({ text }) => text)];
      update(all.state);
    });
    on("state", update);
    on("begin", (begin) => {
      if (begin.first_step === 0 || begin.run !== state.run) [curves, findings, messages] = [emptyCurves(), [], []];
      update({ ...state, run: begin.run, recipe: begin.recipe });
    });
    on("progress", (news) => {
      append(curves, news);
      if (news.epochs.length) speak(news.epochs.at(-1));
      redraw();
    });
    on("findings", (all) => setFindings(all.findings));
    on("message", ({ text }) => {
      messages.push(text);
      announce(text);
      redraw();
    });
    on("end", (end) => {
      update(end.state);
      announce(t(`status.${end.state.status}`));
    });
    events.addEventListener("error", () => {
      if (!lost) showError({ kind: "offline" });
      lost = true;
    });
    events.addEventListener("open", () => {
      if (lost) hideError();
      lost = false;
    });
  }

  function update(next) {
    const failed = next.status === "failed" && state.status !== "failed";
    const goesOn = next.status === "running" && state.status === "running";
    state = next;
    if (goesOn) redraw();
    else draw();
    if (failed && next.error) showError({ kind: "failed", message: next.error });
  }

  function setFindings(next) {
    findings = next;
    renderFindings();
  }

  function speak(epoch) {
    if (performance.now() - spoken < SPOKEN_EVERY) return;
    spoken = performance.now();
    const [metric] = Object.keys(epoch.train?.metrics ?? {});
    const words = metric ? `, ${metricName(metric)} ${metricText(metric, epoch.train.metrics[metric])}` : "";
    announce(`${t("epoch")} ${epoch.epoch}: ${t("loss")} ${number(epoch.train?.loss)}${words}`);
  }

  /** All of it once a second at most, and none on a page that nobody sees: the browser then gives no frame. */
  function redraw() {
    if (waiting || panel.hidden) return;
    waiting = true;
    setTimeout(() => requestAnimationFrame(() => {
      waiting = false;
      draw();
    }), drawn + DRAWN_EVERY - performance.now());
  }

  function draw() {
    if (panel.hidden) return;
    drawn = performance.now();
    head();
    tiles(at(".tiles"), state, curves);
    if (curves.chunks.length || curves.epochs.length) drawCurves(panel, curves);
    at(".charts").hidden = curves.chunks.length === 0 && curves.epochs.length === 0;
    if (at(".epochs").open) epochTable(at(".epochs table"), curves.epochs);
  }

  function head() {
    const { status } = state;
    const active = ACTIVE.includes(status);
    const ours = !state.elsewhere; // a run that another process trains is only watched
    setText(at(".run-name"), state.run ?? t(status === "starting" ? "new-run" : "no-run"));
    setText(at(".chip-status"), t(`status.${status}`));
    at(".chip-status").dataset.status = status;
    const { epoch = 0, epochs = 0, step = 0, steps_per_epoch: each = 0 } = state;
    at(".run-progress").value = epochs ? (each ? step / each : epoch) / epochs : 0;
    at(".main-buttons [data-do=start]").disabled = active && ours;
    const pause = at(".main-buttons [data-do=pause]");
    const ended = ["stopped", "failed"].includes(status) && state.run;
    setText(pause, t(status === "paused" || ended ? "resume" : "pause"));
    pause.disabled = !ours || !(ended || ["running", "paused"].includes(status));
    at("[data-do=step]").disabled = !ours || status !== "paused";
    at("[data-do=stop]").disabled = !ours || !active;
    at("[data-do=quick]").disabled = active;
    at("[data-do=reset]").disabled = !ours || status === "idle";
    live(ours && active && status !== "starting");
    renderFindings();
    renderMessages();
  }

  /** The settings that may change while it trains. */
  function live(on) {
    const box = at(".live-settings");
    box.hidden = !on;
    if (!on) return;
    const fields = find(".fields", box);
    const values = JSON.stringify([current(), state.lr, state.dropout]);
    if (!fields.contains(document.activeElement) && fields.dataset.values !== values) {
      fields.dataset.values = values;
      const input = (name, value) => h("label", { class: "field" }, h("span", { text: t(`setting.${name}`) }), h("input", { type: "text", name: `live-${name}`, value, data: { key: `live-${name}` } }));
      replace(fields, input("lr", String(Number((state.lr ?? 0).toPrecision(4)))), state.dropout?.length ? input("dropout", state.dropout.join(", ")) : null);
    }
  }

  function renderFindings() {
    const next = JSON.stringify([current(), Boolean(state.run), findings]);
    if (next === told) return;
    told = next;
    const list = at(".findings .list");
    const items = findings.map(finding);
    list.replaceChildren(...(items.length ? items : [h("p", { class: "muted", text: t(state.run ? "healthy" : "no-findings") })]));
  }

  function renderMessages() {
    const [list, last] = [at(".messages"), messages.slice(-SHOWN_MESSAGES)];
    const next = JSON.stringify([current(), last]);
    if (list.dataset.shown === next) return;
    list.dataset.shown = next;
    list.replaceChildren(...last.map((text) => h("li", {}, original(text))));
  }

  const control = (body) => post("api/control", body); // events say when it has happened, which may be before the answer
  const actions = {
    start: () => post("api/train", form.read()),
    quick,
    "hide-guide": async () => {
      localStorage.setItem("lab-guide", "hidden");
      at(".guide").hidden = true;
    },
    pause: () => control({ action: state.status === "running" ? "pause" : "resume" }),
    step: () => control({ action: "step" }),
    stop: () => control({ action: "stop" }),
    reset: () => control({ action: "reset" }),
  };

  /** A small network on digits, trained at once. */
  function quick() {
    form.choose("mnist");
    form.fill(QUICK);
    return actions.start();
  }

  panel.addEventListener("click", (event) => {
    const action = actions[event.target.dataset?.do];
    if (!action) return;
    hideError();
    Promise.resolve().then(action).catch(showError);
  });
  panel.addEventListener("change", ({ target }) => {
    if (!target.name.startsWith("live-")) return;
    at(".live-settings .fields").dataset.values = ""; // to be filled with what holds
    const name = target.name.slice("live-".length);
    Promise.resolve().then(() => control({ action: "set", [name]: valueOf(name, target.value) })).catch(showError);
  });
  at(".epochs").addEventListener("toggle", redraw);

  return {
    start: () => (ready = start()),
    shown: draw,
    table: () => (curves.epochs.length ? curves.epochs : null),
    async quick() {
      await ready;
      await quick();
    },
    /** Set the form to train on the drawings that were kept. */
    async onDrawings() {
      await ready;
      form.choose("mnist", true);
    },
  };
}
