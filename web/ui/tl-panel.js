// The panel below the tracks: a slice or request, an area's sums, findings, hits, notes.
import { dress, h, patch, piece } from "./dom.js";
import { exportLinks } from "./exports.js";
import { colors } from "./tl-color.js";
import * as data from "./tl-data.js";
import { flameGraph } from "./tl-flame.js";
import { at } from "./tl-units.js";
import { count, dur, percent, plural } from "./units.js";

const ROWS = 200; // of a table at once
const EDGE = 24; // px of a neighbour that show beside the chosen tab: there are more
/** @type {(id: string) => any} an element of the page, of its own kind */
const $ = (id) => document.getElementById(id);
const num = (text) => h("td", { class: "num" }, text);

export class Panel {
  tab = "findings";
  /** @type {any} */ sum = null; // of the area, or { error }
  /** @type {any} */ query = null; // that sum answers
  key = ""; // of query
  /** @type {any[] | null} */ findings = null;
  /** @type {string | null} */ flameAt = null;
  sortBy = "self_ns";
  sortRequests = "";
  only = "";
  wrong = 0; // traces with something wrong
  /** @type {AbortController | null} */ asking = null;

  constructor(el, tabs, body, app) {
    this.el = el;
    this.tabs = tabs;
    this.body = body;
    this.app = app;
  }

  start(wrong) {
    this.wrong = wrong;
    this.drawTabs();
    this.tabs.addEventListener("click", (event) => {
      const b = event.target.closest("[data-tab]");
      if (b) this.show(b.dataset.tab, { open: true });
    });
    this.tabs.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault(); // the strip would scroll by itself
      const list = [...this.tabs.children];
      const to = list[(list.findIndex((b) => b.dataset.tab === this.tab) + (event.key === "ArrowRight" ? 1 : list.length - 1)) % list.length];
      this.show(to.dataset.tab, { open: true });
      this.chosenTab().focus({ preventScroll: true });
    });
    new ResizeObserver(() => this.tabInSight()).observe(this.tabs);
    this.body.addEventListener("click", (event) => this.click(event));
    this.body.addEventListener("input", (event) => {
      if (event.target.id !== "onlyops") return;
      this.only = event.target.value;
      this.draw();
    });
    const grip = $("grip");
    const size = (y) => {
      const height = Math.max(8, Math.min(innerHeight * 0.8, y));
      this.el.style.height = `${height}px`;
      grip.setAttribute("aria-valuenow", String(Math.round((100 * height) / innerHeight)));
      this.app.resize();
    };
    grip.addEventListener("pointerdown", (event) => grip.setPointerCapture(event.pointerId));
    grip.addEventListener("pointermove", (event) => grip.hasPointerCapture(event.pointerId) && size(innerHeight - event.clientY));
    grip.addEventListener("keydown", (event) => {
      const by = { ArrowUp: 30, ArrowDown: -30 }[event.key];
      if (by) size(this.el.clientHeight + by);
    });
    data.findings().then((list) => {
      this.findings = list;
      if (this.tab === "findings") this.draw();
      this.drawTabs();
    }, (err) => this.app.fail(err));
    this.show("findings");
  }

  names() {
    const { app } = this;
    return [["slice", app.selected?.request ? "Request" : "Slice"], ["area", app.area ? "Area" : "In view"], ["flame", "Flame graph"], ["findings", `Findings${this.findings ? ` ${this.findings.length}` : ""}`],
      app.requests.length && ["requests", `Requests ${app.requests.length}`], ["search", "Hits"], ["notes", `About${this.wrong ? ` ⚠ ${this.wrong}` : ""}`]].filter(Boolean);
  }

  drawTabs() {
    patch(this.tabs, this.names().map(([id, name]) => h("button", { type: "button", role: "tab", id: `tab-${id}`, "data-tab": id, "data-key": id, "aria-controls": "body", "aria-selected": String(id === this.tab), tabindex: id === this.tab ? "0" : "-1" }, name)));
    this.body.setAttribute("aria-labelledby", `tab-${this.tab}`);
    this.tabInSight();
  }

  chosenTab() {
    return this.tabs.querySelector('[aria-selected="true"]');
  }

  // tabInSight moves the strip of tabs, where it is narrower than they are, until the chosen one is
  // in it with the edge of its neighbour; scrollIntoView would move the page too.
  tabInSight() {
    const strip = this.tabs.getBoundingClientRect();
    const tab = this.chosenTab().getBoundingClientRect();
    if (tab.left < strip.left + EDGE) this.tabs.scrollLeft -= strip.left + EDGE - tab.left;
    else if (tab.right > strip.right - EDGE) this.tabs.scrollLeft += tab.right - (strip.right - EDGE);
  }

  show(tab, { open = false } = {}) {
    if (!this.names().some(([id]) => id === tab)) tab = "findings";
    const other = this.tab !== tab;
    this.tab = tab;
    if (open && this.el.clientHeight < 60) {
      this.el.style.height = "";
      this.app.resize();
    }
    this.drawTabs();
    if (other) this.body.scrollTop = 0;
    if (tab === "area" || tab === "flame") this.measure();
    this.draw();
    if (other) this.app.changed();
  }

  // measure asks for the sums over the selected area, or over what is in view.
  async measure() {
    const q = this.app.areaQuery();
    const key = JSON.stringify(q);
    if (this.key === key) return;
    this.key = key;
    this.sum = null;
    this.query = q;
    this.flameAt = null;
    this.asking?.abort();
    this.asking = new AbortController();
    try {
      if (!q.tracks.length) throw new Error("no track with slices is in this area");
      this.sum = await data.selection(q, { signal: this.asking.signal });
    } catch (err) {
      if (err.name === "AbortError") return;
      this.key = "";
      this.sum = { error: err.message };
    }
    this.draw();
  }

  // follow sums up what is in view again if that is shown and the view has moved.
  follow() {
    if (!this.app.area && (this.tab === "area" || this.tab === "flame")) this.measure();
  }

  draw() {
    const { app } = this;
    const of = { slice: () => (app.selected?.detail ? this.slice(app.selected.detail) : app.selected?.of ? this.request(app.selected.of) : empty("Click a slice, or move with the arrow keys.")),
      area: () => this.area(), flame: () => this.flame(), findings: () => this.list(), search: () => this.hits(), requests: () => this.requests(), notes: () => this.notes() };
    patch(this.body, of[this.tab]());
    dress(this.body);
  }

  click(event) {
    const { app } = this;
    const el = event.target.closest("[data-act]");
    if (!el) return;
    const { act } = el.dataset;
    if (act === "slice") app.select(el.dataset.id, { reveal: true, tab: el.dataset.stay == null });
    else if (act === "span") app.show(Number(el.dataset.from), Number(el.dataset.to), el.dataset.of);
    else if (act === "same") app.sameName(Boolean(el.dataset.back));
    else if (act === "request") app.toRequest(el.dataset.id);
    else if (act === "sort") (this.sortBy = el.dataset.by, this.draw());
    else if (act === "zoomflame") (this.flameAt = el.dataset.path, this.draw());
    else if (act === "find") {
      $("query").value = el.dataset.name;
      $("regex").checked = false;
      app.search();
    } else if (act === "copy") navigator.clipboard.writeText(location.href).then(() => app.say("link copied"));
  }

  // ---- a slice

  slice(s) {
    const { app } = this;
    const n = app.tree.byID.get(s.track) ?? app.tree.byID.get(s.lane_track);
    const swatch = h("i", { class: "swatch", "data-color": colors(app.info.classes.indexOf(s.class), s.name, app.theme.dark)[3] });
    const launch = s.links.find((l) => l.role === "launch");
    return h("div", { class: "cols" },
      h("section", {}, h("h2", { class: "slicename" }, swatch, s.name),
        h("dl", { class: "facts" },
          fact("Duration", dur(s.dur_ns)), s.self_ns !== s.dur_ns && fact("Self", `${dur(s.self_ns)}, ${percent(s.dur_ns ? s.self_ns / s.dur_ns : 0)}`),
          fact("Start", at(s.start_ns)), s.at_ns && fact("Time of day", new Date(s.at_ns / 1e6).toISOString().replace("T", " ").replace("Z", " UTC")),
          fact("Track", n ? app.tree.label(n) : s.track), fact("Class", `${s.class}${s.category ? ` · ${s.category}` : ""}`),
          launch && fact("Launched", h("span", {}, link(launch), ` ${launch.delay_ns >= 0 ? `${dur(launch.delay_ns)} after its launch` : "while the call ran"}`)),
          s.step && fact("Step", h("span", {}, s.step.slice ? button("slice", { id: s.step.slice }, `${s.step.kind} ${s.step.number}`) : `${s.step.kind} ${s.step.number}`, s.step.batch ? ` batch ${s.step.batch}` : "")),
          s.requests?.length && fact(s.requests.length > 1 ? "Requests" : "Request", s.requests.slice(0, 12).map((id) => [app.requests.some((r) => r.id === id) ? button("request", { id }, id) : h("code", {}, id), " "])))),
      h("section", {}, h("h3", {}, "Others of this name"), this.distribution(s)),
      s.args && h("section", {}, h("h3", {}, "Arguments"), h("dl", { class: "args" }, Object.entries(s.args).map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, typeof v === "string" ? v : JSON.stringify(v)))))),
      s.parents.length > 0 && h("section", {}, h("h3", {}, "Inside"), h("ol", { class: "stack" }, s.parents.map((p) => h("li", {}, link(p), h("span", { class: "quiet" }, ` ${dur(p.dur_ns)}`))))),
      s.links.length > (launch ? 1 : 0) && h("section", {}, h("h3", {}, `Hangs together with ${s.link_count}`), h("ul", { class: "links" }, s.links.filter((l) => l !== launch).slice(0, 100).map((l) =>
        h("li", {}, h("span", { class: "role" }, l.role), link(l), h("span", { class: "quiet" }, ` ${dur(l.dur_ns)}, ${l.delay_ns >= 0 ? `${dur(l.delay_ns)} later` : "overlapping"}${doubt(s, l, app)}`))))));
  }

  distribution(s) {
    const d = s.same;
    const top = Math.max(...d.bins, 1);
    const span = Math.log(d.max_ns + 1) - Math.log(d.min_ns + 1);
    const mine = span > 0 ? Math.min(d.bins.length - 1, Math.floor(((Math.log(s.dur_ns + 1) - Math.log(d.min_ns + 1)) / span) * d.bins.length)) : 0;
    return h("div", {}, d.count > 1 && h("div", { class: "hist", role: "img", "aria-label": `Durations from ${dur(d.min_ns)} to ${dur(d.max_ns)}, median ${dur(d.p50_ns)}` }, d.bins.map((n, i) => h("i", { class: i === mine ? "mine" : "", "data-high": n ? Math.max(3, (100 * n) / top) : 0 }))),
      d.count > 1 && h("p", { class: "ends quiet" }, h("span", {}, dur(d.min_ns)), h("span", {}, "log scale"), h("span", {}, dur(d.max_ns))),
      h("dl", { class: "facts" }, fact("Count", count(d.count)), fact("Total", dur(d.total_ns)), fact("Mean", dur(d.mean_ns)), fact(d.sampled ? "Median, sampled" : "Median", dur(d.p50_ns)), fact("p99", dur(d.p99_ns)),
        fact("Longest", button("slice", { id: d.longest }, dur(d.max_ns))), d.count > 1 && fact("This one", d.rank === 1 ? "the longest" : `${count(d.rank)}${["th", "st", "nd", "rd"][d.rank % 10 > 3 || Math.floor((d.rank % 100) / 10) === 1 ? 0 : d.rank % 10]} longest`)),
      d.count > 1 && h("p", { class: "same" }, button("same", { back: "1" }, "‹ previous"), button("same", { back: "" }, "next ›"), button("find", { name: s.name }, "all of this name"), h("span", { class: "quiet" }, h("kbd", {}, "["), h("kbd", {}, "]"))));
  }

  // ---- an area

  head(q) {
    return h("p", { class: "areahead" }, h("b", {}, dur(q.to - q.from)), ` from ${at(q.from)}, ${plural(q.tracks.length, "track")}`,
      this.sum?.slices != null && `, ${plural(this.sum.slices, "slice")}`, this.sum?.names > this.sum?.ops?.length && `, the first ${this.sum.ops.length} of ${this.sum.names} names`,
      exportLinks("Export", this.app.info.exports ?? [], (format) => data.exportURL({ ...q, format })));
  }

  area() {
    const { app, sum } = this;
    if (!sum) return empty("Adding up …");
    if (sum.error) return empty(sum.error);
    const total = sum.classes.reduce((s, c) => s + c.self_ns, 0) || 1;
    const rows = sum.ops.filter((o) => !this.only || o.name.toLowerCase().includes(this.only.toLowerCase()) || o.class === this.only).sort((a, b) => (this.sortBy === "name" ? a.name.localeCompare(b.name) : b[this.sortBy] - a[this.sortBy]));
    const th = (by, name) => h("th", { scope: "col", class: by === "name" ? "" : "num", "aria-sort": this.sortBy === by ? "descending" : null }, button("sort", { by }, name));
    return h("div", {}, this.head(this.query),
      h("div", { class: "shares", role: "img", "aria-label": sum.classes.map((c) => `${c.class} ${percent(c.self_ns / total)}`).join(", ") }, sum.classes.filter((c) => c.self_ns > 0).map((c) =>
        h("span", { "data-part": (100 * c.self_ns) / total, "data-color": colors(app.info.classes.indexOf(c.class), c.class, app.theme.dark)[3], title: `${c.class}: ${dur(c.self_ns)}, ${plural(c.count, "slice")}` }, piece(c.class, percent(c.self_ns / total))))),
      h("input", { id: "onlyops", type: "search", placeholder: "Filter names", "aria-label": "Filter names", value: this.only, autocomplete: "off" }),
      h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, th("name", "Name"), h("th", { scope: "col" }, "Class"), th("count", "Count"), th("self_ns", "Self"), th("total_ns", "Total"), th("mean_ns", "Mean"), th("max_ns", "Longest"), h("th", { scope: "col" }, "Share of self time"))),
        h("tbody", {}, rows.slice(0, ROWS).map((o) => h("tr", {}, h("td", { class: "opname" }, h("i", { class: "swatch", "data-color": colors(app.info.classes.indexOf(o.class), o.name, app.theme.dark)[3] }), button("slice", { id: o.longest, stay: "" }, o.name)),
          h("td", { class: "quiet" }, o.class), num(count(o.count)), num(dur(o.self_ns)), num(dur(o.total_ns)), num(dur(o.mean_ns)), num(dur(o.max_ns)),
          h("td", { class: "barcell" }, h("i", { class: "bar", "data-part": (70 * o.self_ns) / (rows[0]?.self_ns || 1) }), percent(o.self_ns / total))))))),
      rows.length > ROWS && h("p", { class: "quiet" }, `${count(rows.length - ROWS)} more names; the CSV has them all.`));
  }

  flame() {
    const { app, sum } = this;
    if (!sum) return empty("Adding up …");
    if (sum.error) return empty(sum.error);
    return h("div", {}, this.head(this.query), flameGraph(sum.flame, this.flameAt ?? "", app, "Flame graph, the widest first; the tab beside has it as a table"));
  }

  // ---- lists

  list() {
    if (!this.findings) return empty("Looking for what stands out …");
    if (!this.findings.length) return empty(nothing(this.wrong));
    return h("ul", { class: "findings" }, this.findings.map(findingItem));
  }

  hits() {
    const { app } = this;
    const f = app.found;
    if (!f) return empty("Search with / : names, with “args” arguments too, with “.*” regular expressions.");
    if (!f.count) return empty(`Nothing has “${f.q}”${$("inargs").checked ? "" : "; switch on args to search arguments too"}.`);
    return h("div", {}, h("p", {}, h("b", {}, plural(f.count, "hit")), ` of ${plural(f.names, "name")} on ${plural(f.tracks.length, "track")}`, f.hits.length < f.count && `; the first ${count(f.hits.length)} by time`),
      h("p", { class: "chips" }, [...f.tracks].sort((a, b) => b.count - a.count).slice(0, 12).map((t) => h("span", { class: "chip" }, `${app.tree.byID.get(t.track)?.name ?? t.track} ${count(t.count)}`))),
      h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Name"), h("th", { scope: "col", class: "num" }, "Start"), h("th", { scope: "col", class: "num" }, "Duration"), h("th", { scope: "col" }, "Track"))),
        h("tbody", {}, f.hits.slice(0, ROWS).map((x) => h("tr", {}, h("td", { class: "opname" }, link(x, true)), num(at(x.start_ns)), num(dur(x.dur_ns)), h("td", { class: "quiet" }, app.tree.byID.get(x.track)?.name ?? x.track)))))));
  }

  requests() {
    const { app } = this;
    const stages = [...new Set(app.requests.flatMap((r) => r.spans.map((s) => s.stage)))];
    const by = this.sortRequests || "total";
    const value = (r) => r.end_ns - r.start_ns;
    const rows = [...app.requests].sort((a, b) => (by === "start" ? a.start_ns - b.start_ns : value(b) - value(a)));
    return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Request, slowest first"), ["Start", "Total", "First token", "First output", "Tokens", ...stages].map((n) => h("th", { scope: "col", class: "num" }, n)))),
      h("tbody", {}, rows.slice(0, ROWS).map((r) => h("tr", {}, h("td", {}, button("request", { id: r.id }, r.id)), num(at(r.start_ns)), num(dur(value(r))), num(dur(r.first_ns)), num(dur(r.out_ns)), num(r.tokens ? count(r.tokens) : "–"),
        stages.map((name) => {
          const s = r.spans.filter((x) => x.stage === name);
          return num(s.length ? dur(s.reduce((sum, x) => sum + x.end_ns - x.start_ns, 0)) : "–");
        }))))));
  }

  request(r) {
    const { app } = this;
    const whole = r.end_ns - r.start_ns || 1;
    return h("div", { class: "cols" }, h("section", {}, h("h2", { class: "slicename" }, `Request ${r.id}`), h("dl", { class: "facts" }, fact("Total", dur(r.end_ns - r.start_ns)), fact("Start", at(r.start_ns)), r.first_ns >= 0 && fact("First token", dur(r.first_ns)),
      r.out_ns >= 0 && fact("First output", dur(r.out_ns)), r.tokens > 0 && fact("Tokens", count(r.tokens)))),
    h("section", { class: "wide" }, h("h3", {}, "Its way through the stages"), h("div", { class: "way" }, r.spans.map((s) => h("div", { class: "wayrow" }, button("span", { from: s.start_ns, to: s.end_ns }, s.stage),
      h("span", { class: "waybar" }, h("i", { class: "queue", "data-left": (100 * (s.start_ns - r.start_ns)) / whole, "data-part": (100 * s.queue_ns) / whole }),
        h("i", { "data-left": (100 * (s.start_ns + s.queue_ns - r.start_ns)) / whole, "data-part": Math.max(0.3, (100 * (s.end_ns - s.start_ns - s.queue_ns)) / whole), "data-color": app.stageShades(s.stage)[3] })),
      h("span", { class: "num" }, dur(s.end_ns - s.start_ns), s.queue_ns > 0 && h("span", { class: "quiet" }, `, queue ${dur(s.queue_ns)}`)))))));
  }

  notes() {
    const { app } = this;
    const v = app.info;
    const recorded = new Map((app.recorded?.windows ?? []).map((w) => [w.trace, w]));
    const hidden = app.tree.nodes.reduce((sum, n) => sum + (n.hidden || 0), 0);
    return h("div", { class: "cols" }, h("section", {}, h("h2", {}, "This view"), h("dl", { class: "facts" }, fact("Slices", count(v.slices)), fact("Hidden", count(hidden)), fact("Length", dur(v.end_ns)), v.wall && v.placement === "clock" && fact("Start", new Date(Number(v.start_ns) / 1e6).toISOString().replace("T", " ").replace("Z", " UTC")),
      fact("Clocks", v.traces.length < 2 ? "one trace" : v.placement === "start" ? "each trace begins at 0: they were recorded at different times, or have no wall clock" : `agree to ±${dur(v.uncertainty_ns)}`), app.recorded?.windows.length > 1 && fact("Recorded", recordedText(app.recorded)), fact("Read in", dur(v.read_ms * 1e6)),
      fact("Last answer", dur(Math.round(app.store.lastMs * 1e6))), fact("Link", button("copy", {}, "copy a link to this view")))),
    h("section", { class: "wide" }, h("h2", {}, "Traces"), h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["File", "Stage", "Rank", "Format"].map((n) => h("th", { scope: "col" }, n)), ["Slices", ...(recorded.size ? ["Recorded from", "Recorded for"] : []), "Clock ±"].map((n) => h("th", { scope: "col", class: "num" }, n)), h("th", { scope: "col" }, "Note"))),
      h("tbody", {}, v.traces.map((t) => h("tr", {}, h("td", { class: "opname", title: t.label }, t.label.split("/").pop()), h("td", {}, t.stage ?? "–"), h("td", {}, t.rank >= 0 ? `${t.replica ? `${t.replica}.` : ""}${t.rank}` : "–"), h("td", {}, t.format), num(count(t.slices)), recorded.size > 0 && windowCells(recorded.get(t.index)), num(t.clock_error_ns >= 1e9 ? "not probed" : dur(t.clock_error_ns)), h("td", { class: t.note ? "warn" : "" }, t.note ?? ""))),
        v.failed.map((f) => h("tr", {}, h("td", { class: "opname", title: f.path }, f.path.split("/").pop()), h("td", { colspan: String(6 + (recorded.size ? 2 : 0)), class: "bad" }, f.error))),
        (v.left ?? []).map((f) => h("tr", {}, h("td", { class: "opname", title: f.path }, f.path.split("/").pop()), h("td", { colspan: String(6 + (recorded.size ? 2 : 0)), class: "quiet" }, `not shown: ${f.error}`))))))));
  }
}

// recordedText says how well the ranks of a session recorded together.
const recordedText = (r) => {
  if (!r.together) return "each trace lies from its own start: how the ranks' windows lie to each other is not shown";
  const all = r.common_ns > 0 ? `all ranks for ${dur(r.common_ns)}` : "never by all ranks at once";
  const told = r.agreed_ns == null ? "" : `, told to begin at ${at(r.agreed_ns, 1e3)}`;
  return `${all}; the first and the last began ${dur(r.skew_ns)} apart${told}`;
};

const windowCells = (w) => (w ? [num(at(w.from_ns, 1e3)), num(w.open ? "end not measured" : dur(w.to_ns - w.from_ns))] : [num("–"), num("–")]);

// doubt is the error, in ns, of the distance between slices on different clocks.
const doubt = (s, l, app) => (l.track.split(":")[0] !== s.track.split(":")[0] && app.info.uncertainty_ns > 0 ? ` ±${dur(app.info.uncertainty_ns)}` : "");

// nothing says that nothing stands out, and where it is said of how many traces something is wrong.
export const nothing = (wrong) => `Nothing stands out.${wrong ? ` Of ${plural(wrong, "trace")} something is wrong: see About.` : ""}`;

// findingItem is a finding in a list, a click from its slice, or from the time and the rank that it is of. A sentence
// that begins with its place has no place below it.
export const findingItem = (f) => h("li", { class: f.severity }, h("span", { class: "sev" }, f.severity),
  f.slice ? button("slice", { id: f.slice }, f.text)
    : f.end_ns > f.start_ns ? button("span", { from: f.start_ns, to: f.end_ns, of: f.track ? `trace:${f.track.split(":")[0]}` : "" }, f.text) : h("span", {}, f.text),
  f.where && !f.text.startsWith(`${f.where}: `) && h("span", { class: "quiet" }, f.where));

const empty = (text) => h("p", { class: "empty quiet" }, text);
const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
const button = (act, more, ...content) => h("button", { type: "button", class: "link", "data-act": act, ...Object.fromEntries(Object.entries(more).map(([k, v]) => [`data-${k}`, v])) }, content);
const link = (ref, stay = false) => button("slice", { id: ref.id, ...(stay ? { stay: "" } : {}) }, ref.name);
