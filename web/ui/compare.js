// The page of two runs, or files: what they are, what changed, and their timelines locked
// together. What the reader chose is in the address, so that a link shows the same elsewhere.
import * as api from "./api.js";
import { of } from "./cmp-data.js";
import { ALL_TRACES, Both } from "./cmp-lanes.js";
import { header, kindName, latency, mark, steps, where } from "./cmp-parts.js";
import { flames, ops } from "./cmp-work.js";
import { dress, h, patch, plain } from "./dom.js";
import { waiting } from "./tl-data.js";
import { bindExports } from "./exports.js";
import { firstKey, lock } from "./login.js";
import { bindTheme } from "./theme.js";
import { canvasTheme } from "./tl-shell.js";
import { at } from "./tl-units.js";
import { bytes, count, dur, plural } from "./units.js";

/** @type {(id: string) => any} an element of the page, of its own kind */
const $ = (id) => document.getElementById(id);
const READING_MS = 300; // between looks at runs that are being read
const ADDRESS_MS = 250; // from the last change to the address
const AROUND = 1.25; // steps that the first window shows

const SECTIONS = [header, latency, steps, where, ops, flames];

const app = { ids: {}, whole: null, pair: { a: 0, b: 0 }, traces: null, flame: null, stepTimes: null, overview: {}, theme: {}, both: null, ready: false,
  choice: { by: "delta", up: false, only: "", on: "all", sure: false, unchanged: false, all: "", of: "", width: "both", at: "" } };

app.viewOf = (side) => `/view/${encodeURIComponent(app.ids[side])}`;
app.flameOf = () => app.choice.of || (app.traces?.diff.rows?.some((r) => r.device) ? "device" : "host");
app.pairName = () => app.pair.a === ALL_TRACES ? `all ${plural(app.whole.pairs.length, "pair")} of traces together` : app.whole.pairs.find((p) => p.a === app.pair.a && p.b === app.pair.b)?.name ?? app.whole.a.traces[app.pair.a];

// stepName is whose steps are shown one by one.
app.stepName = () => (app.pair.a === ALL_TRACES ? app.whole.pairs[0].name : app.pairName());

// pairsWithTime are the pairs of traces of which both have a breakdown of their time.
app.pairsWithTime = () => (app.overview.a && app.overview.b ? app.whole.pairs : []).map((p) => ({ name: p.name, a: app.overview.a.traces[p.a], b: app.overview.b.traces[p.b] }))
  .filter((p) => p.a?.parts.length && p.b?.parts.length).slice(0, 32);

const say = (text) => { $("said").textContent = plain(text); };

function fail(err) {
  if (err?.status === 401) return void lock();
  $("notice").hidden = false;
  $("notice").className = "bad";
  patch($("notice"), h("span", {}, `${err.message}${err.hint ? ` – ${err.hint}` : ""}`), h("button", { type: "button", "data-act": "dismiss", "aria-label": "Dismiss" }, "×"));
}

// state shows something in place of a comparison: a choice of runs, progress, an error.
function state(...content) {
  $("state").hidden = !content.length;
  for (const id of ["contents", "sections", "lanes"]) $(id).hidden = content.length > 0;
  patch($("state"), content);
}

// ---- sections

function draw() {
  if (!app.whole) return;
  const width = Math.max(240, $("sections").clientWidth - 42);
  const list = SECTIONS.filter((s) => !s.has || s.has(app));
  patch($("sections"), list.map((s) => h("section", { class: "part", id: `part-${s.id}`, "data-key": s.id, "aria-labelledby": `h-${s.id}` },
    h("h2", { id: `h-${s.id}` }, s.title, s.note && h("small", {}, s.note(app))), s === header && pairPicker(), s.draw(app, width))));
  dress($("sections"));
  patch($("contents"), [...list.map((s) => [s.id, s.title]), ["lanes", "Timelines"]].map(([id, title]) => h("button", { type: "button", class: "link", "data-key": id, "data-act": "part", "data-id": id === "lanes" ? id : `part-${id}` }, title)));
}

// pairPicker selects the traces that are compared name by name.
function pairPicker() {
  const { pairs } = app.whole;
  if (pairs.length < 2) return null;
  return h("div", { class: "picks" }, h("label", { class: "pick" }, "Operators, flame graph and timelines of ", h("select", { id: "pair", "aria-label": "Which ranks are compared" }, h("option", { value: `${ALL_TRACES}/${ALL_TRACES}`, selected: app.pair.a === ALL_TRACES }, "all together"), pairs.map((p) => h("option", { value: `${p.a}/${p.b}`, selected: p.a === app.pair.a && p.b === app.pair.b }, p.name)))));
}

// ---- the lock

// stepsOf returns the steps of one side that have the kind, in order.
function stepsOf(side, kind) {
  const t = app.stepTimes?.[side];
  const k = t ? t.kinds.findIndex((x) => x.kind === kind) : -1;
  return k < 0 ? [] : t.start_ns.map((start, i) => ({ start, ns: t.ns[i], kind: t.kind[i], number: t.number[i] })).filter((s) => s.kind === k);
}

const kindsOf = () => [...new Set(["a", "b"].flatMap((side) => app.stepTimes?.[side]?.kinds.map((k) => k.kind) ?? []))].filter((k) => stepsOf("a", k).length && stepsOf("b", k).length);

// lockTo locks the lanes at step n of a kind in A and step m in B; without a kind, at their
// beginnings.
function lockTo({ kind, a, b }, keepWindow) {
  const [x, y] = [stepsOf("a", kind), stepsOf("b", kind)];
  if (!x.length || !y.length) kind = "";
  const clamp = (n, list) => Math.max(0, Math.min(list.length - 1, n));
  app.lock = kind ? { kind, a: clamp(a, x), b: clamp(b, y) } : { kind: "", a: 0, b: 0 };
  const [p, q] = [x[app.lock.a], y[app.lock.b]];
  app.both.lockAt(kind ? p.start : 0, kind ? q.start : 0);
  if (!keepWindow) {
    const span = kind ? Math.max(p.ns, q.ns) * AROUND : Math.max(app.both.a.info.end_ns, app.both.b.info.end_ns);
    app.both.setWindow(-span * 0.06, span * 1.06);
  }
  drawLocks();
  changed();
}

function drawLocks() {
  const kinds = kindsOf();
  const { kind, a, b } = app.lock;
  const n = { a: stepsOf("a", kind).length, b: stepsOf("b", kind).length };
  const number = (side, value) => h("label", { class: "pick" }, mark(side), " ", h("input", { type: "number", min: "1", max: n[side], value: value + 1, name: side, "aria-label": `Step of ${side.toUpperCase()}`, "data-key": side }), ` of ${count(n[side])}`);
  patch($("locks"), h("label", { class: "pick" }, "Lock at ", h("select", { name: "kind", "aria-label": "What the timelines are locked at" }, h("option", { value: "", selected: !kind }, "the begin of each"), kinds.map((k) => h("option", { value: k, selected: k === kind }, kindName(k))))),
    kind && [number("a", a), number("b", b), h("button", { type: "button", "data-act": "lockstep", "data-by": "-1", "aria-label": "Lock at the step before" }, "‹"), h("button", { type: "button", "data-act": "lockstep", "data-by": "1", "aria-label": "Lock at the next step" }, "›")],
    h("button", { type: "button", "data-act": "fit", title: "both whole  f" }, "Fit"), h("button", { type: "button", "data-act": "tostep", title: "the window of the step" }, "To the step"), h("button", { type: "button", "data-act": "sumup", title: "what is in view, or the stretch that Shift and dragging chose  e" }, "Add up"));
  for (const input of $("locks").querySelectorAll("input")) input.value = String(app.lock[input.name] + 1); // a property once the reader typed
  for (const side of ["a", "b"]) {
    const l = app.both[side];
    const s = stepsOf(side, kind)[app.lock[side]];
    patch(l.el.querySelector("h3"), mark(side), h("a", { href: app.viewOf(side) }, app.whole[side].title), h("span", { class: "quiet" }, `${app.pair[side] === ALL_TRACES ? `all ${plural(app.whole[side].traces.length, "trace")}${kind ? `, steps of ${app.whole[side].traces[app.whole.pairs[0][side]]}` : ""}` : app.whole[side].traces[app.pair[side]]} · ${kind ? `${kind.replaceAll("_", " ")} ${s.number}, ${dur(s.ns)}, at ${at(s.start, 1e3)} of its own clock` : "from its begin"}`));
  }
}

// ---- the address

let timer = 0;
function changed() {
  clearTimeout(timer);
  timer = setTimeout(writeAddress, ADDRESS_MS);
}

function writeAddress() {
  timer = 0;
  if (!app.ready) return;
  const p = new URLSearchParams();
  const c = app.choice;
  const keep = (name, value, usual) => value && value !== usual && p.set(name, value === true ? "1" : value);
  if (app.pair.a !== app.whole.pairs[0].a || app.pair.b !== app.whole.pairs[0].b) p.set("pair", app.pair.a === ALL_TRACES ? "all" : `${app.pair.a}-${app.pair.b}`);
  keep("by", c.by, "delta");
  for (const name of ["up", "only", "sure", "unchanged", "of", "at"]) keep(name, c[name]);
  keep("on", c.on, "all");
  keep("width", c.width, "both");
  p.set("lock", app.lock.kind ? `${app.lock.kind}:${app.lock.a + 1}:${app.lock.b + 1}` : "begin");
  p.set("t", `${Math.round(app.both.r0)}~${Math.round(app.both.r1)}`);
  if (app.both.area) p.set("area", `${Math.round(app.both.area[0])}~${Math.round(app.both.area[1])}`);
  if (app.both.chosen) p.set("s", `${app.both.chosen.side}:${app.both.chosen.id}`);
  history.replaceState(null, "", `${location.search}#${p.toString().replaceAll("%3A", ":").replaceAll("%7E", "~")}`);
}

function readAddress() {
  const p = new URLSearchParams(location.hash.slice(1));
  const c = app.choice;
  for (const name of ["by", "only", "on", "of", "width", "at"]) c[name] = p.get(name) ?? c[name];
  for (const name of ["up", "sure", "unchanged"]) c[name] = p.has(name);
  return p;
}

// ---- reading

function reading(views) {
  return h("div", { class: "card" }, h("h2", {}, "Reading"), ["a", "b"].map((side) => {
    const v = views[side];
    const r = v?.progress;
    return h("p", {}, mark(side), " ", v?.state === "ready" ? `${v.title}: read` : h("span", {}, h("progress", { max: "1", value: r?.size_bytes ? String(r.read_bytes / r.size_bytes) : null, "aria-label": `Read of ${side.toUpperCase()}` }), r?.size_bytes ? ` ${bytes(r.read_bytes)} of ${bytes(r.size_bytes)}` : " looking at the files …"));
  }));
}

async function read(data) {
  for (;;) {
    try {
      const views = { a: await data.a.view() };
      views.b = await data.b.view();
      if (views.a.state === "ready" && views.b.state === "ready") return views;
      state(reading(views));
    } catch (err) {
      if (err.status !== 401) throw err;
      await lock();
    }
    await new Promise((r) => setTimeout(r, READING_MS));
  }
}

// readPair asks for the comparison of one pair of traces.
let round = 0;
async function readPair() {
  const mine = ++round;
  const data = app.data;
  app.traces = null;
  app.flame = null;
  app.stepTimes = null;
  draw();
  const [traces, a, b] = await Promise.all([data.traces(app.pair).catch((err) => ({ error: err.message, verdict: err.message, steps: [], names: 0, compared_by: "whole_trace", diff: { rows: [], test: "none" } })), data.a.stepTimes(), data.b.stepTimes(), app.both.a.open(app.pair.a), app.both.b.open(app.pair.b)]);
  if (mine !== round) return false;
  app.traces = traces;
  const first = app.pair.a === ALL_TRACES ? app.whole.pairs[0] : app.pair; // whose steps the timelines are locked at
  app.stepTimes = { a: a.find((t) => t.trace === first.a), b: b.find((t) => t.trace === first.b) };
  draw();
  readFlame();
  return true;
}

async function readFlame() {
  const mine = round;
  const what = app.flameOf();
  app.flame = null;
  draw();
  const got = await app.data.flame(app.pair, what).catch((err) => ({ error: err.message }));
  if (mine !== round || what !== app.flameOf()) return;
  app.flame = got;
  draw();
}

// usualLock is a step of the kind that took most time. It is not the first step, which often warms
// up.
const usualLock = () => ({ kind: kindsOf()[0] ?? "", a: 1, b: 1 });

async function show() {
  const { a, b } = app.ids;
  const data = (app.data = of(a, b));
  const views = await read(data);
  app.info = views.a; // for the classes' names, which are the same everywhere
  app.whole = await data.whole();
  if (!app.whole.pairs.length) throw new Error("one side has no trace to compare");
  document.title = plain(`${app.whole.a.title} and ${app.whole.b.title} · Kinetoscope`);
  patch($("title"), `${app.whole.a.title} → ${app.whole.b.title}`);
  patch($("facts"), `${app.whole.by === "pipelines" ? "two pipelines, " : ""}${plural(app.whole.pairs.length, "pair")} of traces`);
  $("swap").hidden = false;
  state();
  app.both = new Both({ a: $("lane-a"), b: $("lane-b"), both: $("both"), picked: $("picked") }, { a: data.a, b: data.b }, { changed, fail, say });
  for (const side of ["a", "b"]) app.both[side].href = app.viewOf(side);
  app.both.setTheme(app.theme);
  const p = readAddress();
  const chosen = /^(\d+)-(\d+)$/.exec(p.get("pair") ?? "");
  const first = p.get("pair") === "all" ? { a: ALL_TRACES, b: ALL_TRACES } : app.whole.pairs.find((x) => chosen && x.a === Number(chosen[1]) && x.b === Number(chosen[2])) ?? app.whole.pairs[0];
  app.pair = { a: first.a, b: first.b };
  Promise.all([data.a.overview(), data.b.overview()]).then(([x, y]) => {
    app.overview = { a: x, b: y };
    draw();
  }, fail);
  await readPair();
  const l = /^(.+):(\d+):(\d+)$/.exec(p.get("lock") ?? "");
  const t = /^(-?\d+)~(-?\d+)$/.exec(p.get("t") ?? "");
  lockTo(l ? { kind: l[1], a: Number(l[2]) - 1, b: Number(l[3]) - 1 } : p.get("lock") === "begin" ? { kind: "", a: 0, b: 0 } : usualLock(), Boolean(t));
  if (t) app.both.setWindow(Number(t[1]), Number(t[2]));
  const s = /^([ab]):(.+)$/.exec(p.get("s") ?? "");
  const area = /^(-?\d+)~(-?\d+)$/.exec(p.get("area") ?? "");
  if (s) await app.both.pick(app.both[s[1]], s[2]);
  else if (area) {
    app.both.markArea(Number(area[1]), Number(area[2]));
    app.both.sumUp();
  }
  else app.both.show();
  app.ready = true;
  changed();
}

// still reports whether the page shows everything that it will show; tests wait for it.
app.still = () => Boolean(app.ready && app.traces && app.flame && app.overview.a && !timer && !waiting() && app.both.still());

// choose lets the reader choose among the server's runs.
async function choose() {
  let list = [];
  try {
    list = (await api.runs(new URLSearchParams({ sort: "started" }))).data;
  } catch (err) {
    if (err.status === 401) return lock().then(choose);
    if (err.status !== 404) throw err;
  }
  for (const side of ["a", "b"]) { // what a viewer was given is in no store
    const id = app.ids[side];
    if (id && !list.some((r) => r.id === id)) list.unshift({ id, given: app.whole?.[side].title ?? id });
  }
  const name = (r) => r.given ?? `${r.upload?.name ?? (r.prefix || r.id)} · ${r.health} · ${new Date(r.started_at).toLocaleString()}`;
  const pick = (side, usual) => h("label", { class: "pick" }, mark(side), " ", h("select", { name: side, "aria-label": `Run ${side.toUpperCase()}` }, list.map((s, i) => h("option", { value: s.id, selected: app.ids[side] ? s.id === app.ids[side] : i === usual }, name(s)))));
  state(h("div", { class: "card" }, h("h2", {}, "Compare two runs"), list.length > 1 ? h("form", { id: "pick" }, h("p", {}, pick("a", 1)), h("p", {}, pick("b", 0)), h("p", {}, h("button", { type: "submit" }, "Compare"))) : h("p", {}, list.length ? "There is one run only: capture another one." : "There are no runs here."),
    h("p", { class: "quiet" }, "From the shell: kinetoscope view A B --compare, with runs, files or directories of ranks.")));
}

function go(a, b) { location.assign(`/compare?a=${encodeURIComponent(a)}&b=${encodeURIComponent(b)}`); }

// ---- hands

const KEYS = [["w s", "zoom both timelines"], ["a d", "move both"], ["f", "both whole"], ["n p", "lock at the next step, the one before"], ["← → ↑ ↓", "in the list of tracks: fold, unfold, move"], ["Ctrl wheel", "zoom, as a pinch does; Shift wheel or sideways moves"], ["drag", "move both; on a ruler zoom into what it spans"], ["Shift drag", "choose a stretch of both and add it up"], ["e", "add up what is in view, or is chosen"], ["click", "choose a slice, and its like on the other side"], ["Esc", "choose nothing"], ["?", "these keys"]];

function help() {
  patch($("keys"), h("h2", { id: "h-keys" }, "Keys and hands"), h("dl", {}, KEYS.map(([k, what]) => h("div", {}, h("dt", {}, k.split(" ").map((x) => h("kbd", {}, x))), h("dd", {}, what)))), h("form", { method: "dialog" }, h("button", {}, "Close")));
  $("keys").showModal();
}

const lockStep = (by) => app.lock?.kind && lockTo({ kind: app.lock.kind, a: app.lock.a + by, b: app.lock.b + by }, true);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || /^(INPUT|SELECT)$/.test(event.target.nodeName)) return;
  if (event.key === "?") return help();
  if (!app.ready) return;
  const { both } = app;
  const keys = { w: () => both.zoom(0.8), s: () => both.zoom(1.25), a: () => both.pan(-0.15), d: () => both.pan(0.15), f: () => both.fit(), e: () => both.sumUp(), n: () => lockStep(1), p: () => lockStep(-1), Escape: () => both.pick(both.a, null) };
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!keys[key]) return;
  keys[key]();
  event.preventDefault();
});

function set(name, value) {
  app.choice[name] = value;
  draw();
  changed();
}

$("report").addEventListener("click", (event) => {
  const el = event.target.closest("[data-act]");
  if (!el) return;
  const { act, name, value, by, path, side, id } = el.dataset;
  const to = (target) => $(target).scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  if (act === "part") to(id);
  else if (act === "set") {
    const of_ = app.flameOf();
    if (name === "of" && value !== of_) app.choice.at = "";
    set(name, value);
    if (name === "of" && value !== of_) readFlame();
  } else if (act === "sort") {
    app.choice.up = app.choice.by === by ? !app.choice.up : false;
    set("by", by);
  } else if (act === "zoom") set("at", path);
  else if (act === "slice") {
    to("lanes");
    app.both.jump(side, id);
  } else if (act === "fit") app.both.fit();
  else if (act === "sumup") app.both.sumUp();
  else if (act === "noarea") app.both.pick(app.both.a, null);
  else if (act === "tostep") lockTo(app.lock, false);
  else if (act === "lockstep") lockStep(Number(by));
});
$("report").addEventListener("input", (event) => event.target.name === "only" && set("only", event.target.value));
$("report").addEventListener("change", async (event) => {
  const el = event.target;
  if (el.name === "sure" || el.name === "unchanged") set(el.name, el.checked);
  else if (el.id === "pair") {
    const [a, b] = el.value.split("/").map(Number);
    app.pair = { a, b };
    app.choice.at = "";
    app.both.pick(app.both.a, null);
    if (await readPair().catch(fail)) lockTo(usualLock(), false);
    changed();
  } else if (el.name === "kind") lockTo({ kind: el.value, a: el.value ? 1 : 0, b: el.value ? 1 : 0 }, false);
  else if (app.lock && (el.name === "a" || el.name === "b") && el.type === "number") lockTo({ ...app.lock, [el.name]: Number(el.value) - 1 }, true);
});
$("report").addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.target.id === "pick") go(event.target.elements.namedItem("a").value, event.target.elements.namedItem("b").value);
});
$("notice").addEventListener("click", (event) => { if (event.target.dataset.act === "dismiss") $("notice").hidden = true; });
$("swap").addEventListener("click", () => go(app.ids.b, app.ids.a));
bindExports(fail, say);
$("choose").addEventListener("click", () => choose().catch(fail));
$("help").addEventListener("click", help);

const readTheme = bindTheme(() => {
  app.theme = canvasTheme();
  app.both?.setTheme(app.theme);
  draw();
});
new ResizeObserver(() => {
  app.both?.fitWindow();
  draw();
}).observe($("report"));
addEventListener("popstate", () => location.reload()); // another address of this page: what it says

async function start() {
  readTheme();
  await firstKey();
  const q = new URLSearchParams(location.search);
  app.ids = { a: q.get("a"), b: q.get("b") };
  $("choose").hidden = false;
  try {
    if (!app.ids.a || !app.ids.b) await choose();
    else await show();
  } catch (err) {
    state(h("div", { class: "card" }, h("h2", {}, "This cannot be compared"), h("p", { class: "bad" }, err.message), err.hint && h("p", {}, err.hint)));
  }
}
start();
globalThis.comparison = app; // for the console, and for tests
