// Numbers and symbols as text.

const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉";
const MINUS = "−";

/** A number with so many decimals, none from 10 000 on; small ones by their power of ten where there is room for it. */
export function number(value, decimals = 4) {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : `${MINUS}∞`;
  const size = Math.abs(value);
  const small = size !== 0 && size < 0.5 * 10 ** -decimals;
  if (small && decimals < 3) return (0).toFixed(decimals);
  const text = small || size >= 1e6 ? value.toExponential(1) : value.toFixed(size >= 1e4 ? 0 : decimals);
  return text.replace("-", MINUS).replace("e+", "e");
}

/** Inputs and targets are often whole. */
export const short = (value, decimals) => (Number.isInteger(value) ? String(value).replace("-", MINUS) : number(value, decimals));

export const percent = (value, decimals = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(decimals)}%`);

/** A symbol as plain text: v₁, ∂J/∂w₁₂, δ. */
export function plain({ base, sub = "", sup = "", mark = "" }) {
  const below = [...sub].map((c) => SUBSCRIPTS[c] ?? c).join("");
  return `${base}${below}${mark}${sup && `⁽${sup}⁾`}`;
}

export const count = (value) => Math.round(value).toLocaleString("en").replaceAll(",", "\u2009");

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 90) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
