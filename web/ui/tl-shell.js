// What the pages of traces have in common: the colours that a canvas draws in, and amounts.
import { bytes, count, percent } from "./units.js";

// amount writes a counter's value in its unit.
export const amount = (v, unit) => (unit === "share" ? percent(v) : unit === "bytes" ? bytes(v) : Math.abs(v) >= 1e4 ? count(Math.round(v)) : Number(v.toPrecision(4)).toString());

const NAMES = ["back", "group", "line", "grid", "faint", "quiet", "text", "area", "area2", "curve", "select", "cursor", "mark", "doubt", "handoff", "rail"];

// canvasTheme is the page's colours as a canvas takes them.
export function canvasTheme() {
  const css = getComputedStyle(document.documentElement);
  const t = Object.fromEntries(NAMES.map((n) => [n, css.getPropertyValue(`--${n}`).trim()]));
  return { ...t, dark: css.getPropertyValue("--dark").trim() === "1" };
}
