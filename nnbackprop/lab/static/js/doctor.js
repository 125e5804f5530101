// The doctor's words: as they come, in English; in Chinese by the id of what was found, with what was measured put in.

import { h } from "./dom.js";
import { current, t } from "./i18n.js";
import { original } from "./notices.js";
import { FINDINGS, FOLLOWS, MEASURED, MISTAKES } from "./strings/doctor_zh.js";

/** A finding of a run: what was measured, why, what to do. */
export function finding({ id, level, evidence, cause, fix, measured }) {
  const badge = h("span", { class: `badge ${level}`, text: t(`level.${level}`) });
  const told = current() === "zh" && FINDINGS[id];
  if (!told) return article(level, [h("p", {}, badge, ` ${evidence}`), paragraph(cause), toDo(fix)]);
  const first = FINDINGS[/^It follows from (.+)\.$/.exec(cause)?.[1]]; // of which this is a consequence
  const [title, why, what] = first ? [told[0], FOLLOWS.replace("{title}", first[0]), first[2]] : told;
  const sentence = measured ? h("p", { text: MEASURED[id](measured) }) : source(evidence);
  return article(level, [h("p", {}, badge, " ", h("strong", { text: title })), sentence, paragraph(why), toDo(what), source(fix)]);
}

/** A mistake in a gradient: `name` is the page's, the id the one that gradcheck and its documentation have. */
export function mistake({ evidence, cause, fix, id }, name) {
  const told = current() === "zh" && MISTAKES[id];
  const [why, what] = told || [cause, fix];
  const head = h("p", {}, h("strong", { text: name }), " ", h("code", { text: id }), evidence && !told ? ` ${evidence}` : "");
  return article("", [head, paragraph(why), toDo(what), told && evidence ? source(evidence) : null]);
}

const article = (level, parts) => h("article", { class: `finding ${level}`.trim() }, parts);
const paragraph = (text) => (text ? h("p", { text }) : null);
const toDo = (text) => (text ? h("p", {}, h("span", { class: "muted", text: `${t("fix")} ` }), text) : null);
const source = (text) => (text ? h("p", { class: "muted" }, original(text)) : null);
