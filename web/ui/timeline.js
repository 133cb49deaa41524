// The timeline's page: it reads a run's view and draws it. What the reader looks at and chooses is
// kept in the address, so that a link shows the same elsewhere.
import { h, patch, plain } from "./dom.js";
import * as data from "./tl-data.js";
import { bindExports } from "./exports.js";
import { bindInput } from "./tl-input.js";
import { Pane } from "./tl-pane.js";
import { Panel } from "./tl-panel.js";
import { Report } from "./rp-page.js";
import { busyCells, CELLS, Ruler } from "./tl-ruler.js";
import { firstKey, lock } from "./login.js";
import { bindTheme } from "./theme.js";
import { amount, canvasTheme, stageShades } from "./tl-shell.js";
import { measure } from "./tl-size.js";
import { MOST, Store } from "./tl-store.js";
import { isLeaf, Tree } from "./tl-tree.js";
import { at } from "./tl-units.js";
import { bytes, count, dur, plural } from "./units.js";
import { bindDrop } from "./upload.js";

/** @type {(id: string) => any} an element of the page, of its own kind */
const $ = (id) => document.getElementById(id);
const READING_MS = 250; // between looks at a run that is being read
const LEAST_NS = 20; // across the screen
const AROUND = 0.05; // room beside what is fitted
const ADDRESS_MS = 250; // from the last change to the address

const app = {
  info: null, tree: new Tree(), win: { t0: 0, t1: 1, limit: [0, 1] }, ticks: [], marks: [], area: null, selected: null, cursor: null,
  handoffs: [], stepSpans: new Map(), steps: [], requests: [], recorded: null, derived: [], path: null, view: "timeline", pack: "auto", showArrows: true, theme: {}, indent: 12, lit: null, found: null,
};

app.stageShades = (stage) => stageShades(app.requests, stage, app.theme.dark);

// say tells a screen reader what changed.
app.say = (text) => { $("said").textContent = plain(text); };

app.amount = amount;

// ---- drawing

let asked = 0; // the frame that is asked for
app.draw = () => {
  asked ||= requestAnimationFrame(frame);
};

function frame() {
  asked = 0;
  if (!app.info) return;
  const began = performance.now();
  app.ruler.measure();
  const all = [];
  for (const p of [app.pinned, app.main]) {
    p.draw();
    for (const i of p.visible(200)) {
      if (isLeaf(i.node) && !(p === app.main && i.h === 0)) all.push(i.node);
      else if (i.folded) all.push(app.tree.busiest(i.node) ?? i.node);
    }
  }
  app.ruler.draw();
  app.store.want(all, app.win, app.main.width);
  app.frameMs = performance.now() - began;
}

// still reports whether the page shows everything that it will show: nothing moves, no answer is
// under way, the address matches the page. Tests wait for it.
app.still = () => Boolean(app.info?.state === "ready" && app.panel?.findings && app.store.held.size > 0 && !asked && !app.gliding && !timer &&
  !app.store.busy && !app.store.next && !data.waiting() && (app.view === "timeline" || app.report.whole));

app.layout = () => {
  const pinned = app.tree.pinnedLayout();
  $("pinned").hidden = pinned.items.length === 0;
  $("pinned").style.height = `${Math.min(pinned.height, innerHeight * 0.35)}px`;
  app.pinned.set(pinned);
  const tracks = app.tree.layout();
  app.main.set(tracks);
  const none = app.tree.filter && !tracks.items.length;
  $("unmatched").hidden = !none;
  patch($("unmatched"), none && [h("span", {}, `No ${pinned.items.length ? "other " : ""}track has “${app.tree.filter}” in its name.`), h("button", { type: "button" }, "Show all tracks")]);
  app.resize();
};

// filterTracks shows the tracks with text in their names; all without one.
app.filterTracks = (text) => {
  app.tree.filter = text;
  app.layout();
  app.changed();
};

app.resize = () => {
  if (measure()) return app.layout(); // which comes here again
  const left = $("corner").getBoundingClientRect().width;
  app.indent = left < 180 ? 5 : 12;
  const width = Math.max(50, $("tracks").clientWidth - left);
  app.main.resize(width, left);
  app.pinned.resize(width, left);
  app.ruler.resize(width);
  app.draw();
};

// ---- the window

app.setWindow = (t0, t1) => {
  const whole = Math.max(1, app.info.end_ns);
  const span = Math.min(Math.max(t1 - t0, LEAST_NS), whole * 1.2);
  const mid = (t0 + t1) / 2;
  const start = Math.min(Math.max(mid - span / 2, -whole * 0.1), whole * 1.1 - span);
  app.win = { t0: start, t1: start + span, limit: [0, whole] };
  app.changed();
  app.draw();
};

app.zoom = (factor, around) => {
  const t = around ?? app.cursor ?? (app.win.t0 + app.win.t1) / 2;
  app.setWindow(t - (t - app.win.t0) * factor, t + (app.win.t1 - t) * factor);
};

app.pan = (share) => {
  const d = (app.win.t1 - app.win.t0) * share;
  app.setWindow(app.win.t0 + d, app.win.t1 + d);
};

// show fits a stretch of time into the window; of is the track, or the group of tracks, to begin the list with, if any.
app.show = (from, to, of = "") => {
  const n = app.tree.byID.get(of);
  if (n) {
    unfold(app.tree.above(n));
    app.main.el.scrollTop = app.main.itemOf.get(n)?.y ?? app.main.el.scrollTop;
  }
  const room = Math.max(LEAST_NS, to - from) * AROUND;
  app.glide(from - room, to + room);
};

// glide moves the window in a few frames, so that the eye can follow; at once for readers who
// prefer no motion.
app.glide = (t0, t1) => {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return app.setWindow(t0, t1);
  const [a0, a1] = [app.win.t0, app.win.t1];
  const began = performance.now();
  const id = (app.gliding = Symbol("glide"));
  const step = (now) => {
    if (app.gliding !== id) return;
    const x = Math.min(1, (now - began) / 160);
    const e = 1 - (1 - x) ** 3;
    app.setWindow(a0 + (t0 - a0) * e, a1 + (t1 - a1) * e);
    if (x < 1) requestAnimationFrame(step);
    else app.gliding = null;
  };
  requestAnimationFrame(step);
};

app.fit = () => {
  const s = app.selected?.detail;
  if (app.area) app.show(app.area.from, app.area.to);
  else if (s) app.show(s.start_ns, s.start_ns + s.dur_ns);
  else app.glide(0, app.info.end_ns);
};

// ---- the views

// turnTo shows the timeline or the report as a step that the browser's Back takes back.
app.turnTo = (view) => {
  if (view === app.view) return;
  writeAddress();
  history.pushState(null, "", location.href);
  app.setView(view);
};

// setView shows the timeline or the report.
app.setView = (view) => {
  app.view = view;
  document.body.dataset.view = view;
  for (const b of $("views").children) b.setAttribute("aria-pressed", String(b.dataset.view === view));
  for (const id of ["stage", "panel", "find", "pack", "arrows", "fit"]) $(id).classList.toggle("away", view !== "timeline");
  if (view === "report") app.report.open();
  else {
    $("report").hidden = true;
    app.resize();
  }
  app.changed();
};

app.toRequest = (id) => {
  const r = app.requests.find((x) => x.id === id);
  if (!r) return;
  app.show(r.start_ns, r.end_ns);
  app.selectRequest(r);
};

// toTrack selects a whole track, or all tracks of a group.
app.toTrack = (id) => {
  const n = app.tree.byID.get(id);
  app.glide(0, app.info.end_ns);
  app.setArea(0, app.info.end_ns, n ? new Set([id]) : null);
};

// showPath draws the critical path of a trace over the timeline; null removes it.
app.showPath = async (trace) => {
  app.path = null;
  app.tree.path = null;
  if (trace != null) {
    try {
      app.path = { trace, ...(await data.criticalPath({ trace, px: 4000 })), column: app.info.end_ns / 4000 };
      app.tree.path = { trace, total: app.path.total_ns };
      app.path.lit = new Set(app.path.on_path.map((id) => Number(id.split(".")[1])));
    } catch (err) {
      app.fail(err);
    }
  }
  arrange(app.served);
  app.main.el.scrollTop = 0;
  app.changed();
};

// closerPath asks for the path in the window if the path at hand is too coarse or incomplete.
let closing = 0;
app.closerPath = () => {
  const p = app.path;
  if (!p) return;
  const column = (app.win.t1 - app.win.t0) / app.main.width;
  if (p.column <= column * 1.5 && (p.from == null || p.from <= app.win.t0 && p.to >= app.win.t1)) return;
  clearTimeout(closing);
  closing = setTimeout(async () => {
    const span = app.win.t1 - app.win.t0;
    const q = { trace: p.trace, from: app.win.t0 - span, to: app.win.t1 + span, px: Math.min(MOST, 3 * app.main.width) };
    const got = await data.criticalPath(q).catch(() => null);
    if (!got || app.path?.trace !== p.trace) return;
    app.path = { trace: p.trace, ...got, column: (q.to - q.from) / q.px, from: q.from, to: q.to, lit: new Set(got.on_path.map((id) => Number(id.split(".")[1]))) };
    app.draw();
  }, 150);
};

// ---- choosing

// unfold opens the folded ones of groups and tracks.
function unfold(nodes) {
  const folded = nodes.filter((p) => app.tree.isFolded(p));
  for (const p of folded) app.tree.folded.set(p.id, false);
  if (folded.length) app.layout();
}

app.reveal = (ref) => {
  const id = app.tree.byID.has(ref.lane_track) ? ref.lane_track : ref.track;
  const n = app.tree.byID.get(id);
  if (!n) return;
  if (app.tree.filter && !app.tree.matches(n)) {
    app.filterTracks($("filter").value = "");
  }
  unfold([...app.tree.above(n), n]);
  const place = app.main.placeOf(ref);
  if (!place) return;
  const { scrollTop, clientHeight } = app.main.el;
  if (place.y < scrollTop || place.y + place.h > scrollTop + clientHeight) app.main.el.scrollTop = place.y - clientHeight / 3;
  const [a, b] = [ref.start_ns, ref.start_ns + ref.dur_ns];
  if (b < app.win.t0 || a > app.win.t1 || (b - a) / (app.win.t1 - app.win.t0) < 0.002) {
    const span = Math.min(app.win.t1 - app.win.t0, Math.max((b - a) * 20, 2000));
    app.glide((a + b) / 2 - span / 2, (a + b) / 2 + span / 2);
  }
};

let choosing = null;
app.select = async (id, { reveal = false, tab = true } = {}) => {
  choosing?.abort();
  choosing = new AbortController();
  try {
    const detail = await data.detail(id, { signal: choosing.signal });
    app.selected = { id, detail };
    app.area = null;
    if (reveal) app.reveal(detail);
    app.panel.show("slice", { open: tab });
    app.say(`${detail.name}, ${dur(detail.dur_ns)}, at ${at(detail.start_ns)}, on ${app.tree.label(app.tree.byID.get(detail.track) ?? app.tree.byID.get(detail.lane_track) ?? { name: "", parent: "" })}`);
    app.changed();
    app.draw();
  } catch (err) {
    if (err.name !== "AbortError") app.fail(err);
  }
};

app.selectRequest = (r) => {
  app.selected = { request: r.id, of: r };
  app.area = null;
  app.panel.show("slice", { open: true });
  app.changed();
  app.draw();
};

app.setArea = (from, to, tracks) => {
  app.area = { from: Math.min(from, to), to: Math.max(from, to), tracks };
  app.selected = null;
  app.panel.show("area", { open: true });
  app.changed();
  app.draw();
};

app.clear = () => {
  app.area = null;
  app.selected = null;
  app.panel.show(app.panel.tab === "slice" ? "findings" : app.panel.tab);
  app.changed();
  app.draw();
};

app.sameName = async (back) => {
  if (!app.selected?.id) return;
  const ref = await data.next(app.selected.id, back).catch(app.fail);
  if (ref) app.select(ref.id, { reveal: true });
  else app.say(back ? "no slice of this name before" : "no further slice of this name");
};

// areaQuery returns the window and the tracks of the selected area, or else those in view, and whether they are all.
app.areaQuery = () => {
  const a = app.area ?? { from: app.win.t0, to: app.win.t1 };
  const chosen = [...(a.tracks ?? [])].map((id) => app.tree.byID.get(id)).filter(Boolean);
  const leaves = (chosen.length ? chosen : app.main.items.map((i) => i.node)).flatMap((n) => app.tree.leaves(n));
  const tracks = [...new Set(leaves.filter((n) => n.slices).map((n) => n.id))];
  const every = tracks.length === [...app.tree.byID.values()].filter((n) => isLeaf(n) && n.slices).length;
  return { from: Math.floor(a.from), to: Math.ceil(a.to), tracks, every };
};

// ---- searching

// question returns the content of the search fields.
const question = () => ({ q: $("query").value.trim(), regex: $("regex").checked, args: $("inargs").checked });

// searched reports whether the hits at hand answer the content of the search fields.
app.searched = () => {
  const want = question();
  return Object.keys(want).every((k) => app.found?.asked[k] === want[k]);
};

let searching = null;

// search shows the hits for the content of the search fields. It returns false if a later search
// has replaced it.
app.search = async () => {
  const asked = question();
  const { q, regex } = asked;
  searching?.abort();
  if (!q) {
    app.found = null;
    app.lit = null;
    patch($("hits"));
    app.changed();
    app.draw();
    return false;
  }
  searching = new AbortController();
  let ended = false;
  try {
    const found = await data.search(asked, { signal: searching.signal });
    app.found = { ...found, q, asked, at: -1 };
    patch($("hits"), found.count ? count(found.count) : "none");
    const match = matcher(q, regex, found);
    const memo = new WeakMap();
    app.lit = match && ((d) => {
      if (!memo.has(d.names)) memo.set(d.names, d.names.map(match));
      return memo.get(d.names);
    });
    app.panel.show("search", { open: true });
    app.say(`${found.count} hits`);
    ended = true;
  } catch (err) {
    if (err.name === "AbortError") return false;
    patch($("hits"), h("span", { class: "bad", title: err.message }, "?"));
    app.say(err.message);
  }
  app.changed();
  app.draw();
  return ended;
};

// matcher highlights the names that the server found; a hit in arguments highlights the slice's
// name.
function matcher(q, regex, found) {
  const names = new Set(found.hits.map((x) => x.name.slice(0, 160)));
  if ($("inargs").checked) return (n) => names.has(n);
  if (regex) return found.count === found.hits.length ? (n) => names.has(n) : (n) => names.has(n) || safeTest(q, n);
  const fold = q === q.toLowerCase();
  return (n) => (fold ? n.toLowerCase() : n).includes(q);
}

const safeTest = (q, n) => {
  try {
    return new RegExp(q, q === q.toLowerCase() ? "i" : "").test(n);
  } catch {
    return false; // regular expressions of Go and JavaScript differ
  }
};

app.hit = (step) => {
  const f = app.found;
  if (!f?.hits.length) return;
  const s = app.selected?.detail;
  if (f.at < 0 && s) f.at = f.hits.findIndex((x) => x.start_ns >= s.start_ns) - (step > 0 ? 1 : 0);
  f.at = (f.at + step + f.hits.length) % f.hits.length;
  patch($("hits"), `${count(f.at + 1)} of ${count(f.count)}`);
  app.select(f.hits[f.at].id, { reveal: true, tab: false });
};

// ---- the address

let timer = 0; // runs while the address waits for the next change
app.changed = () => {
  clearTimeout(timer);
  timer = setTimeout(writeAddress, ADDRESS_MS);
};

const keep = (params, name, value) => value && params.set(name, value);

function writeAddress() {
  timer = 0;
  if (!app.info) return;
  const p = new URLSearchParams();
  p.set("t", `${Math.round(app.win.t0)}-${Math.round(app.win.t1)}`.replace(/^-/, "m"));
  keep(p, "s", app.selected?.id);
  keep(p, "r", app.selected?.request);
  if (app.area) p.set("area", `${Math.round(app.area.from)}~${Math.round(app.area.to)}~${[...(app.area.tracks ?? [])].join(",")}`);
  keep(p, "q", app.found?.q);
  keep(p, "re", $("regex").checked ? "1" : "");
  keep(p, "args", $("inargs").checked ? "1" : "");
  keep(p, "pin", app.tree.pinned.join(","));
  keep(p, "fold", [...app.tree.folded].filter(([, v]) => v).map(([k]) => k).join(","));
  keep(p, "open", [...app.tree.folded].filter(([, v]) => !v).map(([k]) => k).join(","));
  keep(p, "pack", app.pack === "auto" ? "" : app.pack);
  keep(p, "noarrows", app.showArrows ? "" : "1");
  keep(p, "sort", app.tree.sort);
  keep(p, "filter", app.tree.filter);
  keep(p, "m", app.marks.map(Math.round).join(","));
  keep(p, "view", app.view === "timeline" ? "" : app.view);
  keep(p, "path", app.path ? String(app.path.trace) : "");
  keep(p, "tab", app.panel.tab);
  keep(p, "y", Math.round(app.main.el.scrollTop) || "");
  if (app.view === "timeline") app.panel.follow();
  history.replaceState(null, "", `#${p.toString().replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%7E", "~")}`);
}

function readAddress() {
  const p = new URLSearchParams(location.hash.slice(1));
  const ids = (name) => (p.get(name) ?? "").split(",").filter(Boolean);
  app.pack = p.get("pack") ?? "auto";
  app.showArrows = !p.get("noarrows");
  app.tree.sort = $("sort").value = p.get("sort") ?? "";
  app.tree.filter = $("filter").value = p.get("filter") ?? "";
  app.tree.pinned = ids("pin");
  for (const id of ids("fold")) app.tree.folded.set(id, true);
  for (const id of ids("open")) app.tree.folded.set(id, false);
  app.marks = ids("m").map(Number).filter(Number.isFinite);
  $("query").value = p.get("q") ?? "";
  $("regex").checked = p.has("re");
  $("inargs").checked = p.has("args");
  return p;
}

// goBack shows what the address says now: the reader went back or forward, or changed it.
async function goBack() {
  if (!app.report) return;
  clearTimeout(timer);
  timer = 0;
  const was = app.pack;
  app.tree.folded.clear();
  const p = readAddress();
  Object.assign(app, { area: null, selected: null, found: null, lit: null, gliding: null });
  patch($("hits"));
  app.tree.path = null;
  app.path = null;
  $("arrows").setAttribute("aria-pressed", String(app.showArrows));
  if (was === app.pack) arrange(app.served);
  else await app.load().catch(app.fail);
  applyAddress(p);
  const view = p.get("view") === "report" ? "report" : "timeline";
  if (view !== app.view) app.setView(view);
}

function applyAddress(p) {
  const t = /^(m?)(\d+)-(\d+)$/.exec(p.get("t") ?? "");
  app.setWindow(t ? (t[1] ? -1 : 1) * Number(t[2]) : -app.info.end_ns * 0.01, t ? Number(t[3]) : app.info.end_ns * 1.01);
  const area = (p.get("area") ?? "").split("~");
  if (area.length === 3) app.setArea(Number(area[0]), Number(area[1]), area[2] ? new Set(area[2].split(",")) : null);
  if (p.get("s")) app.select(p.get("s"), { reveal: !t, tab: false });
  if (p.get("r")) app.analysed.then(() => {
    const r = app.requests.find((x) => x.id === p.get("r"));
    if (r) app.selectRequest(r);
  });
  if ($("query").value) app.search();
  app.main.el.scrollTop = Number(p.get("y")) || 0;
  if (p.get("path")) app.showPath(Number(p.get("path")));
  if (p.get("view") === "report") app.setView("report");
  const tab = p.get("tab");
  if (tab === "requests") app.analysed.then(() => app.panel.show(tab));
  else if (tab) app.panel.show(tab);
}

// ---- starting

app.fail = (err) => {
  if (err?.status === 401) return lock();
  notice(`${err.message}${err.hint ? ` – ${err.hint}` : ""}`, true);
};

function notice(text, bad = false) {
  $("notice").hidden = !text;
  $("notice").className = bad ? "bad" : "";
  patch($("notice"), text && h("span", {}, text), text && h("button", { type: "button", "data-act": "dismiss", "aria-label": "Dismiss" }, "×"));
}

// state shows something in place of a timeline: progress, an error, or that there is nothing.
function state(...content) {
  $("state").hidden = !content.length;
  patch($("state"), content);
}

function reading(p) {
  const share = p.size_bytes ? p.read_bytes / p.size_bytes : 0;
  return h("div", { class: "card" }, h("h2", {}, "Reading"),
    h("progress", { max: "1", value: p.size_bytes ? String(share) : null, "aria-label": "Read so far" }),
    h("p", {}, p.size_bytes ? `${bytes(p.read_bytes)} of ${bytes(p.size_bytes)}, ${count(p.events)} events` : "Looking at the files …"),
    h("p", { class: "quiet" }, `${plural(p.files || 1, "file")}, ${dur(p.elapsed_ms * 1e6)} so far`));
}

async function read() {
  for (;;) {
    try {
      const v = await data.view();
      if (v.state === "ready") return v;
      state(reading(v.progress));
    } catch (err) {
      if (err.status !== 401) throw err;
      await lock();
    }
    await new Promise((r) => setTimeout(r, READING_MS));
  }
}

const UNPROBED_NS = 1e9; // assumed error of clocks that were not compared

function facts(v) {
  const hidden = app.tree.nodes.reduce((sum, n) => sum + (n.hidden || 0), 0);
  return [plural(v.slices, "slice"), `${count(hidden)} hidden`, v.traces.length > 1 && plural(v.traces.length, "trace"), dur(v.end_ns),
    v.uncertainty_ns > 0 && (v.uncertainty_ns >= UNPROBED_NS ? "clocks not probed" : `clocks ±${dur(v.uncertainty_ns)}`), v.placement === "start" && v.traces.length > 1 && "each from its own start"].filter(Boolean).join(" · ");
}

// load lists the tracks. Steps, requests and hand-offs need an analysis and follow when it is done.
app.load = async () => {
  const nodes = await data.tracks(app.pack);
  app.store.clear();
  arrange(nodes);
  const packed = nodes.some((n) => n.packed);
  $("pack").setAttribute("aria-pressed", String(packed));
  $("pack").hidden = !nodes.some((n) => n.streams > 1);
  app.main.canvas.setAttribute("aria-label", `Timeline of ${facts(app.info)}. The tab In view has it as a table.`);
  app.readOverview().catch(app.fail);
  if (app.analysed) return;
  if (app.info.traces.length > 1) data.windows().then((recorded) => {
    app.recorded = recorded;
    arrange(app.served);
    app.panel.draw();
  }, app.fail);
  app.analysed = Promise.all([data.steps({ px: 2000 }), data.requests(), app.info.traces.length > 1 ? data.arrows({ from: -1, to: app.info.end_ns + 1 }) : []]).then(([steps, requests, handoffs]) => {
    Object.assign(app, { steps, requests, handoffs });
    app.stepSpans = new Map(steps.map((s) => [s.trace, s]));
    arrange(app.served);
    app.panel.drawTabs();
  }, app.fail);
  app.analysed.then(data.derived).then((derived) => {
    app.derived = derived;
    arrange(app.served);
  }).catch(app.fail);
};

// withDerived puts computed counters first in the nodes that they belong to.
function withDerived(nodes, derived) {
  const ids = new Set(nodes.map((n) => n.id));
  const of = (n) => derived.filter((d) => d.parent === n.id);
  return [...derived.filter((d) => !ids.has(d.parent)).map((d) => ({ ...d, parent: "" })), ...nodes.flatMap((n) => [n, ...of(n)])];
}

function arrange(nodes) {
  app.served = nodes;
  app.tree.set(withDerived(nodes, app.derived), app.steps, app.requests, app.recorded);
  patch($("facts"), facts(app.info));
  $("facts").title = facts(app.info);
  $("arrows").hidden = !app.handoffs.length;
  $("arrows").setAttribute("aria-pressed", String(app.showArrows));
  app.layout();
}

// readOverview asks once how busy each trace was over the whole time.
app.readOverview = async () => {
  const best = new Map();
  for (const n of app.tree.nodes) {
    if (n.kind !== "thread" && n.kind !== "stream" && n.kind !== "lane") continue;
    const b = best.get(n.trace);
    const device = n.kind === "thread" ? 0 : 1;
    if (!b || device > b.device || device === b.device && n.busy_ns > b.busy) best.set(n.trace, { id: n.id, busy: n.busy_ns, device });
  }
  const tracks = [...best.values()].map((b) => b.id).slice(0, 32);
  if (!tracks.length) return;
  const d = await data.slices({ from: 0, to: app.info.end_ns, px: CELLS, tracks });
  app.overview = tracks.map((id) => busyCells(d, id, app.info.end_ns));
  app.draw();
};

// closer asks for the steps of the window if those at hand were merged.
let closer = 0;
app.closerSteps = () => {
  clearTimeout(closer);
  closer = setTimeout(async () => {
    if (!app.steps.some((s) => s.steps.some((x) => x.count > 1)) && !app.stepsCut) return;
    app.stepsCut = true;
    const span = app.win.t1 - app.win.t0;
    const got = await data.steps({ from: app.win.t0 - span, to: app.win.t1 + span, px: 4000 }).catch(() => null);
    if (!got) return;
    app.stepSpans = new Map(got.map((s) => [s.trace, s]));
    app.draw();
  }, 200);
};

async function start() {
  readTheme();
  await firstKey();
  let v;
  try {
    v = await read();
  } catch (err) {
    document.body.dataset.view = "none"; // nothing to search, fold or sum up
    return state(h("div", { class: "card" }, h("h2", {}, "This cannot be shown"), h("p", { class: "bad" }, err.message), err.hint && h("p", {}, err.hint),
      err.status === 404 ? h("p", {}, h("a", { href: "/" }, "What this server shows")) : h("p", { class: "quiet" }, "kinetoscope inspect FILE says what is in a file and what had to be repaired.")));
  }
  app.info = v;
  $("toruns").hidden = !v.runs;
  if (v.runs) $("toruns").href = "/runs";
  if (v.runs) bindDrop((text, err) => notice(err?.hint ? `${text} – ${err.hint}` : text, Boolean(err)));
  document.title = plain(`${v.title} · Kinetoscope`);
  patch($("title"), v.title);
  $("title").title = plain(v.detail ?? "");
  app.store = new Store(app.draw, app.fail);
  app.pinned = new Pane($("pinned"), app);
  app.main = new Pane($("tracks"), app);
  app.ruler = new Ruler($("ruler"), app);
  app.panel = new Panel($("panel"), $("tabs"), $("body"), app);
  app.report = new Report($("report"), app);
  const p = readAddress();
  try {
    state();
    await app.load();
  } catch (err) {
    return state(h("div", { class: "card" }, h("h2", {}, "This cannot be shown"), h("p", { class: "bad" }, err.message)));
  }
  bindInput(app);
  bindExports(app.fail, app.say);
  if (!v.slices) state(h("div", { class: "card" }, h("h2", {}, "No slices"), h("p", {}, "The traces were read and hold no slices: nothing was recorded while the profiler was on, or the window was empty."),
    h("p", { class: "quiet" }, v.traces.map((t) => t.label).join(", "))));
  const noted = v.traces.filter((t) => t.note);
  const wrong = v.failed.length + noted.length;
  const first = (list) => `${list.slice(0, 2).join("; ")}${list.length > 2 ? " …" : ""}`;
  const name = (path) => path.split("/").pop();
  const said = [v.failed.length && `${plural(v.failed.length, "trace")} could not be shown: ${first(v.failed.map((f) => `${name(f.path)}: ${f.error}`))}`, noted.length && first(noted.map((t) => `${t.stage ? `${t.stage} rank ${t.rank}` : name(t.label)}: ${t.note}`))].filter(Boolean);
  if (said.length) notice(`${said.join(". ")}${noted.length > 2 ? " About has all." : ""}`, v.failed.length > 0);
  app.panel.start(wrong);
  applyAddress(p);
  new ResizeObserver(app.resize).observe($("stage"));
}

$("notice").addEventListener("click", (event) => event.target.dataset.act === "dismiss" && notice(""));

function redraw() {
  if (!app.report) return;
  app.draw();
  app.panel.draw();
  app.report.draw();
}
const readTheme = bindTheme(() => {
  app.theme = canvasTheme();
  redraw();
});
$("views").addEventListener("click", (event) => event.target.dataset.view && app.info && app.turnTo(event.target.dataset.view));
addEventListener("popstate", goBack);
start();
globalThis.kinetoscope = app; // for the console, and for tests
