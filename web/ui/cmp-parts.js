// Sections of the comparison: the two captures, the verdict, latencies, steps, and where the time
// went. The server computes all of it; this module only lays it out.
import { h, piece, svg } from "./dom.js";
import { partColor } from "./tl-color.js";
import { size } from "./tl-size.js";
import { count, dur, percent, plural } from "./units.js";

export const num = (text, more = {}) => h("td", { class: "num", ...more }, text);
export const table = (...content) => h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, h("table", {}, content));
export const head = (...names) => h("thead", {}, h("tr", {}, names.map((n) => h("th", { scope: "col", class: n.startsWith("#") ? "num" : null }, n.replace("#", "")))));
export const mark = (side) => h("span", { class: `side ${side}`, "aria-label": `side ${side.toUpperCase()}` }, side.toUpperCase());
export const signed = (ns) => (ns === 0 ? "0" : `${ns < 0 ? "−" : "+"}${dur(Math.abs(ns))}`);

// kindName is the name of a kind of step in sentences; steps of unknown kind are just "step".
export const kindName = (kind) => (kind === "step" ? "step" : `${kind.replaceAll("_", " ")} step`);

const MANY = 10; // times as much are a factor rather than a share

// change writes how b differs from a: red if longer, green if shorter, pale if it may be chance.
export function change(a, b, sure = true) {
  if (!(a > 0) || !(b > 0)) return h("span", { class: "quiet" }, a > 0 ? "only A" : b > 0 ? "only B" : "–");
  const x = (b - a) / a;
  const text = b >= MANY * a ? `×${(b / a).toPrecision(3)}` : x > 0 ? `+${percent(x)}` : x < 0 ? `−${percent(-x)}` : "0%";
  return h("span", { class: `change ${!sure ? "quiet" : x > 0 ? "up" : x < 0 ? "down" : ""}` }, text);
}

const sure = (x, few) => (few ? h("span", { class: "quiet" }, "too few") : x.significant ? h("span", { class: "sure" }, "no chance") : h("span", { class: "quiet" }, `may be chance (p ${x.chance.toPrecision(2)})`));

// capture is one of the two headers; what differs between them is marked.
function capture(side, s, other, app) {
  const fact = (name, value, unlike) => value && h("div", { class: unlike ? "unlike" : null }, h("dt", {}, name), h("dd", {}, value));
  const list = (x) => (x ?? []).join(", ");
  return h("section", { class: `capture ${side}` }, h("h3", {}, mark(side), h("a", { href: app.viewOf(side) }, s.title)),
    h("dl", { class: "facts" }, fact("Where", s.detail), fact("Cards", list(s.cards) || "none named", list(s.cards) !== list(other.cards)), fact("Ranks", s.ranks, s.ranks !== other.ranks),
      fact("Versions", list(s.versions) || "none named", list(s.versions) !== list(other.versions)), s.requests > 0 && fact("Requests", count(s.requests), s.requests !== other.requests),
      fact("Length", `${dur(s.length_ns)}, ${plural(s.slices, "slice")}`)));
}

// summedText says what changed most over all pairs of traces together.
function summedText(t) {
  const most = t.diff.rows?.find((r) => r.device) ?? t.diff.rows?.[0];
  const many = t.pairs.length < t.all_pairs ? `the first ${count(t.pairs.length)} of ${plural(t.all_pairs, "pair")}` : `all ${plural(t.pairs.length, "pair")}`;
  return !most || most.delta_ns === 0 ? `Over ${many} of traces together nothing changed.` : `Over ${many} of traces together ${most.name} changed most (${signed(most.delta_ns)}${t.compared_by === "whole_trace" ? "" : " in a mean step of each"}).`;
}

export const header = {
  id: "verdict", title: "A and B",
  draw: (app) => {
    const w = app.whole;
    const t = app.traces;
    const text = w.verdict || t?.verdict;
    return [h("div", { class: "two" }, capture("a", w.a, w.b, app), capture("b", w.b, w.a, app)),
      w.doubts.length > 0 && h("ul", { class: "doubts", "aria-label": "What is in doubt" }, w.doubts.slice(0, 8).map((d) => h("li", {}, d)), w.doubts.length > 8 && h("li", {}, `${count(w.doubts.length - 8)} more`)),
      h("p", { class: "verdict", id: "verdict-text" }, text ?? (t ? summedText(t) : "Comparing …")),
      h("p", { class: "quiet" }, w.differs.length ? `A and B differ in ${w.differs.join("; ")}.` : `Cards${w.a.cards.length ? "" : " (not named)"}, ranks and versions are the same.`,
        [["a", w.only_a], ["b", w.only_b]].map(([side, list]) => list.length > 0 && ` Only ${side.toUpperCase()} has ${list.slice(0, 6).join(", ")}${list.length > 6 ? " …" : ""}.`))];
  },
};

const SPOKEN = { ttft: "first token" };

export const latency = {
  id: "latency", title: "Requests",
  has: (app) => app.whole.latency?.some((l) => l.a.count || l.b.count),
  draw: (app) => {
    const w = app.whole;
    return [table(head("To", "#A", "#B", "#Change of the median", "Sure", "#A p99", "#B p99", "#Change", "#Requests"), h("tbody", {}, w.latency.filter((l) => l.a.count || l.b.count).map((l) => {
      const few = Math.min(l.a.count, l.b.count) < 10;
      return h("tr", {}, h("th", { scope: "row" }, SPOKEN[l.what] ?? l.what.replaceAll("_", " ")), num(l.a.count ? dur(l.a.p50_ns) : "–"), num(l.b.count ? dur(l.b.p50_ns) : "–"), num(change(l.a.p50_ns, l.b.p50_ns, l.significant)), h("td", {}, sure(l, few)),
        num(l.a.count ? dur(l.a.p99_ns) : "–"), num(l.b.count ? dur(l.b.p99_ns) : "–"), num(change(l.a.p99_ns, l.b.p99_ns, l.significant)), num(`${count(l.a.count)} · ${count(l.b.count)}`));
    }))), h("p", { class: "quiet" }, w.bottleneck_a || w.bottleneck_b ? `Bottleneck: ${w.bottleneck_a || "none"} in A, ${w.bottleneck_b || "none"} in B.` : "No stage set the pace on either side.")];
  },
};

// dots draws the steps of a kind on both sides over one logarithmic axis of durations.
function dots(app, kind, width) {
  const sides = ["a", "b"].map((side) => {
    const t = app.stepTimes?.[side];
    if (!t) return [];
    const which = t.kinds.findIndex((x) => x.kind === kind);
    return t.ns.filter((_, i) => t.kind[i] === which && t.ns[i] > 0);
  });
  const middle = ["a", "b"].map((side) => app.stepTimes?.[side]?.kinds.find((x) => x.kind === kind)?.p50_ns);
  const { k } = size;
  const all = sides.flat();
  if (!all.length) return null;
  const [lo, hi] = [Math.min(...all), Math.max(...all)];
  const span = Math.log(hi) - Math.log(lo) || 1;
  const x = (ns) => 26 * k + ((Math.log(ns) - Math.log(lo)) / span) * (width - 40 * k);
  return svg("svg", { class: "chart dots", width, height: 62 * k, role: "img", "aria-label": `${kind}: ${sides.map((s, i) => `${"AB"[i]} ${s.length ? `median ${dur(middle[i])} of ${s.length}` : "none"}`).join(", ")}; the table has the numbers` },
    sides.map((list, row) => [svg("text", { x: 4, y: (18 + row * 22) * k }, "AB"[row]), list.slice(0, 2000).map((ns, i) => svg("circle", { cx: x(ns).toFixed(1), cy: ((9 + row * 22 + ((i * 7) % 11)) * k).toFixed(1), r: 2.2 * k, fill: `var(--${"ab"[row]})` })),
      list.length > 0 && svg("line", { x1: x(middle[row]), x2: x(middle[row]), y1: (4 + row * 22) * k, y2: (24 + row * 22) * k, stroke: `var(--${"ab"[row]})`, "stroke-width": 2 })]),
    svg("text", { x: 26 * k, y: 60 * k }, dur(lo)), svg("text", { x: width - 14, y: 60 * k, "text-anchor": "end" }, dur(hi)));
}

export const steps = {
  id: "steps", title: "Steps",
  has: (app) => app.whole.steps?.length > 0 || app.traces?.steps?.length > 0,
  draw: (app, width) => {
    const pipe = app.whole.by === "pipelines";
    const rows = pipe ? app.whole.steps.map((s) => ({ ...s, name: `${s.stage} ${s.category.replaceAll("_", " ")}`, few: Math.min(s.a.sample?.length ?? 0, s.b.sample?.length ?? 0) < 10 }))
      : app.traces.steps.map((s) => ({ ...s, name: s.kind.replaceAll("_", " "), few: Math.min(s.a.count, s.b.count) < 10 }));
    const kinds = [...new Set(["a", "b"].flatMap((side) => app.stepTimes?.[side]?.kinds.map((k) => k.kind) ?? []))];
    return [table(head("Step", "#A", "#B", "#Change of the median", "Sure", "#A p99", "#B p99", "#Change", "#Steps"), h("tbody", {}, rows.map((s) => h("tr", {}, h("th", { scope: "row" }, s.name), num(s.a.count ? dur(s.a.p50_ns) : "–"), num(s.b.count ? dur(s.b.p50_ns) : "–"),
      num(change(s.a.p50_ns, s.b.p50_ns, s.significant)), h("td", {}, sure(s, s.few)), num(s.a.count ? dur(s.a.p99_ns) : "–"), num(s.b.count ? dur(s.b.p99_ns) : "–"), num(change(s.a.p99_ns, s.b.p99_ns, s.significant)), num(`${count(s.a.count)} · ${count(s.b.count)}`))))),
    kinds.map((k) => h("section", { "data-key": k }, h("h3", {}, `Every ${kindName(k)} of ${app.stepName()}`), dots(app, k, width)))];
  },
};

// where shows the breakdowns side by side, all on one scale.
export const where = {
  id: "where", title: "Where the time went",
  has: (app) => app.pairsWithTime().length > 0 || app.whole.time?.length > 0,
  draw: (app) => {
    const color = (name) => partColor(name, app.theme.dark);
    const list = app.pairsWithTime();
    const top = Math.max(...list.flatMap((p) => [p.a.window_ns, p.b.window_ns]), 1);
    const bar = (side, t) => [mark(side), h("div", { class: "shares", role: "img", "aria-label": `${side.toUpperCase()}: ${t.parts.filter((p) => p.ns > 0).map((p) => `${p.name} ${dur(p.ns)}`).join(", ")}` },
      t.parts.filter((p) => p.ns > 0).map((p) => h("span", { "data-part": (100 * p.ns) / top, "data-color": color(p.name), title: `${p.name.replaceAll("_", " ")}: ${dur(p.ns)}, ${percent(p.share)} of its window` }, piece(p.name.replaceAll("_", " "), percent(p.share))))), h("span", { class: "num quiet" }, dur(t.window_ns))];
    const rows = app.whole.time ?? list.flatMap((p) => [...new Set([...p.a.parts, ...p.b.parts].map((x) => x.name))].map((name) => {
      const [a, b] = [p.a, p.b].map((t) => t.parts.find((x) => x.name === name) ?? { ns: 0, share: 0 });
      return { stage: p.name, category: name, a_ns: a.ns, b_ns: b.ns, a_share: a.share, b_share: b.share };
    }).filter((r) => r.a_ns > 0 || r.b_ns > 0));
    return [list.map((p) => h("section", { "data-key": p.name }, h("h3", {}, p.name), h("div", { class: "barpair" }, bar("a", p.a), bar("b", p.b)))),
      h("details", { "data-key": "table", open: Boolean(app.overview.a) && list.length === 0 }, h("summary", {}, "As a table"), table(head("Of", "In", "#A", "#B", "#Change", "#A of its window", "#B of its window"), h("tbody", {}, rows.map((r) => h("tr", {}, h("th", { scope: "row" }, r.stage), h("td", {}, r.category.replaceAll("_", " ")), num(dur(r.a_ns)), num(dur(r.b_ns)), num(change(r.a_ns, r.b_ns)), num(percent(r.a_share)), num(percent(r.b_share))))))),
      h("p", { class: "quiet" }, "All bars have one scale of time. A longer window has more time in it: look at the shares too.")];
  },
};
