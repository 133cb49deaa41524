// The tracks of the page: the server's, and those that the page makes of steps and requests; which
// are folded, pinned, sorted and filtered; and how high each is.

import { size } from "./tl-size.js";

const ROW = 18;
const TIGHT = 15; // rows of deep stacks
const DEEP = 12;
const HEIGHT = { counter: 38, steps: 20, path: 20, group: 24 };
const PAD = 4;

const LEAVES = new Set(["thread", "stream", "lane", "counter", "steps", "path", "requests", "windows"]);
export const isLeaf = (n) => LEAVES.has(n.kind);
export const hasSlices = (n) => n.kind === "thread" || n.kind === "stream" || n.kind === "lane";

export class Tree {
  constructor() {
    this.nodes = [];
    this.byID = new Map();
    this.shown = new Map(); // by a group's id, the track that stands for it while it is folded
    this.folded = new Map(); // by id: what the reader chose
    this.pinned = [];
    this.filter = "";
    this.sort = "";
    this.path = null; // of which trace the critical path is shown
  }

  // set takes the server's nodes, steps by trace, lanes of requests, and when the ranks recorded, which has
  // a lane only where the traces are on one clock.
  set(nodes, steps, requests, recorded = null) {
    const out = [];
    if (requests.length) {
      const lanes = laneOut(requests);
      out.push({ id: "requests", parent: "", kind: "requests", name: requests.length === 1 ? "1 request" : `${requests.length} requests`, trace: -1, rows: lanes, requests });
    }
    if (recorded?.together && recorded.windows.length > 1) out.push({ id: "windows", parent: "", kind: "windows", name: "recorded", detail: "when each rank recorded", trace: -1, rows: recorded.windows.length, recorded, folded: together(recorded) });
    if (this.path) out.push({ id: "path", parent: "", kind: "path", name: "critical path", trace: this.path.trace });
    const left = new Map(steps.map((s) => [s.trace, s]));
    const stepNode = (s, parent) => ({ id: `steps:${s.trace}`, parent, kind: "steps", name: "steps", detail: s.how, trace: s.trace, steps: s });
    const alone = !nodes.some((n) => n.id.startsWith("trace:"));
    if (alone) for (const s of left.values()) out.push(stepNode(s, ""));
    for (const n of nodes) {
      out.push(n);
      const s = !alone && n.id === `trace:${n.trace}` && left.get(n.trace);
      if (s) out.push(stepNode(s, n.id));
    }
    this.nodes = out;
    this.byID = new Map(out.map((n) => [n.id, n]));
    this.kids = new Map();
    this.shown.clear();
    for (const n of out) {
      const key = this.byID.has(n.parent) ? n.parent : "";
      if (!this.kids.has(key)) this.kids.set(key, []);
      this.kids.get(key).push(n);
    }
    for (const n of out) {
      n.level = 0;
      for (let p = this.byID.get(n.parent); p; p = this.byID.get(p.parent)) n.level++;
      n.weight = n.busy_ns || 0;
    }
    for (const n of [...out].reverse()) {
      const p = this.byID.get(n.parent);
      if (p) p.weight = Math.max(p.weight, n.weight);
    }
    this.pinned = this.pinned.filter((id) => this.byID.has(id));
  }

  isFolded(n) {
    return this.folded.get(n.id) ?? Boolean(n.folded);
  }

  // above returns the nodes around a node, outermost first.
  above(n) {
    const out = [];
    for (let p = this.byID.get(n.parent); p; p = this.byID.get(p.parent)) out.unshift(p);
    return out;
  }

  label(n) {
    return [...this.above(n), n].map((p) => p.name).join(" · ");
  }

  leaves(n) {
    if (isLeaf(n)) return [n];
    return (this.kids.get(n.id) ?? []).flatMap((k) => this.leaves(k));
  }

  // busiest returns the track that represents a folded group.
  busiest(n) {
    if (!this.shown.has(n.id)) this.shown.set(n.id, this.busiestLeaf(n));
    return this.shown.get(n.id);
  }

  busiestLeaf(n) {
    return this.leaves(n).filter(hasSlices).reduce((a, b) => (!a || b.busy_ns > a.busy_ns ? b : a), null);
  }

  ordered(list) {
    if (!this.sort) return list;
    const rank = (n) => (isLeaf(n) && !hasSlices(n) ? 0 : 1); // rulers and counters stay on top
    return [...list].sort((a, b) => rank(a) - rank(b) || (this.sort === "busy" ? b.weight - a.weight : a.name.localeCompare(b.name, "en", { numeric: true })));
  }

  matches(n) {
    const want = this.filter.toLowerCase();
    return this.label(n).toLowerCase().includes(want);
  }

  // layout lists the visible items with their places.
  layout() {
    const out = [];
    let y = 0;
    const put = (n, shown) => {
      const item = place(n, y, this.isFolded(n));
      y += item.h;
      out.push(item);
      return shown;
    };
    const visit = (n) => {
      if (this.filter && !this.leaves(n).some((l) => this.matches(l))) return;
      if (this.pinned.includes(n.id)) return;
      put(n);
      if (!isLeaf(n) && (this.filter || !this.isFolded(n))) for (const k of this.ordered(this.kids.get(n.id) ?? [])) visit(k);
    };
    for (const n of this.ordered(this.kids.get("") ?? [])) visit(n);
    return { items: out, height: y };
  }

  pinnedLayout() {
    const out = [];
    let y = 0;
    for (const id of this.pinned) {
      const item = place(this.byID.get(id), y, false);
      y += item.h;
      out.push(item);
    }
    return { items: out, height: y };
  }
}

function place(n, y, folded) {
  const { k } = size;
  const rows = Math.max(1, n.rows || 1);
  const rowH = Math.round(k * (n.kind === "requests" ? 19 : n.kind === "windows" ? 16 : rows > DEEP ? TIGHT : ROW));
  const own = isLeaf(n) ? HEIGHT[n.kind] : HEIGHT.group;
  return { node: n, y, h: own ? Math.round(k * own) : (folded ? rowH : rows * rowH) + PAD, rowH, folded };
}

const APART = 0.01; // of the time in common: what begins so far apart is one window to the eye

// together says whether the windows are as one, so that there is nothing to see of each.
const together = (r) => r.common_ns > 0 && r.windows.every((w) => w.to_ns - w.from_ns - r.common_ns < APART * r.common_ns);

// laneOut puts requests on as few lanes as possible, and returns how many.
function laneOut(requests) {
  const ends = [];
  for (const r of requests) {
    let lane = ends.findIndex((e) => e <= r.start_ns);
    if (lane < 0) lane = ends.push(0) - 1;
    ends[lane] = r.end_ns;
    r.lane = lane;
  }
  return ends.length;
}
