// Colours of slices: a hue for every class, varied by the name, light enough in both themes for
// dark text (contrast of at least 5).

import { CLASSES, INK, PARTS } from "./tl-palette.js";

export { INK };

function hash(name) {
  let h = 2166136261;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 16777619);
  h ^= h >>> 15;
  return (Math.imul(h, 2246822519) >>> 0) / 2 ** 32;
}

const gamma = (x) => Math.round(255 * Math.min(1, Math.max(0, x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055)));
const hex = (x) => x.toString(16).padStart(2, "0");

// oklch gives "#rrggbbaa": what a canvas reads fastest.
function oklch(L, C, H, alpha) {
  const a = C * Math.cos((H * Math.PI) / 180);
  const b = C * Math.sin((H * Math.PI) / 180);
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const rgb = [4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s, -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s];
  return `#${rgb.map((x) => hex(gamma(x))).join("")}${hex(Math.round(alpha * 255))}`;
}

// Shades: parts covered by quarters, whole, and dimmed next to the hits of a search.
export const DIM = 4;
export const ALPHA_WHOLE = 3;
const ALPHA = [0.38, 0.58, 0.8, 1, 0.16];
const cache = new Map();

// colors returns the shades of a name's colour.
export function colors(cls, name, dark) {
  const key = `${dark ? "d" : "l"}${cls}${name}`;
  let c = cache.get(key);
  if (!c) {
    const [hue, spread, chroma] = CLASSES[cls] ?? CLASSES[0];
    const h = hash(name);
    const light = (dark ? 0.68 : 0.8) + (((h * 97) % 1) - 0.5) * 0.09;
    c = ALPHA.map((alpha) => oklch(light, chroma * (dark ? 1 : 0.85), hue + (h - 0.5) * spread, alpha));
    if (cache.size > 50_000) cache.clear();
    cache.set(key, c);
  }
  return c;
}

// part returns the class of the colours of a part of time or memory, or of a kind of steps.
export const part = (name, otherwise = 0) => PARTS[name.replaceAll(" ", "_")] ?? otherwise;

// partColor returns the colour of a part of time or memory.
export const partColor = (name, dark) => colors(part(name), name, dark)[ALPHA_WHOLE];
