// What a stretch of both timelines adds up to, name by name, and the stretch to take away.
import { change, head, mark, num, signed, table } from "./cmp-parts.js";
import { diverge } from "./cmp-work.js";
import { h } from "./dom.js";
import { exportLinks } from "./exports.js";
import { count, dur, plural } from "./units.js";

const ROWS = 60;

// joined lists the names of both sums with their time on either side, the largest change first.
function joined(a, b) {
  const rows = new Map();
  for (const [k, sum] of [a, b].entries()) {
    for (const o of sum.ops) {
      const key = `${o.class} ${o.name}`;
      if (!rows.has(key)) rows.set(key, { name: o.name, of: o.class, self: [0, 0], count: [0, 0] });
      const r = rows.get(key);
      r.self[k] += o.self_ns;
      r.count[k] += o.count;
    }
  }
  return [...rows.values()].sort((x, y) => Math.abs(y.self[1] - y.self[0]) - Math.abs(x.self[1] - x.self[0]));
}

const exports = (lane, q, side) => exportLinks(mark(side), lane.info.exports ?? [], (format) => lane.source.exportURL({ ...q, format }), `${side.toUpperCase()} as `);

// areaSums is the stretch that is chosen on both lanes, as a table.
export function areaSums(both) {
  const [r0, r1] = both.area;
  const title = h("p", { class: "areahead" }, h("b", {}, dur(r1 - r0)), ` from ${signed(Math.round(r0))} of the lock`,
    both.sums.of && both.lanes.map((l, k) => exports(l, both.sums.of[k].q, l.side)), h("button", { type: "button", "data-act": "noarea" }, "Choose nothing"));
  if (both.sums.error) return [title, h("p", { class: "bad", role: "alert" }, both.sums.error)];
  if (!both.sums.of) return [title, h("p", { class: "empty quiet" }, "Adding up …")];
  const [a, b] = both.sums.of;
  const rows = joined(a, b);
  if (!rows.length) return [title, h("p", { class: "empty quiet" }, "Neither side has a slice there.")];
  const top = Math.max(...rows.map((r) => Math.abs(r.self[1] - r.self[0])), 1);
  return [title, table(head("Name", "Class", "#Self A", "#Self B", "#B − A", "Less · more", "#Change", "#Times"), h("tbody", {}, rows.slice(0, ROWS).map((r) => h("tr", {}, h("td", { class: "opname", title: r.name }, r.name), h("td", { class: "quiet" }, r.of), num(r.count[0] ? dur(r.self[0]) : "–"), num(r.count[1] ? dur(r.self[1]) : "–"), num(signed(r.self[1] - r.self[0])), h("td", {}, diverge((r.self[1] - r.self[0]) / top)), num(change(r.self[0], r.self[1], false)), num(`${count(r.count[0])} · ${count(r.count[1])}`))))),
    h("p", { class: "quiet" }, `${plural(a.slices, "slice")} of A and ${plural(b.slices, "slice")} of B, self time: without what lies inside. Two stretches are no sample: whether they differ by chance is not tested.${rows.length > ROWS ? ` ${count(rows.length - ROWS)} more names; the CSV of each side has all.` : ""}`)];
}
