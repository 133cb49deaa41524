// Sections of the comparison by name: what changed most, and the differential flame graph.
import { h } from "./dom.js";
import { change, mark, num, signed, table } from "./cmp-parts.js";
import { size } from "./tl-size.js";
import { count, dur, percent, plural } from "./units.js";

const ROWS = 40; // at once
const ALL = 1000;
const button = (act, more, ...content) => h("button", { type: "button", class: "link", "data-act": act, ...Object.fromEntries(Object.entries(more).map(([k, v]) => [`data-${k}`, v])) }, content);
const switches = (name, label, value, list) => h("div", { class: "switches", role: "group", "aria-label": label }, list.map(([v, text]) => h("button", { type: "button", "data-act": "set", "data-name": name, "data-value": v, "aria-pressed": String(v === value) }, text)));

const KEYS = { name: (r) => r.name.toLowerCase(), a: (r) => r.a.step_ns, b: (r) => r.b.step_ns, delta: (r) => Math.abs(r.delta_ns), ratio: (r) => r.ratio, q: (r) => -r.q };

// diverge is a bar to the left for less time, to the right for more.
export function diverge(part) {
  const bar = (side, color, share) => h("i", { class: side, "data-part": share > 0 ? Math.max(1, 100 * share) : 0, "data-color": share > 0 ? color : "transparent" });
  return h("span", { class: "diverge", "aria-hidden": "true" }, bar("left", "var(--less)", -part), bar("right", "var(--more)", part));
}

// inPairs says in how many pairs of ranks a difference is no chance.
function inPairs(x) {
  const list = [x.sure_longer && `longer in ${count(x.sure_longer)}`, x.sure_shorter && `shorter in ${count(x.sure_shorter)}`].filter(Boolean);
  return list.length ? `${list.join(", ")} of ${count(x.of)}` : x.of ? `in none of ${count(x.of)}` : "not tested";
}

const CHANGES = { added: "only in B", removed: "only in A", increased: "more often", decreased: "less often", unchanged: "" };

export const ops = {
  id: "ops", title: "What changed, by name",
  has: (app) => Boolean(app.traces),
  note: (app) => ` ${app.pairName()}, ${app.traces.compared_by === "whole_trace" ? "whole traces" : `time in a mean step (${count(app.traces.diff.steps_a)} of A, ${count(app.traces.diff.steps_b)} of B)`}, nested calls included`,
  draw: (app) => {
    const t = app.traces;
    const c = app.choice;
    const want = c.only.toLowerCase();
    const all = t.diff.rows ?? [];
    const key = KEYS[c.by] ?? KEYS.delta;
    const sign = (c.by === "name" ? 1 : -1) * (c.up ? -1 : 1);
    const rows = all.filter((r) => (c.unchanged || r.delta_ns !== 0 || r.change !== "unchanged") && (!want || r.name.toLowerCase().includes(want)) && (c.on === "all" || r.device === (c.on === "device")) && (!c.sure || r.significant || parts?.get(r).sure_longer || parts?.get(r).sure_shorter))
      .sort((x, y) => (key(x) < key(y) ? -sign : key(x) > key(y) ? sign : 0));
    const shown = rows.slice(0, c.all ? ALL : ROWS);
    const top = Math.max(...shown.map((r) => Math.abs(r.delta_ns)), 1e-9);
    const th = (by, name, left) => h("th", { scope: "col", class: left ? null : "num", "aria-sort": c.by === by ? (c.up ? "ascending" : "descending") : null }, button("sort", { by }, name));
    const tested = t.diff.test !== "none";
    const parts = t.rows && new Map(all.map((r, i) => [r, t.rows[i]])); // of sums over pairs
    return [h("div", { class: "picks" }, switches("on", "Where", c.on, [["all", "host and device"], ["device", "device"], ["host", "host"]]),
      h("label", { class: "pick" }, h("input", { type: "checkbox", name: "sure", checked: c.sure }), " only what is no chance"), h("label", { class: "pick" }, h("input", { type: "checkbox", name: "unchanged", checked: c.unchanged }), " what did not change, too"),
      h("input", { name: "only", type: "search", placeholder: "Filter names", "aria-label": "Filter names", value: c.only, autocomplete: "off" }), h("span", { class: "quiet" }, `${count(rows.length)} of ${count(t.names)}`)),
    rows.length === 0 ? h("p", { class: "empty quiet" }, all.length ? "Nothing differs that fits." : "Neither side has named work.") : table(h("thead", {}, h("tr", {}, th("name", "Name", true), h("th", { scope: "col" }, "On"), th("a", "A"), th("b", "B"), th("delta", "B − A"), h("th", { scope: "col" }, "Less · more"), th("ratio", "Change"), th("q", "Sure", true), h("th", { scope: "col" }, "Longest"))),
      h("tbody", {}, shown.map((r) => h("tr", {}, h("td", { class: "opname", title: r.name }, r.name, CHANGES[r.change] && h("span", { class: "quiet" }, ` ${CHANGES[r.change]}`)), h("td", { class: "quiet" }, r.device ? "device" : "host"),
        num(r.a.count ? dur(r.a.step_ns) : "–", { title: plural(r.a.count, "call") }), num(r.b.count ? dur(r.b.step_ns) : "–", { title: plural(r.b.count, "call") }), num(signed(r.delta_ns)), h("td", {}, diverge(r.delta_ns / top)), num(change(r.a.step_ns, r.b.step_ns, r.significant)),
        h("td", { class: `change ${r.significant ? "sure" : "quiet"}` }, parts ? inPairs(parts.get(r)) : !tested || r.p === 1 && r.q === 1 ? "not tested" : r.significant ? "no chance" : `may be, q ${r.q.toPrecision(2)}`),
        h("td", {}, ["a", "b"].map((side) => r[side].worst >= 0 && [button("slice", { side, id: `${parts ? t.pairs[parts.get(r)[`pair_${side}`]][side] : app.pair[side]}.${r[side].worst}` }, `in ${side.toUpperCase()}`), " "])))))),
    rows.length > shown.length && h("button", { type: "button", "data-act": "set", "data-name": "all", "data-value": "1" }, `Show ${count(Math.min(ALL, rows.length))}`),
    h("p", { class: "quiet" }, parts ? `Times of ${plural(t.pairs.length, "pair")}${t.pairs.length < t.all_pairs ? ` of ${count(t.all_pairs)}` : ""} added up; tested pair by pair: “longer in 3 of 4” are the pairs in which the difference is no chance.` : tested ? `Tested over ${t.diff.test} by ranks (Mann and Whitney), corrected for the number of names; q below 0.05 counts as no chance. ` : "Too few steps or calls to tell differences from chance. ", t.names > all.length ? `The ${count(all.length)} largest changes of ${count(t.names)} names.` : "")];
  },
};

const ROW = 19; // px, of a usual window
const LEAST = 0.15; // percent of the width that is drawn
const TEXT = 3; // percent that has a name
const SIDE_ROWS = 14; // of the table beside

const WIDTH = { both: (f) => (f.a_ns + f.b_ns) / 2, a: (f) => f.a_ns, b: (f) => f.b_ns };

// hue is red where B takes more time, blue where it takes less, the stronger the larger the change.
function hue(a, b) {
  const x = (b - a) / (Math.max(a, b) || 1);
  const strong = Math.round(100 * Math.sqrt(Math.min(1, Math.abs(x))));
  return Math.abs(x) < 0.005 ? "var(--same)" : `color-mix(in srgb, var(--${x > 0 ? "more" : "less"}) ${strong}%, var(--same))`;
}

const relative = (a, b) => (a > 0 && b > 0 ? (Math.abs(b - a) < 0.0005 * a ? "=" : b >= 10 * a ? `×${(b / a).toPrecision(3)}` : `${b >= a ? "+" : "−"}${percent(Math.abs(b - a) / a)}`) : a > 0 ? "gone" : "new");

function at(root, path) {
  const way = [];
  let top = root;
  for (const i of path.split(".").filter(Boolean)) {
    if (!top.children?.[Number(i)]) break;
    way.push(top);
    top = top.children[Number(i)];
  }
  return { way, top };
}

export const flames = {
  id: "flames", title: "Differential flame graph",
  has: (app) => Boolean(app.traces),
  note: (app) => ` ${app.pairName()}, equal callers laid over each other`,
  draw: (app) => {
    const c = app.choice;
    const f = app.flame;
    const picks = h("div", { class: "picks" }, switches("of", "Of what", app.flameOf(), [["device", "device by operator"], ["host", "host by stack"]]), switches("width", "Widths", c.width, [["both", "width: A and B"], ["a", "A"], ["b", "B"]]),
      h("span", { class: "legend scale" }, "less time in B", h("i", { role: "img", "aria-label": "blue is less time in B, grey the same, red more" }), "more time in B"));
    if (!f) return [picks, h("p", { class: "empty quiet" }, "Adding up …")];
    if (f.error) return [picks, h("p", { class: "empty quiet" }, f.error)];
    if (!(f.flame.a_ns > 0) && !(f.flame.b_ns > 0)) return [picks, h("p", { class: "empty quiet" }, "Neither trace has any of it.")];
    const { way, top } = at(f.flame, c.at);
    const width = WIDTH[c.width];
    const whole = width(top) || 1;
    const boxes = [];
    let deep = 0;
    const path0 = c.at.split(".").filter(Boolean).slice(0, way.length).join(".");
    const visit = (n, left, level, id) => {
      const part = (100 * width(n)) / whole;
      if (part < LEAST) return;
      deep = Math.max(deep, level);
      const text = `${n.name} ${relative(n.a_ns, n.b_ns)}`;
      boxes.push(h("button", { type: "button", class: "flame", "data-act": "zoom", "data-path": id, "data-left": left, "data-part": part, "data-top": level * Math.round(ROW * size.k), "data-color": hue(n.a_ns, n.b_ns),
        title: `${n.name}\nA ${dur(n.a_ns)}, B ${dur(n.b_ns)}: ${signed(n.b_ns - n.a_ns)}, ${relative(n.a_ns, n.b_ns)}\nself A ${dur(n.a_self_ns)}, B ${dur(n.b_self_ns)}; ${count(n.a_count)} and ${count(n.b_count)} times`, "aria-label": `${text}, A ${dur(n.a_ns)}, B ${dur(n.b_ns)}` }, part > TEXT ? text : ""));
      let x = left;
      (n.children ?? []).forEach((k, i) => {
        visit(k, x, level + 1, `${id}${id ? "." : ""}${i}`);
        x += (100 * width(k)) / whole;
      });
    };
    visit(top, 0, 0, path0);
    const crumb = (i, n) => button("zoom", { path: path0.split(".").slice(0, i).join(".") }, n.name);
    return [picks, way.length > 0 && h("p", { class: "crumbs" }, way.map((n, i) => [crumb(i, n), " › "]), top.name),
      h("div", { class: "flames", role: "group", "aria-label": "Differential flame graph; the table below has what changed most", "data-px": (deep + 1) * Math.round(ROW * size.k) + 4 }, boxes),
      beside(top, path0), h("p", { class: "quiet" }, f.steps_a ? `Times are of a mean step, over ${count(f.steps_a)} steps of A and ${count(f.steps_b)} of B; work outside steps is left out.` : "Times are of the whole traces, which may be of different length.")];
  },
};

// beside is the flame graph as a table: where the time itself changed most.
function beside(top, path0) {
  const list = [];
  const visit = (n, id, stack) => {
    if (n.a_self_ns !== n.b_self_ns) list.push({ n, id, stack });
    (n.children ?? []).forEach((k, i) => visit(k, `${id}${id ? "." : ""}${i}`, [...stack, n.name]));
  };
  visit(top, path0, []);
  list.sort((x, y) => Math.abs(y.n.b_self_ns - y.n.a_self_ns) - Math.abs(x.n.b_self_ns - x.n.a_self_ns));
  const rows = list.slice(0, SIDE_ROWS);
  const most = Math.max(...rows.map(({ n }) => Math.abs(n.b_self_ns - n.a_self_ns)), 1e-9);
  if (!rows.length) return h("p", { class: "empty quiet" }, "Every frame takes as long on both sides.");
  return table(h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Frame, without what it calls"), h("th", { scope: "col" }, "Called by"), h("th", { scope: "col", class: "num" }, mark("a")), h("th", { scope: "col", class: "num" }, mark("b")), h("th", { scope: "col", class: "num" }, "B − A"), h("th", { scope: "col" }, "Less · more"))),
    h("tbody", {}, rows.map(({ n, id, stack }) => h("tr", {}, h("td", { class: "opname" }, button("zoom", { path: id }, n.name)), h("td", { class: "opname quiet", title: stack.join(" › ") }, stack.slice(-2).reverse().join(" ‹ ")), num(dur(n.a_self_ns)), num(dur(n.b_self_ns)), num(signed(n.b_self_ns - n.a_self_ns)), h("td", {}, diverge((n.b_self_ns - n.a_self_ns) / most))))));
}
