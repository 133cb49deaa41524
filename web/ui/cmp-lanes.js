// Two timelines, one below the other: a trace of A and one of B, each on its own clock, locked
// together at a step. The window is kept relative to that step and moves both.
import { areaSums } from "./cmp-area.js";
import { dress, h, patch } from "./dom.js";
import { Fingers } from "./tl-fingers.js";
import { Pane } from "./tl-pane.js";
import { busyCells, CELLS, Ruler } from "./tl-ruler.js";
import { amount, stageShades } from "./tl-shell.js";
import { measure } from "./tl-size.js";
import { Store } from "./tl-store.js";
import { tip } from "./tl-tip.js";
import { hasSlices, isLeaf, Tree } from "./tl-tree.js";
import { at } from "./tl-units.js";
import { dur } from "./units.js";

const WHEEL = 0.0022;
const CLICK = 4; // px that a click may move
const LEAST_NS = 20; // across the screen

// ALL_TRACES stands for all traces of a side together.
export const ALL_TRACES = -1;

// Lane is one of the two timelines; to its Pane and Ruler it is what the timeline's page is.
export class Lane {
  /** @type {any} */ info = null;
  tree = new Tree();
  win = { t0: 0, t1: 1, limit: [0, 1] };
  ticks = [];
  marks = [];
  /** @type {{ from: number, to: number, tracks: null } | null} */ area = null;
  /** @type {{ id: string, detail: any } | null} */ selected = null;
  /** @type {number | null} */ cursor = null;
  handoffs = [];
  stepSpans = new Map();
  requests = [];
  path = null;
  showArrows = false;
  /** @type {any} */ theme = {};
  indent = 8;
  lit = null;
  lock = 0; // ns of its own clock
  trace = 0;
  turn = 0; // of opening: the last one counts
  href = "";
  /** @type {Float32Array[] | null} */ overview = null;
  closing = 0; // runs while steps are about to be asked for
  cut = false; // steps were asked for of a window
  /** @type {[number, number] | null} */ cutFor = null;

  constructor(side, el, both, source) {
    this.side = side;
    this.el = el;
    this.both = both;
    this.source = source;
    this.store = new Store(() => both.draw(), both.fail, source);
    this.main = new Pane(el.querySelector(".pane"), this);
    this.ruler = new Ruler(el.querySelector(".ruler"), this);
    this.amount = amount;
    bind(this);
  }

  stageShades(stage) { return stageShades(this.requests, stage, this.theme.dark); }

  // open reads the tracks of one trace, or of all of them: ALL_TRACES.
  async open(trace) {
    const turn = ++this.turn;
    const whole = trace === ALL_TRACES;
    const [info, nodes, steps, requests] = await Promise.all([this.source.view(), this.source.tracks("auto"), this.source.steps({ px: 2000 }), this.source.requests()]);
    const handoffs = whole && info.traces.length > 1 ? await this.source.arrows({ from: -1, to: info.end_ns + 1 }) : [];
    if (turn !== this.turn) return;
    // From here to the layout nothing waits: a lane with info and without a size would be painted.
    Object.assign(this, { trace, info, requests, handoffs, selected: null, showArrows: whole });
    this.store.clear();
    const mine = whole ? nodes : nodes.filter((n) => n.trace === trace);
    const spans = whole ? steps : steps.filter((s) => s.trace === trace);
    this.stepSpans = new Map(spans.map((s) => [s.trace, s]));
    this.tree.folded.clear();
    this.tree.set(mine, spans, requests);
    this.layout();
    this.overview = null;
    this.readOverview(mine).catch(this.both.fail);
  }

  async readOverview(nodes) {
    const best = nodes.filter((n) => n.kind === "thread" || n.kind === "stream" || n.kind === "lane").sort((a, b) => Number(b.kind !== "thread") - Number(a.kind !== "thread") || b.busy_ns - a.busy_ns)[0];
    if (!best) return;
    const end = this.info.end_ns;
    const d = await this.source.slices({ from: 0, to: end, px: CELLS, tracks: [best.id] });
    this.overview = [busyCells(d, best.id, end)];
    this.both.draw();
  }

  layout() {
    this.main.set(this.tree.layout());
    this.resize();
  }

  resize() {
    const left = this.el.querySelector(".corner").getBoundingClientRect().width;
    const width = Math.max(50, this.el.querySelector(".pane").clientWidth - left);
    this.main.resize(width, left);
    this.ruler.resize(width);
    this.both.draw();
  }

  draw() { this.both.draw(); }

  paint() {
    if (!this.info) return;
    this.win = { ...this.both.windowOf(this), limit: [0, this.info.end_ns] };
    this.marks = [this.lock];
    this.ruler.measure();
    this.main.draw();
    this.ruler.draw();
    const want = [];
    for (const i of this.main.visible(200)) {
      if (isLeaf(i.node)) want.push(i.node);
      else if (i.folded) want.push(this.tree.busiest(i.node) ?? i.node);
    }
    this.store.want(want, this.win, this.main.width);
  }

  closerPath() {}

  // closerSteps asks for the steps of the window if the steps at hand were merged.
  closerSteps() {
    clearTimeout(this.closing);
    this.closing = setTimeout(async () => {
      this.closing = 0;
      if (!this.cut && ![...this.stepSpans.values()].some((s) => s.steps.some((x) => x.count > 1))) return;
      this.cut = true;
      const { t0, t1 } = this.win;
      if (this.cutFor && this.cutFor[0] <= t0 && this.cutFor[1] >= t1 && this.cutFor[1] - this.cutFor[0] <= 4 * (t1 - t0)) return;
      this.cutFor = [t0 - (t1 - t0), t1 + (t1 - t0)];
      const got = await this.source.steps({ from: this.cutFor[0], to: this.cutFor[1], px: 4000 }).catch(() => null);
      if (!got) return;
      this.stepSpans = new Map(got.filter((s) => this.trace === ALL_TRACES || s.trace === this.trace).map((s) => [s.trace, s]));
      this.both.draw();
    }, 150);
  }

  // query is the window of the area, on the tracks that the lane has.
  query() {
    const [from, to] = this.area ? [this.area.from, this.area.to] : [this.win.t0, this.win.t1];
    const tracks = this.tree.nodes.filter((n) => isLeaf(n) && hasSlices(n)).map((n) => n.id);
    return { from: Math.max(0, Math.floor(from)), to: Math.min(this.info.end_ns + 1, Math.ceil(to)), tracks, every: this.trace === ALL_TRACES };
  }

  still() { return Boolean(this.info) && !this.store.busy && !this.store.next && this.store.held.size + this.store.curves.size > 0; }
}

// bind handles a lane's input: wheel, drag, click, and keys in the list of its tracks.
function bind(lane) {
  const { both, el, main, ruler } = lane;
  const { canvas, labels } = main;
  const px = (event, of) => event.clientX - of.getBoundingClientRect().left;
  const rel = (x) => both.r0 + (x / main.width) * (both.r1 - both.r0);
  let drag = null;
  const fingers = new Fingers();
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    if (fingers.down(event, px(event, canvas), both.r0, both.r1)) {
      drag = null;
      return;
    }
    drag = { x: event.clientX, y: event.clientY, top: main.el.scrollTop, r0: both.r0, r1: both.r1, at: rel(px(event, canvas)), choose: event.shiftKey, moved: false };
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    const pinched = fingers.move(event, px(event, canvas), main.width);
    if (pinched) return both.setWindow(...pinched);
    if (drag) {
      drag.moved ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > CLICK;
      if (!drag.moved) return;
      if (drag.choose) {
        tip(lane, null);
        return both.markArea(drag.at, rel(px(event, canvas)));
      }
      const d = ((drag.x - event.clientX) / main.width) * (drag.r1 - drag.r0);
      main.el.scrollTop = drag.top + drag.y - event.clientY;
      tip(lane, null);
      return both.setWindow(drag.r0 + d, drag.r1 + d);
    }
    both.point(rel(px(event, canvas)));
    const box = canvas.getBoundingClientRect();
    tip(lane, lane.info && main.hit(event.clientX - box.left, event.clientY - box.top), event);
  });
  canvas.addEventListener("pointerup", (event) => {
    fingers.up(event);
    const was = drag;
    drag = null;
    if (was?.moved && was.choose) return both.sumUp();
    if (!was || was.moved) return;
    const box = canvas.getBoundingClientRect();
    const hit = main.hit(event.clientX - box.left, event.clientY - box.top);
    if (hit?.d) both.pick(lane, `${hit.track.trace}.${hit.d.slice[hit.i]}`);
    else if (hit?.step?.slice) both.pick(lane, hit.step.slice);
    else if (hit && !isLeaf(hit.item.node)) fold(hit.item.node.id);
    else both.pick(lane, null);
  });
  canvas.addEventListener("pointercancel", (event) => {
    fingers.up(event);
    drag = null;
  });
  canvas.addEventListener("pointerleave", () => {
    both.point(null);
    tip(lane, null);
  });
  const wheel = (event, of, always) => {
    if (event.ctrlKey || event.metaKey || always && Math.abs(event.deltaY) >= Math.abs(event.deltaX) && !event.shiftKey) {
      event.preventDefault();
      both.zoom(Math.exp(event.deltaY * WHEEL * (event.deltaMode ? 16 : 1) * (Math.abs(event.deltaY) < 20 ? 4 : 1)), rel(px(event, of)));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      both.pan((event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX) / main.width);
    }
  };
  canvas.addEventListener("wheel", (event) => wheel(event, canvas, false), { passive: false });
  ruler.canvas.addEventListener("wheel", (event) => wheel(event, ruler.canvas, true), { passive: false });
  let from = null;
  ruler.canvas.addEventListener("pointerdown", (event) => {
    ruler.canvas.setPointerCapture(event.pointerId);
    from = px(event, ruler.canvas);
  });
  ruler.canvas.addEventListener("pointerup", (event) => {
    const x = px(event, ruler.canvas);
    if (from != null && Math.abs(x - from) >= CLICK) both.setWindow(rel(Math.min(from, x)), rel(Math.max(from, x)));
    from = null;
  });
  const fold = (id, want) => {
    const n = lane.tree.byID.get(id);
    if (isLeaf(n) && (n.rows ?? 0) < 2) return;
    lane.tree.folded.set(id, want ?? !lane.tree.isFolded(n));
    lane.layout();
  };
  labels.addEventListener("click", (event) => {
    const label = event.target.closest(".label");
    if (label) fold(label.dataset.key);
  });
  labels.addEventListener("keydown", (event) => {
    const label = event.target.closest(".label");
    if (!label) return;
    const go = (to) => {
      if (!to) return;
      label.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    };
    const keys = { ArrowDown: () => go(label.nextElementSibling), ArrowUp: () => go(label.previousElementSibling), ArrowRight: () => fold(label.dataset.key, false), ArrowLeft: () => fold(label.dataset.key, true), Enter: () => fold(label.dataset.key), " ": () => fold(label.dataset.key) };
    if (!keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
    event.stopPropagation();
  });
}

// Both are the two lanes and what they share. changed is called when the state in the address has
// changed, fail when something went wrong.
export class Both {
  r0 = 0; // the window, in ns from the lock
  r1 = 1;
  asked = 0; // the frame that is asked for
  /** @type {AbortController | null} */ picking = null;
  /** @type {{ side: string, id: string } | null} */ chosen = null;
  /** @type {[number, number] | null} */ area = null; // ns from the lock
  /** @type {any} */ sums = null; // of the area on both sides, or { error }

  constructor(els, sources, { changed, fail, say }) {
    this.changed = changed;
    this.fail = fail;
    this.say = say;
    this.a = new Lane("a", els.a, this, sources.a);
    this.b = new Lane("b", els.b, this, sources.b);
    this.lanes = [this.a, this.b];
    this.picked = els.picked;
    new ResizeObserver(() => this.fitWindow()).observe(els.both);
  }

  // fitWindow follows the window, in which rows may have another size now.
  fitWindow() {
    const changed = measure();
    for (const l of this.lanes) if (l.info) changed ? l.layout() : l.resize();
  }

  other(lane) { return lane === this.a ? this.b : this.a; }
  windowOf(lane) { return { t0: lane.lock + this.r0, t1: lane.lock + this.r1 }; }

  setTheme(theme) {
    for (const l of this.lanes) l.theme = theme;
    this.draw();
  }

  draw() {
    this.asked ||= requestAnimationFrame(() => {
      this.asked = 0;
      for (const l of this.lanes) l.paint();
    });
  }

  setWindow(r0, r1) {
    const longest = Math.max(...this.lanes.map((l) => l.info?.end_ns ?? 1), 1);
    const span = Math.min(Math.max(r1 - r0, LEAST_NS), longest * 2.4);
    const mid = Math.min(Math.max((r0 + r1) / 2, -longest), longest);
    [this.r0, this.r1] = [mid - span / 2, mid + span / 2];
    this.changed();
    this.draw();
  }

  zoom(factor, around = (this.r0 + this.r1) / 2) { this.setWindow(around - (around - this.r0) * factor, around + (this.r1 - around) * factor); }

  pan(share) {
    const d = (this.r1 - this.r0) * share;
    this.setWindow(this.r0 + d, this.r1 + d);
  }

  // fit shows both traces whole.
  fit() {
    this.setWindow(Math.min(...this.lanes.map((l) => -l.lock)), Math.max(...this.lanes.map((l) => l.info.end_ns - l.lock)));
  }

  // point puts the cursor of both at one distance from the lock.
  point(r) {
    for (const l of this.lanes) l.cursor = r == null ? null : l.lock + r;
    this.draw();
  }

  // lockAt locks the lanes at an instant of each; an area keeps its distance from the lock.
  lockAt(a, b) {
    this.a.lock = a;
    this.b.lock = b;
    if (this.area) {
      this.markArea(...this.area);
      this.sumUp();
    }
    this.draw();
  }

  // markArea chooses a stretch of both sides, in ns from the lock.
  markArea(r0, r1) {
    this.area = [Math.min(r0, r1), Math.max(r0, r1)];
    for (const l of this.lanes) l.area = { from: l.lock + this.area[0], to: l.lock + this.area[1], tracks: null };
    this.draw();
  }

  clearArea() {
    this.area = null;
    this.sums = null;
    for (const l of this.lanes) l.area = null;
  }

  // sumUp adds up what is in the area on both sides; without one it is what is in view.
  async sumUp() {
    if (!this.area) this.markArea(this.r0, this.r1);
    this.picking?.abort();
    const { signal } = (this.picking = new AbortController());
    this.chosen = null;
    this.sums = {};
    for (const l of this.lanes) l.selected = null;
    this.show();
    try {
      const of = await Promise.all(this.lanes.map((l) => {
        const q = l.query();
        return q.to > q.from && q.tracks.length ? l.source.selection(q, { signal }).then((sum) => ({ ...sum, q })) : { ops: [], slices: 0, q };
      }));
      this.sums = { of };
      this.say(`${dur(this.area[1] - this.area[0])} chosen: A ${of[0].slices} slices, B ${of[1].slices}`);
    } catch (err) {
      if (err.name === "AbortError") return;
      this.sums = { error: err.message };
    }
    this.show();
    this.changed();
    this.draw();
  }

  // pick chooses a slice, and the slice of its name that lies nearest to it in the other lane.
  async pick(lane, id) {
    this.picking?.abort();
    const { signal } = (this.picking = new AbortController());
    const other = this.other(lane);
    lane.selected = other.selected = null;
    this.clearArea();
    this.draw();
    if (id) {
      try {
        const detail = await lane.source.detail(id, { signal });
        lane.selected = { id, detail };
        const like = await nearest(other, detail.name, detail.start_ns - lane.lock, signal);
        if (like) other.selected = { id: like, detail: await other.source.detail(like, { signal }) };
        this.say(`${detail.name}: ${this.spoken()}`);
      } catch (err) {
        if (err.name === "AbortError") return;
        this.fail(err);
      }
    }
    this.chosen = id ? { side: lane.side, id } : null;
    this.show();
    this.changed();
    this.draw();
  }

  spoken() { return this.lanes.map((l) => `${l.side.toUpperCase()} ${l.selected ? dur(l.selected.detail.dur_ns) : "none"}`).join(", "); }

  // jump shows a slice of one side: the window moves to it.
  async jump(side, id) {
    await this.pick(this[side], id);
    const l = this[side];
    if (!l.selected) return;
    const d = l.selected.detail;
    const track = l.tree.byID.has(d.lane_track) ? d.lane_track : d.track;
    for (const p of l.tree.above(l.tree.byID.get(track) ?? { parent: "" })) l.tree.folded.set(p.id, false);
    l.layout();
    const span = Math.max(d.dur_ns * 6, 2000);
    const mid = d.start_ns + d.dur_ns / 2 - l.lock;
    this.setWindow(mid - span / 2, mid + span / 2);
    const place = l.main.placeOf(d);
    if (place) l.main.el.scrollTop = Math.max(0, place.y - 60);
  }

  show() {
    if (this.sums) {
      patch(this.picked, areaSums(this));
      return dress(this.picked);
    }
    if (!this.chosen) return patch(this.picked, h("p", { class: "quiet" }, "Click a slice to see it beside the one of its name on the other side. Drag with Shift to add up a stretch of both."));
    patch(this.picked, h("div", { class: "two" }, this.lanes.map((l) => {
      const d = l.selected?.detail;
      return h("div", {}, h("h3", {}, h("span", { class: `side ${l.side}` }, l.side.toUpperCase()), " ", d ? d.name : "no slice of this name"), d && h("dl", { class: "facts" }, h("div", {}, h("dt", {}, "Duration"), h("dd", {}, dur(d.dur_ns))), h("div", {}, h("dt", {}, "Start"), h("dd", {}, `${at(d.start_ns, 100)} · ${at(d.start_ns - l.lock, 100)} from the lock`)),
        h("div", {}, h("dt", {}, "Of its name"), h("dd", {}, `median ${dur(d.same.p50_ns)} of ${d.same.count}`))), d && h("a", { href: `${l.href}#s=${l.selected.id}` }, "Open in its timeline"));
    })));
  }

  still() { return !this.asked && !(this.sums && !this.sums.of && !this.sums.error) && this.lanes.every((l) => l.still() && !l.closing); }
}

// nearest finds the slice of a name that begins nearest to a distance from the lock.
async function nearest(lane, name, r, signal) {
  const found = await lane.source.search({ q: name, exact: true, limit: 5000 }, { signal });
  let best = null;
  for (const x of found.hits) {
    if (Number(x.id.split(".")[0]) !== lane.trace) continue;
    const away = Math.abs(x.start_ns - lane.lock - r);
    if (!best || away < best.away) best = { id: x.id, away };
  }
  return best?.id;
}
