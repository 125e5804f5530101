// The settings of a run: fields filled from a recipe, and what differs from it when they are sent.

import { ApiError } from "../api.js";
import { h, setText } from "../dom.js";
import { current, has, t } from "../i18n.js";
import RECIPES from "../strings/recipes_zh.js";

const number = (text) => (text === "" ? NaN : Number(text));
const list = (text) => text.split(/[,\s]+/).filter(Boolean).map(Number);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const BATCHES = ["full", "auto"];
const FIELDS = [
  { name: "hidden", plain: true, type: "text", read: list, write: (v) => v.join(", ") },
  { name: "layers", plain: false, type: "text", read: entries, write: (v) => v.join(", ") },
  { name: "activation", plain: true, choices: ({ activations }) => activations },
  { name: "optimizer", choices: ({ optimizers }) => optimizers },
  { name: "lr", type: "text", read: number },
  { name: "batch_size", type: "text", read: (text) => (BATCHES.includes(text) ? text : number(text)) },
  { name: "epochs", type: "number", read: number },
  { name: "dropout", plain: true, more: true, type: "text", read: list, write: (v) => v.join(", ") },
  { name: "backend", more: true, choices: ({ backends = [] }) => ["auto", ...backends.filter(({ available }) => available).map(({ name }) => name)] },
  { name: "validation", more: true, type: "text", read: number },
  { name: "seed", more: true, type: "number", read: number },
];

/** What stands between commas, but for those in brackets: residual(conv 4, relu) is one entry. */
function entries(text) {
  const found = [""];
  let depth = 0;
  for (const sign of text) {
    depth += Number(sign === "(") - Number(sign === ")");
    if (sign === "," && depth === 0) found.push("");
    else found[found.length - 1] += sign;
  }
  return found.map((one) => one.trim()).filter(Boolean);
}

/** A setting's value as its text says; ApiError where that is no number. */
export function valueOf(name, text) {
  const value = parse(name, text);
  if ([value].flat().some(Number.isNaN)) throw new ApiError("no-number", "", "", { setting: t(`setting.${name}`), text });
  return value;
}

function parse(name, text) {
  const { read = String } = FIELDS.find((one) => one.name === name);
  return read(text.trim());
}

export function settingsForm(panel, options) {
  let recipe = options.recipes.find(({ name }) => name === "mnist") ?? options.recipes[0];
  let ownData = false;
  const [box, more] = [panel.querySelector(".settings > .fields"), panel.querySelector(".more-fields")];

  /** Build the fields anew; what was put in stays, unless another recipe was chosen. */
  function build(keep = true) {
    const filled = keep ? fields().map(({ name, value }) => [name, value]) : [];
    const recipes = options.recipes.map(({ name }) => h("option", { value: name, text: name, selected: name === recipe.name }));
    box.replaceChildren(
      h("label", { class: "field wide" }, h("span", { text: t("recipe") }), h("select", { name: "recipe" }, recipes)),
      h("p", { class: "muted recipe-title", text: ownData ? t("on-own-data") : (current() === "zh" && RECIPES[recipe.name]) || recipe.title }),
      h("p", { class: "muted recipe-changes", role: "status" }),
      ...FIELDS.filter((f) => !f.more).map(field));
    more.replaceChildren(...FIELDS.filter((f) => f.more).map(field), absent());
    for (const [name, value] of filled) panel.querySelector(`.settings [name="${name}"]`).value = value;
    sayChanges();
  }

  const fields = () => [...box.querySelectorAll("[name]"), ...more.querySelectorAll("[name]")];

  /** Some settings are of networks of dense layers alone, or of all others. */
  const applies = (plain) => plain === undefined || plain === recipe.plain;

  function field({ name, plain, type, write = String, choices }) {
    if (!applies(plain)) return "";
    const value = recipe[name];
    const control = choices
      ? h("select", { name }, [...new Set([...choices(options), value])].map((choice) => h("option", { value: choice, text: choice, selected: choice === value })))
      : h("input", { name, type, value: value === null ? "" : write(value), autocomplete: "off", step: "any" });
    const hint = `hint.${name}`;
    return h("label", { class: name === "layers" ? "field stacked" : "field" }, h("span", { text: t(`setting.${name}`) }), control, has(hint) ? h("small", { text: t(hint) }) : null);
  }

  function absent() {
    const gone = (options.backends ?? []).filter(({ available }) => !available).map(({ name }) => name);
    return gone.length ? h("p", { class: "muted", text: t("absent-backends", { names: gone.join(", ") }) }) : "";
  }

  box.addEventListener("change", ({ target }) => {
    if (target.name !== "recipe") return;
    choose(target.value);
    box.querySelector("[name=recipe]").focus();
  });

  function choose(name, drawings = false) {
    recipe = options.recipes.find((one) => one.name === name) ?? recipe;
    ownData = drawings;
    build(false);
  }

  /** Say which settings are not the recipe's, as its text tells of those that are. */
  function sayChanges() {
    const changed = differing().map(({ name }) => t(`setting.${name}`));
    setText(box.querySelector(".recipe-changes"), changed.length ? t("recipe-changes", { names: changed.join(", ") }) : "");
  }
  panel.querySelector(".settings").addEventListener("input", sayChanges);

  const textOf = (name) => panel.querySelector(`.settings [name=${name}]`).value;
  const differing = () => FIELDS.filter(({ name, plain }) => applies(plain) && !same(parse(name, textOf(name)), recipe[name]));

  /** The body of POST /api/train; ApiError where a setting is no number. */
  function read() {
    const asked = { recipe: recipe.name, ...(ownData ? { data: "drawings" } : {}) };
    for (const { name } of differing()) asked[name] = valueOf(name, textOf(name));
    return asked;
  }

  /** Put values, as they are written, into fields. */
  function fill(values) {
    for (const [name, value] of Object.entries(values)) panel.querySelector(`.settings [name="${name}"]`).value = value;
    sayChanges();
  }

  /** The libraries that are here, which takes seconds to find out. */
  function backends(found) {
    options.backends = found;
    build();
  }

  build();
  return { backends, read, build, choose, fill };
}
