// Sections of the report about ranks and devices: communication, stragglers, memory.
import { h, svg } from "./dom.js";
import { colors, part } from "./tl-color.js";
import * as data from "./tl-data.js";
import { size } from "./tl-size.js";
import { at, byteLevels, tickStep } from "./tl-units.js";
import { button, head, num, select, swatch, table, traceName } from "./rp-page.js";
import { bytes, count, dur, percent, plural } from "./units.js";

const ROWS = 30;

// heat shades a cell of a matrix by its share of the largest.
const heat = (v, top) => (v > 0 ? { "data-shade": `color-mix(in srgb, var(--mark) ${Math.round(6 + 36 * (v / top))}%, transparent)` } : {});

function waitMatrix(c) {
  const top = Math.max(...c.wait_ns.flat(), 1);
  return h("section", {}, h("h3", {}, "Who waited for whom"), table(h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "waited ↓ for →"), c.ranks.map((r) => h("th", { scope: "col", class: "num" }, traceName(r))))),
    h("tbody", {}, c.wait_ns.map((row, i) => h("tr", {}, h("th", { scope: "row" }, traceName(c.ranks[i])), row.map((v, j) => num(i === j ? "·" : v ? dur(v) : "0", heat(v, top))))))));
}

// trafficMatrix shows the bytes between each two ranks.
function trafficMatrix(c) {
  const top = Math.max(...(c.bytes ?? []).flat(), 0);
  if (!top) return null;
  return h("section", {}, h("h3", {}, "Bytes between ranks"), table(h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "from ↓ to →"), c.ranks.map((r) => h("th", { scope: "col", class: "num" }, traceName(r))))),
    h("tbody", {}, c.bytes.map((row, i) => h("tr", {}, h("th", { scope: "row" }, traceName(c.ranks[i])), row.map((v, j) => num(i === j ? "·" : v ? bytes(v) : "0", heat(v, top))))))),
  h("p", { class: "quiet" }, `What a rank has in the end that began at the other, had it gone straight there; what an algorithm passes on the way is not in a trace.${c.unplaced_bytes ? ` ${bytes(c.unplaced_bytes)} more have a root that the traces do not name.` : ""}`));
}

function volumes(c) {
  const kinds = [...new Set(c.rows.map((r) => r.op))];
  const of = (trace, op) => c.rows.filter((r) => r.trace === trace && r.op === op).reduce((sum, r) => sum + r.bytes * r.count, 0);
  const top = Math.max(...c.ranks.flatMap((r) => kinds.map((k) => of(r.trace, k))), 1);
  if (top <= 1) return null;
  return h("section", {}, h("h3", {}, "Bytes by rank and operation"), table(h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Rank"), kinds.map((k) => h("th", { scope: "col", class: "num" }, k)))),
    h("tbody", {}, c.ranks.map((r) => h("tr", {}, h("th", { scope: "row" }, traceName(r)), kinds.map((k) => num(of(r.trace, k) ? bytes(of(r.trace, k)) : "–", heat(of(r.trace, k), top))))))));
}

// lateness draws when and for which rank the others waited: a row for each rank, time to the right.
function lateness(c, s) {
  const letter = 6.4 * size.k;
  const left = Math.min(s.width * 0.45, 12 + letter * Math.max(...c.ranks.map((r) => traceName(r).length)));
  const short = (name) => (name.length * letter <= left - 8 ? name : `…${name.slice(-Math.floor((left - 8) / letter))}`);
  const row = 20 * size.k;
  const cells = c.late_ns[0].length;
  const top = Math.max(...c.late_ns.flat(), 1);
  const wide = (s.width - left) / cells;
  const end = s.app.info.end_ns;
  const step = tickStep(end, Math.max(2, (s.width - left) / (110 * size.k)));
  const ticks = [];
  for (let t = 0; t <= end; t += step) ticks.push(t);
  return h("section", {}, h("h3", {}, "When the others waited for whom"), svg("svg", { class: "chart", width: s.width, height: c.ranks.length * row + 22 * size.k, role: "img", "aria-label": "How late each rank was over time; the table has the sums" },
    c.ranks.map((r, j) => [svg("text", { x: left - 8, y: j * row + row * 0.7, "text-anchor": "end" }, short(traceName(r))), svg("rect", { x: left, y: j * row + 1, width: s.width - left, height: row - 2, fill: "var(--group)" }),
      c.late_ns[j].map((v, k) => v > 0 && svg("rect", { x: left + k * wide, y: j * row + 1, width: Math.max(1.5, wide), height: row - 2, fill: "var(--mark)", opacity: (0.2 + 0.8 * Math.sqrt(v / top)).toFixed(2), class: "hit", "data-act": "span", "data-from": k * c.cell_ns, "data-to": (k + 1) * c.cell_ns }, svg("title", {}, `${traceName(r)}: the others waited ${dur(v)} at ${at(k * c.cell_ns)}`)))]),
    ticks.map((t) => svg("text", { x: Math.min(s.width - 30 * size.k, left + (t / end) * (s.width - left) + 2), y: c.ranks.length * row + 15 * size.k }, at(t, step)))));
}

const speed = (gbs) => (gbs ? (gbs >= 10 ? gbs.toFixed(1) : gbs.toPrecision(2)) : "–");

export const communication = {
  id: "comm", title: "Communication",
  load: () => data.communication(),
  has: (c) => c.ranks.length > 0,
  note: (c) => (c.matched ? ` ${plural(c.matched, "collective")} of several ranks compared` : ""),
  draw: (c, s) => {
    const several = c.ranks.length > 1;
    const rows = c.rows.slice(0, ROWS);
    return [several && c.matched > 0 && [h("div", { class: "cols" }, waitMatrix(c), trafficMatrix(c), volumes(c)), lateness(c, s)],
      table(head(s, [["Rank", null, true], ["Collectives"], ["Time"], ["Compute"], ...(several ? [["Compared"], ["Came last"], ["Waited"], ["Others waited for it"]] : [])]), h("tbody", {}, c.ranks.map((r) => h("tr", {}, h("th", { scope: "row" }, button("track", { id: `trace:${r.trace}` }, traceName(r))), num(count(r.calls)), num(dur(r.comm_ns)), num(dur(r.compute_ns)),
        several && [num(count(r.matched)), num(count(r.last_count)), num(dur(r.wait_ns)), num(r.worst ? button("slice", { id: r.worst }, dur(r.blame_ns)) : dur(r.blame_ns))])))),
      h("h3", {}, "By operation, group and size"), table(head(s, [["Operation", null, true], ["Rank", null, true], ["Group", null, true], ["Size"], ["Type", null, true], ["Calls"], ["Total"], ["Median"], ["Longest"], ["Bus GB/s"], ["Best"]]), h("tbody", {}, rows.map((r) => h("tr", {}, h("td", {}, r.op), h("td", { class: "quiet" }, traceName(c.ranks.find((x) => x.trace === r.trace) ?? {})), h("td", { class: "opname quiet" }, `${r.group || "–"}${r.group_size ? ` (${r.group_size})` : ""}`), num(r.bytes ? bytes(r.bytes) : "–"), h("td", { class: "quiet" }, r.dtype || "–"), num(count(r.count)), num(dur(r.sum_ns)), num(dur(r.p50_ns)), num(r.longest ? button("slice", { id: r.longest }, dur(r.max_ns)) : dur(r.max_ns)), num(speed(r.bus_gbs)), num(speed(r.best_bus_gbs)))))),
      c.rows.length > rows.length && h("p", { class: "quiet" }, `${count(c.rows.length - rows.length)} more rows; kinetoscope comms has them.`), c.notes.map((n) => h("p", { class: "quiet" }, `${n}.`))];
  },
};

// course draws a device's memory over time, stacked by purpose.
function course(m, d, s) {
  const [left, high, foot] = [64, 170, 18].map((px) => px * size.k);
  const end = Math.max(1, s.app.info.end_ns);
  const top = Math.max(...d.total_bytes, d.peak.bytes, 1);
  const x = (t) => left + ((m.from_ns + t) / end) * (s.width - left - 8);
  const y = (v) => high - foot - (v / top) * (high - foot - 10);
  const base = new Array(d.t_ns.length).fill(0);
  const color = (c) => colors(part(c.held_by), c.held_by, s.app.theme.dark)[c.held_by === "before" || c.held_by === "unknown" ? 1 : 3];
  const areas = d.categories.map((c) => {
    const up = [];
    const down = [];
    for (let i = 0; i < d.t_ns.length; i++) {
      const [a, b] = [x(d.t_ns[i]).toFixed(1), x(d.t_ns[i + 1] ?? m.span_ns).toFixed(1)];
      const [lo, hi] = [y(base[i]).toFixed(1), y(base[i] + c.bytes[i]).toFixed(1)];
      up.push(`${a},${hi}`, `${b},${hi}`);
      down.push(`${a},${lo}`, `${b},${lo}`);
      base[i] += c.bytes[i];
    }
    return svg("polygon", { points: [...up, ...down.reverse()].join(" "), fill: color(c) });
  });
  const step = tickStep(end, Math.max(2, (s.width - left) / (120 * size.k)));
  const ticks = [];
  for (let t = 0; t <= end; t += step) ticks.push(t);
  const peak = m.from_ns + d.peak.t_ns;
  return h("section", { "data-key": `${m.trace}/${d.device}` }, h("h3", {}, `${traceName(m)} · ${d.device}`), h("div", { class: "legend" }, d.categories.map((c) => h("span", {}, swatch(color(c)), `${c.held_by.replaceAll("_", " ")} ${bytes(c.at_peak_bytes)}`)), h("span", { class: "quiet" }, "at the peak")),
    svg("svg", { class: "chart", width: s.width, height: high, role: "img", "aria-label": `${d.device} held up to ${bytes(d.peak.bytes)}` },
      byteLevels(top, 4).map((v) => [svg("line", { x1: left, x2: s.width - 8, y1: y(v), y2: y(v), stroke: "var(--line)" }), svg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, bytes(v))]),
      areas, ticks.map((t) => svg("text", { x: Math.min(s.width - 30 * size.k, left + (t / end) * (s.width - left - 8)), y: high - 4 * size.k }, at(t, step))),
      svg("line", { x1: x(d.peak.t_ns), x2: x(d.peak.t_ns), y1: 8, y2: high - foot, stroke: "var(--mark)", "stroke-width": 1.5 }), svg("circle", { cx: x(d.peak.t_ns), cy: y(d.peak.bytes), r: 4, fill: "var(--mark)", class: "hit", "data-act": "span", "data-from": peak - 1e5, "data-to": peak + 1e5 }, svg("title", {}, `peak ${bytes(d.peak.bytes)}`))),
    h("p", {}, "Peak ", h("b", {}, bytes(d.peak.bytes)), " ", button("span", { from: peak - 5e5, to: peak + 5e5 }, `at ${at(peak)}`), d.peak.op && ` in ${d.peak.op}`, h("span", { class: "quiet" }, ` · allocated ${bytes(d.allocated_bytes)} in ${plural(d.events, "event")}, ${bytes(d.end_bytes)} held at the end${d.has_addresses ? "" : "; the trace does not say what was freed, so it is not known what held it"}`)),
    d.peak.by_op.length > 0 && table(head(s, [["Held at the peak by", null, true], ["Bytes"], ["Allocations"], ["Of the peak"]]), h("tbody", {}, d.peak.by_op.slice(0, 10).map((o) => h("tr", {}, h("td", { class: "opname" }, o.op || "no operator", h("span", { class: "quiet" }, ` ${o.region ?? ""}`)), num(bytes(o.bytes)), num(count(o.count)), num(percent(o.bytes / (d.peak.bytes || 1))))))));
}

export const memory = {
  id: "memory", title: "Memory over time",
  load: () => data.memory(),
  has: (list) => list.some((m) => m.devices.some((d) => d.peak.bytes > 0)),
  draw: (list, s) => {
    const m = list.find((x) => String(x.trace) === s.choice.trace) ?? list[0];
    return [list.length > 1 && h("div", { class: "picks" }, select("trace", "Trace", m.trace, list.map((x) => [x.trace, traceName(x)]))), m.devices.filter((d) => d.peak.bytes > 0).slice(0, 8).map((d) => course(m, d, s)), m.devices.length > 8 && h("p", { class: "quiet" }, `${count(m.devices.length - 8)} more devices; kinetoscope memory has them.`)];
  },
};
