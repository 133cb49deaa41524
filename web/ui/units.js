// Numbers as people read them. Durations, bytes and shares are written as package units writes them in Go; a test there
// compares. Counts are in full.

const three = (x) => (x >= 99.95 ? x.toFixed(0) : x >= 9.995 ? x.toFixed(1) : x.toFixed(2));

// dur writes nanoseconds with three digits; a negative duration was not seen.
export function dur(ns) {
  if (ns == null || ns < 0) return "–";
  if (ns === 0) return "0";
  if (ns < 999.5) return `${Math.round(ns)} ns`;
  if (ns < 999.5e3) return `${three(ns / 1e3)} µs`;
  if (ns < 999.5e6) return `${three(ns / 1e6)} ms`;
  if (ns < 120e9) return `${three(ns / 1e9)} s`;
  const year = 365.25 * 86400;
  if (ns >= 2e9 * year) return `${three(ns / 1e9 / year)} years`;
  const s = Math.round(ns / 1e9);
  const [of, name, rest, small] = s >= 2 * 86400 ? [86400, "d", 3600, "h"] : s >= 2 * 3600 ? [3600, "h", 60, "min"] : [60, "min", 1, "s"];
  return `${Math.floor(s / of)} ${name} ${Math.floor((s % of) / rest)} ${small}`;
}

export const signed = (ns) => (ns < 0 ? "−" : "+") + dur(Math.abs(ns));

export function bytes(n) {
  if (n < 1024) return `${n} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let i = -1;
  do {
    n /= 1024;
    i++;
  } while (n >= 1023.5 && i < units.length - 1);
  return `${three(n)} ${units[i]}`;
}

export const count = (n) => Number(n ?? 0).toLocaleString("en").replaceAll(",", "\u202f");

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export const percent = (x) => (x === 0 ? "0%" : Math.abs(x) < 0.001 ? "<0.1%" : `${Math.abs(x) < 0.0995 ? (x * 100).toFixed(1) : Math.round(x * 100)}%`);

// when leaves the day out if it is today.
export function when(text) {
  const t = new Date(text);
  const today = t.toDateString() === new Date().toDateString();
  return t.toLocaleString(undefined, { dateStyle: today ? undefined : "medium", timeStyle: "medium" });
}
