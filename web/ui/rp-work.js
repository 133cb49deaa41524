// Sections of the report about work: operators and kernels, flame graphs, the critical path,
// the roofline.
import { h, piece, svg } from "./dom.js";
import { boundColor, boundText } from "./tl-bounds.js";
import { colors } from "./tl-color.js";
import * as data from "./tl-data.js";
import { flameGraph } from "./tl-flame.js";
import { size } from "./tl-size.js";
import { button, head, num, select, swatch, switches, table } from "./rp-page.js";
import { count, dur, percent, plural } from "./units.js";

const ROWS = 40; // of a table at once
const ALL = 1000;

const traces = (app) => app.info.traces.map((t) => [t.index, app.tree.label(app.tree.byID.get(`trace:${t.index}`) ?? { id: "", name: t.label.split("/").pop(), parent: "" })]);
const pickTrace = (s, all = false) => s.app.info.traces.length > 1 && select("trace", "Trace", s.choice.trace ?? (all ? ALL_TRACES : 0), [...(all ? [[ALL_TRACES, "all together"]] : []), ...traces(s.app)]);
const ALL_TRACES = -1;
const groupOf = (s) => s.choice.group ?? (s.data.bare ? "kernel" : "name");
const opsOf = (s) => s.choice.trace ?? (s.app.info.traces.length > 1 ? ALL_TRACES : 0);

// hist is a small histogram of durations, on a logarithmic scale.
function hist(r) {
  if (!r.bins || r.count < 2) return null;
  const top = Math.max(...r.bins);
  return svg("svg", { class: "small", viewBox: `0 0 ${r.bins.length * 4} 16`, width: r.bins.length * 4, height: 16, role: "img", "aria-label": `from ${dur(r.min_ns)} to ${dur(r.max_ns)}` },
    svg("title", {}, `${dur(r.min_ns)} to ${dur(r.max_ns)}, log scale`), r.bins.map((n, i) => n > 0 && svg("rect", { x: i * 4, y: 16 - Math.max(1.5, (15 * n) / top), width: 3, height: Math.max(1.5, (15 * n) / top), fill: "var(--curve)" })));
}

const KEYS = { name: (r) => r.name.toLowerCase(), count: (r) => r.count, self_host_ns: (r) => r.self_host_ns, host_ns: (r) => r.host_ns, self_device_ns: (r) => r.self_device_ns, device_ns: (r) => r.device_ns, max_ns: (r) => r.max_ns, mean: (r) => (r.kind === "op" || r.kind === "annotation" || r.kind === "runtime" ? r.host_ns : r.device_ns) / r.count, kernels: (r) => r.kernels };
const BY = [["name", "by name"], ["shape", "by shape"], ["stack", "by stack"], ["kernel", "kernels"]];

export const ops = {
  id: "ops", title: "Operators and kernels",
  load: async (app) => {
    const trace = app.info.traces.length > 1 ? ALL_TRACES : 0;
    const first = await data.ops(trace, "name");
    if (first.rows.length) return { [`${trace}/name`]: first };
    const kernels = await data.ops(trace, "kernel"); // a trace of a device alone
    return { [`${trace}/name`]: first, [`${trace}/kernel`]: kernels, bare: true, empty: !kernels.rows.length };
  },
  has: (d) => !d.empty,
  more: async (s) => {
    const key = `${opsOf(s)}/${groupOf(s)}`;
    s.data[key] ??= await data.ops(Number(opsOf(s)), groupOf(s));
  },
  draw: (d, s) => {
    const group = groupOf(s);
    const t = d[`${opsOf(s)}/${group}`];
    if (!t) return h("p", { class: "empty quiet" }, "Adding up …");
    const kernels = t.by === "kernel";
    const want = (s.choice.only ?? "").toLowerCase();
    const by = s.choice.by ?? (t.device_ns > 0 ? "self_device_ns" : "self_host_ns");
    const sign = (by === "name" ? 1 : -1) * (s.choice.up ? -1 : 1);
    const key = KEYS[by];
    const rows = t.rows.filter((r) => !want || r.name.toLowerCase().includes(want) || r.shapes?.toLowerCase().includes(want) || r.stack?.toLowerCase().includes(want)).sort((a, b) => (key(a) < key(b) ? -sign : key(a) > key(b) ? sign : 0));
    const shown = rows.slice(0, s.choice.all === "1" ? ALL : ROWS);
    const whole = (t.device_ns > 0 ? t.device_ns : t.host_ns) || 1;
    const part = (r) => (t.device_ns > 0 ? r.self_device_ns : r.self_host_ns) / whole;
    const most = Math.max(...rows.map(part), 1e-9);
    const device = t.device_ns > 0;
    const columns = [["Name", "name", true], ["Count", "count"], ...(kernels ? [] : [["Self host", "self_host_ns"], ["Host", "host_ns"]]), ...(device ? [["Self device", "self_device_ns"], ...(kernels ? [] : [["Device", "device_ns"], ["Kernels", "kernels"]])] : []), ["Mean", "mean"], ["Longest", "max_ns"], ...(t.rows.some((r) => r.bins) ? [["Durations", null, true]] : []), [device ? "Of device time" : "Of host time", null, true]];
    const color = (r) => colors(kernels ? (r.kind === "communication" ? 5 : r.kind === "memory" ? 6 : 4) : r.kind === "runtime" ? 3 : r.kind === "annotation" ? 2 : 1, r.name, s.app.theme.dark)[3];
    return [h("div", { class: "picks" }, pickTrace(s, true), switches("group", "Rows", group, BY), h("input", { name: "only", type: "search", placeholder: "Filter names, shapes, frames", "aria-label": "Filter names, shapes, frames", value: s.choice.only ?? "", autocomplete: "off" }),
      h("span", { class: "quiet" }, `${count(rows.length)} of ${count(t.total)}`)),
    rows.length === 0 ? h("p", { class: "empty quiet" }, want ? `Nothing has “${s.choice.only}”.` : kernels ? "The trace has no device work." : "The trace has no operators; look at kernels.") : table(head({ choice: { by, up: s.choice.up } }, columns), h("tbody", {}, shown.map((r) => h("tr", {},
      h("td", { class: "opname" }, swatch(color(r)), r.longest ? button("slice", { id: r.longest }, r.name) : r.name, r.shapes && h("code", { class: "under" }, r.shapes), r.stack && h("span", { class: "under quiet", title: r.stack }, r.stack.split("\n").slice(0, 3).join(" ‹ "))),
      num(count(r.count)), !kernels && [num(dur(r.self_host_ns)), num(dur(r.host_ns))], device && [num(dur(r.self_device_ns)), !kernels && [num(dur(r.device_ns)), num(count(r.kernels))]], num(dur(KEYS.mean(r))), num(dur(r.max_ns)),
      t.rows.some((x) => x.bins) && h("td", {}, hist(r)), h("td", { class: "barcell" }, h("i", { class: "bar", "data-part": (60 * part(r)) / most }), percent(part(r))))))),
    rows.length > shown.length && h("button", { type: "button", "data-act": "set", "data-name": "all", "data-value": "1" }, `Show ${count(Math.min(ALL, rows.length))}`),
    t.unattributed_ns > 0 && h("p", { class: "quiet" }, `${dur(t.unattributed_ns)} of device time was launched by no operator that the trace shows.`)];
  },
};

export const flames = {
  id: "flames", title: "Flame graph",
  note: () => " equal callers merged, the heaviest left",
  load: async () => {
    const device = await data.flame(0, "device");
    return device.total_ns > 0 ? { "0/device": device, first: "device" } : { "0/host": await data.flame(0, "host"), first: "host" };
  },
  has: (d, { app }) => app.info.traces.length > 1 || (d["0/device"] ?? d["0/host"]).total_ns > 0,
  more: async (s) => {
    const key = flameKey(s);
    if (s.was !== key) s.choice.at = "";
    s.was = key;
    s.data[key] ??= await data.flame(Number(s.choice.trace ?? 0), s.choice.of ?? s.data.first);
  },
  draw: (d, s) => {
    const f = d[flameKey(s)];
    return [h("div", { class: "picks" }, pickTrace(s), switches("of", "Of what", s.choice.of ?? d.first, [["device", "device by operator"], ["host", "host by stack"]])),
      !f ? h("p", { class: "empty quiet" }, "Adding up …") : f.total_ns > 0 ? h("div", {}, flameGraph(f, s.choice.at ?? "", s.app, "Flame graph, the widest first; the table above has the operators")) : h("p", { class: "empty quiet" }, "The trace has none of it.")];
  },
};
const flameKey = (s) => `${s.choice.trace ?? 0}/${s.choice.of ?? s.data.first}`;

export const path = {
  id: "path", title: "Critical path",
  note: () => " the longest chain of work and waits: shortening anything else makes nothing faster",
  load: async () => ({ 0: await data.criticalPath({ trace: 0, px: 1 }) }),
  has: (d, { app }) => app.info.traces.length > 1 || Boolean(d[0]?.total_ns),
  more: async (s) => { s.data[s.choice.trace ?? 0] ??= await data.criticalPath({ trace: Number(s.choice.trace ?? 0), px: 1 }); },
  draw: (d, s) => {
    const p = d[s.choice.trace ?? 0];
    if (!p) return h("p", { class: "empty quiet" }, "Adding up …");
    const top = p.by_name[0]?.ns || 1;
    if (!p.total_ns) return [h("div", { class: "picks" }, pickTrace(s)), h("p", { class: "empty quiet" }, `${p.none ?? "nothing to find a path through"}.`)];
    return [h("div", { class: "picks" }, pickTrace(s), h("button", { type: "button", "data-act": "path", "data-id": p.trace }, "Lay it over the timeline"), h("span", { class: "quiet" }, `${dur(p.total_ns)}, ${plural(p.slices, "slice")}`)),
      h("div", { class: "shares", role: "img", "aria-label": p.bounds.map((b) => `${b.bound} ${percent(b.share)}`).join(", ") }, p.bounds.filter((b) => b.ns > 0).map((b) => h("span", { "data-part": 100 * b.share, "data-color": boundColor(b.bound, s.app.theme.dark), title: `${boundText(b.bound)}: ${dur(b.ns)}` }, piece(boundText(b.bound), percent(b.share))))),
      table(head(s, [["What is on it", null, true], ["Waits for", null, true], ["Time"], ["Times"], ["Of the path", null, true]]), h("tbody", {}, p.by_name.slice(0, 20).map((n) => h("tr", {}, h("td", { class: "opname" }, swatch(boundColor(n.bound, s.app.theme.dark)), button("slice", { id: n.slice }, n.name)), h("td", { class: "quiet" }, boundText(n.bound)), num(dur(n.ns)), num(count(n.count)),
        h("td", { class: "barcell" }, h("i", { class: "bar", "data-part": (60 * n.ns) / top }), percent(n.ns / (p.total_ns || 1)))))))];
  },
};

export const roofline = {
  id: "roofline", title: "Roofline",
  note: (list) => ` ${plural(list.reduce((n, r) => n + r.rows.length, 0), "operator")} whose arithmetic is known`,
  load: () => data.rooflines(),
  has: (list) => list.length > 0,
  draw: (list, s) => {
    const t = list.find((x) => String(x.trace) === s.choice.trace) ?? list[0];
    const rows = t.rows.map((r, i) => ({ ...r, slice: t.first_slices[i] })).filter((r) => r.intensity > 0 && r.gflops > 0);
    return [list.length > 1 && h("div", { class: "picks" }, select("trace", "Trace", t.trace, traces(s.app).filter(([i]) => list.some((x) => x.trace === i)))), rows.length > 0 && picture(t, rows, s),
      table(head(s, [["Operator", null, true], ["Shapes", null, true], ["Type", null, true], ["Calls"], ["Time"], ["GFLOP/s"], ["FLOP/byte"], ["Bound by", null, true], ["Of the roof"]]), h("tbody", {}, t.rows.slice(0, 20).map((r, i) => h("tr", {}, h("td", { class: "opname" }, button("slice", { id: t.first_slices[i] }, r.name)), h("td", { class: "opname" }, h("code", {}, r.shapes)), h("td", { class: "quiet" }, r.dtype), num(count(r.count)), num(dur(r.ns)), num(r.gflops ? r.gflops.toFixed(1) : "–"), num(r.intensity ? r.intensity.toFixed(1) : "–"), h("td", { class: "quiet" }, r.bound ?? "–"), num(r.bound ? percent(r.roof_share) : "–"))))),
      h("p", { class: "quiet" }, `${Object.keys(t.roofs).length ? "" : "What the card can do is not known, so no roof is drawn. "}The operators stand for ${percent(t.known_share)} of the operators' time.`)];
  },
};

// picture draws operators by their operations per byte and per second, on logarithmic axes.
function picture(t, rows, s) {
  const [left, bottom, right, high] = [64, 34, 20, 300].map((px) => px * size.k);
  const roofs = Object.entries(t.roofs);
  const xs = [...rows.map((r) => r.intensity), ...roofs.map(([, r]) => r.flops_per_s / r.bytes_per_s)];
  const ys = [...rows.map((r) => r.gflops), ...roofs.map(([, r]) => r.flops_per_s / 1e9)];
  const range = (v) => [Math.floor(Math.log10(Math.min(...v)) - 0.2), Math.ceil(Math.log10(Math.max(...v)) + 0.2)];
  const [[x0, x1], [y0, y1]] = [range(xs), range(ys)];
  const x = (v) => left + ((Math.log10(v) - x0) / (x1 - x0)) * (s.width - left - right);
  const y = (v) => high - bottom - ((Math.log10(v) - y0) / (y1 - y0)) * (high - bottom - 10);
  const most = Math.max(...rows.map((r) => r.ns), 1);
  const decades = (a, b) => Array.from({ length: b - a + 1 }, (_, i) => a + i);
  const power = (e) => (e < 0 ? (10 ** e).toString() : e >= 6 ? `1e${e}` : count(10 ** e));
  return svg("svg", { class: "chart", width: s.width, height: high, viewBox: `0 0 ${s.width} ${high}`, role: "img", "aria-label": "Operators by arithmetic a byte and a second; the table below has them" },
    decades(x0, x1).map((e) => [svg("line", { x1: x(10 ** e), x2: x(10 ** e), y1: 10, y2: high - bottom, stroke: "var(--line)" }), svg("text", { x: x(10 ** e), y: high - bottom / 2, "text-anchor": "middle" }, power(e))]),
    decades(y0, y1).map((e) => [svg("line", { x1: left, x2: s.width - right, y1: y(10 ** e), y2: y(10 ** e), stroke: "var(--line)" }), svg("text", { x: left - 6, y: y(10 ** e) + 4, "text-anchor": "end" }, power(e))]),
    svg("text", { x: s.width - 14, y: high - 4 * size.k, "text-anchor": "end" }, "FLOP a byte"), svg("text", { x: left + 6, y: 10 + 10 * size.k }, "GFLOP/s"),
    roofs.map(([type, r]) => {
      const ridge = r.flops_per_s / r.bytes_per_s;
      const at = (v) => Math.min(r.flops_per_s, v * r.bytes_per_s) / 1e9;
      return [svg("polyline", { points: [10 ** x0, ridge, 10 ** x1].map((v) => `${x(v)},${Math.min(high - bottom, y(Math.max(at(v), 10 ** y0)))}`).join(" "), fill: "none", stroke: "var(--mark)", "stroke-width": 1.5 }), svg("text", { x: s.width - 16, y: y(r.flops_per_s / 1e9) - 5, "text-anchor": "end", class: "roof" }, type)];
    }),
    rows.map((r) => svg("circle", { cx: x(r.intensity), cy: y(r.gflops), r: size.k * 4 + size.k * 8 * Math.sqrt(r.ns / most), fill: colors(1, r.name, s.app.theme.dark)[2], stroke: "var(--back)", "data-act": "slice", "data-id": r.slice, class: "hit" }, svg("title", {}, `${r.name} ${r.shapes}\n${r.gflops.toFixed(1)} GFLOP/s, ${r.intensity.toFixed(1)} FLOP a byte, ${dur(r.ns)}`))));
}
