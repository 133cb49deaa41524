// What the pages of traces have in common: the colours that a canvas draws in, and amounts.
import { colors } from "./tl-color.js";
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

// STAGE_CLASSES are the classes whose colours tell stages apart in the lanes of requests.
const STAGE_CLASSES = [10, 11, 14, 12, 13, 6];

// stageShades colours a stage's part of the requests that are shown together.
export function stageShades(requests, stage, dark) {
  const stages = [...new Set(requests.flatMap((r) => r.spans.map((s) => s.stage)))];
  return colors(STAGE_CLASSES[stages.indexOf(stage) % STAGE_CLASSES.length] ?? 4, stages.length > 1 ? "" : stage, dark);
}
