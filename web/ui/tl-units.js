// Times on the axis.
import { dur } from "./units.js";

const STEPS = [1, 2, 5];

// tickStep returns a round number of ns of which at most n fit into span.
export function tickStep(span, n) {
  const least = span / n;
  if (!(least > 0 && least < Infinity)) return 1; // else no power of ten is ever large enough
  for (let p = 1; ; p *= 10) {
    for (const s of STEPS) if (s * p >= least) return s * p;
  }
}

// levels returns the round values of an axis from 0 to top, at most n and one more.
export function levels(top, n) {
  const step = tickStep(top, n);
  return Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, i) => i * step);
}

// byteLevels are levels of bytes, which are round as powers of two.
export function byteLevels(top, n) {
  const step = 2 ** Math.max(0, Math.ceil(Math.log2(top / n)));
  return Array.from({ length: Math.floor(top / step) + 1 }, (_, i) => i * step);
}

// logLevels returns the round values between two positive ones on a logarithmic axis: powers of ten,
// with what lies between where these are few; without any, both ends.
export function logLevels(least, top) {
  const within = (digits) => {
    const out = [];
    for (let p = 10 ** Math.floor(Math.log10(least)); p <= top; p *= 10) out.push(...digits.map((d) => d * p).filter((v) => v >= least && v <= top));
    return out;
  };
  const powers = within([1]);
  const list = powers.length > 3 ? powers : within(STEPS);
  return list.length > 1 ? list : [least, top];
}

// at writes an instant with as many digits as a step of the axis needs.
export function at(ns, step = 0) {
  const sign = ns < 0 ? "−" : "";
  const x = Math.abs(ns);
  const [unit, size] = step >= 1e9 || x >= 1e9 ? ["s", 1e9] : step >= 1e6 || x >= 1e6 ? ["ms", 1e6] : step >= 1e3 || x >= 1e3 ? ["µs", 1e3] : ["ns", 1];
  const digits = Math.max(0, Math.min(9, Math.ceil(-Math.log10(Math.max(1, step || x / 1e5) / size) - 1e-9)));
  return `${sign}${(x / size).toFixed(digits)} ${unit}`;
}

export { dur };
