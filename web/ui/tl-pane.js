// A pane draws tracks: labels as elements, slices on a canvas of the pane's size that shows the
// part scrolled to.
import { ALPHA_WHOLE, colors, DIM, INK, part } from "./tl-color.js";
import { h, patch, plain } from "./dom.js";
import { boundColor } from "./tl-bounds.js";
import { size } from "./tl-size.js";
import { hasSlices, isLeaf } from "./tl-tree.js";
import { dur } from "./units.js";

const GLYPH = 5.9; // mean width of a letter
const LEAST_TEXT = 22; // px of a box that has text
const MAX_ARROWS = 400;
const CLASSES = 64; // more than there are

export class Pane {
  constructor(el, app) {
    this.el = el;
    this.app = app;
    this.sheet = el.querySelector(".sheet");
    this.labels = el.querySelector(".labels");
    this.canvas = el.querySelector("canvas");
    this.g = this.canvas.getContext("2d");
    this.items = [];
    this.itemOf = new Map();
    el.addEventListener("scroll", () => app.draw(), { passive: true });
  }

  set({ items, height }) {
    this.items = items;
    this.itemOf = new Map(items.map((i) => [i.node, i]));
    this.height = height;
    this.sheet.style.height = `${height}px`;
    this.drawLabels();
  }

  // visible returns the items that are scrolled to, a little more on both sides.
  visible(more = 0) {
    const top = this.el.scrollTop - more;
    const bottom = this.el.scrollTop + this.el.clientHeight + more;
    return this.items.filter((i) => i.y + i.h > top && i.y < bottom);
  }

  resize(width, left) {
    const ratio = devicePixelRatio || 1;
    const height = this.el.clientHeight;
    this.left = left;
    this.width = width;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    this.ratio = ratio;
    this.paneHeight = height;
  }

  drawLabels() {
    const { tree } = this.app;
    patch(this.labels, this.items.map(({ node: n, y, h: height, folded }) => {
      const group = !isLeaf(n);
      const foldable = group || (n.rows ?? 0) > 1;
      const kids = group ? tree.leaves(n).length : n.rows;
      return h("div", { class: `label ${n.kind} ${group ? "group" : "leaf"}`, role: "treeitem", "aria-level": n.level + 1, tabindex: "-1", "data-key": n.id, "data-y": y, "data-h": height,
        "data-level": n.level, "aria-expanded": foldable ? String(!folded) : null },
      h("span", { class: `fold${foldable ? "" : " none"}`, "data-act": "fold", "aria-hidden": "true" }, foldable ? (folded ? "▸" : "▾") : ""),
      h("span", { class: "name", title: [n.name, n.detail, n.slices ? `${n.slices.toLocaleString("en")} slices, busy ${dur(n.busy_ns)}` : ""].filter(Boolean).join("\n") }, n.name),
      folded && kids > 1 && h("span", { class: "more" }, group ? `${kids} tracks` : `${kids} rows`),
      n.packed && h("span", { class: "more", title: `${n.streams} streams as lanes by what they do` }, `${n.streams} streams`),
      n.lanes > 1 && n.kind !== "lane" && h("span", { class: "more", title: "slices overlap; none is hidden" }, `${n.lanes} lanes`),
      n.detail && group && h("span", { class: "detail" }, n.detail),
      !group && h("button", { class: "pin", type: "button", tabindex: "-1", "data-act": "pin", "aria-pressed": String(tree.pinned.includes(n.id)), "aria-label": `Pin ${n.name}`, title: "keep at the top  p" }, "⊤"));
    }));
    for (const el of this.labels.children) {
      el.style.top = `${el.dataset.y}px`;
      el.style.height = `${el.dataset.h}px`;
      el.style.paddingLeft = `${6 + Math.min(8, el.dataset.level) * this.app.indent}px`;
    }
    const first = this.labels.querySelector('[tabindex="0"]') ?? this.labels.firstElementChild;
    if (first) first.tabIndex = 0;
  }

  x(t) {
    const { win } = this.app;
    return ((t - win.t0) / (win.t1 - win.t0)) * this.width;
  }

  draw() {
    const { g, app } = this;
    const { theme } = app;
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    g.clearRect(0, 0, this.width, this.paneHeight);
    g.translate(0, -this.el.scrollTop);
    g.font = size.font;
    g.textBaseline = "middle";
    this.texts = [];
    this.under = []; // what is on the critical path
    const seen = this.visible();
    for (const item of seen) {
      this.backdrop(item, theme);
    }
    this.grid(theme);
    for (const item of seen) this.item(item, theme);
    g.fillStyle = INK;
    for (const [text, x, y] of this.texts) g.fillText(text, x, y);
    g.fillStyle = theme.mark;
    for (const [x, y, w] of this.under) g.fillRect(x, y, w, 3);
    this.marks(theme);
  }

  backdrop({ node, y, h: height }, theme) {
    const { g } = this;
    if (!isLeaf(node)) {
      g.fillStyle = theme.group;
      g.fillRect(0, y, this.width, height);
    }
    g.fillStyle = theme.line;
    g.fillRect(0, y + height - 1, this.width, 1);
  }

  grid(theme) {
    const { g, app } = this;
    g.fillStyle = theme.grid;
    for (const t of app.ticks) g.fillRect(Math.round(this.x(t)), this.el.scrollTop, 1, this.paneHeight);
  }

  item(item, theme) {
    const n = item.node;
    if (n.kind === "counter") this.counter(item, theme);
    else if (n.kind === "steps") this.steps(item, theme);
    else if (n.kind === "path") this.path(item, theme);
    else if (n.kind === "requests") this.requests(item, theme);
    else if (n.kind === "windows") this.windows(item, theme);
    else if (isLeaf(n)) this.slices(n, item.y + 1, item.rowH, item.folded, theme);
    else if (item.folded) {
      const b = this.app.tree.busiest(n);
      if (b) this.slices(b, item.y + 3, item.h - 6, true, theme);
    }
  }

  slices(n, top, rowH, folded, theme) {
    const d = this.app.store.held.get(n.id);
    if (!d) {
      this.g.fillStyle = theme.faint;
      this.g.fillText("…", 8, top + rowH / 2);
      return;
    }
    const from = this.el.scrollTop - rowH;
    const to = this.el.scrollTop + this.paneHeight;
    for (const r of d.rows) {
      if (folded && r.row > 0) break;
      const y = top + r.row * rowH;
      if (y > from && y < to) this.row(d, r, y, rowH - 1, theme, this.app.path?.trace === n.trace ? this.app.path.lit : null);
    }
  }

  // row draws the boxes of one row. Neighbours of one colour without a visible gap are drawn as one
  // rectangle.
  row(d, r, y, height, theme, onPath) {
    const { g, app } = this;
    const k = this.width / (app.win.t1 - app.win.t0);
    const shift = (d.from - app.win.t0) * k;
    const { start, end, name, cls, count, busy, names, slice } = d;
    const lit = app.lit?.(d);
    if (d.shadesFor !== theme.dark) Object.assign(d, { shadesFor: theme.dark, shades: [] });
    const shadesOf = d.shades; // by name and class: looking a colour up by its text for each box would be half of a frame
    let lo = r.first;
    let hi = r.last;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (end[mid] * k + shift < 0) lo = mid + 1;
      else hi = mid;
    }
    let style = "";
    let x0 = 0;
    let x1 = -1;
    for (let i = lo; i < r.last; i++) {
      const a = start[i] * k + shift;
      if (a > this.width) break;
      const b = Math.max(a + 1, end[i] * k + shift);
      const text = names[name[i]];
      const shades = (shadesOf[name[i] * CLASSES + cls[i]] ??= colors(cls[i], text, theme.dark));
      const shade = lit && !lit[name[i]] ? shades[DIM] : count[i] === 1 || b - a <= 1.5 ? shades[ALPHA_WHOLE] : shades[busy[i] >> 6];
      if (shade === style && a <= x1 + 0.3 && b - a < 3) {
        if (b > x1) x1 = b;
        continue;
      }
      if (x1 > x0) {
        g.fillStyle = style;
        g.fillRect(x0, y, x1 - x0, height);
      }
      style = shade;
      x0 = Math.max(-2, a);
      x1 = Math.min(this.width + 2, b - a > 3 ? b - 0.5 : b);
      if (onPath?.has(slice[i]) && b - a > 1.5) this.under.push([Math.max(-2, a), y + height - 3, Math.min(this.width + 2, b) - Math.max(-2, a)]);
      if (b - a >= LEAST_TEXT * size.k && height >= 11) this.text(count[i] > 1 ? `${text} ×${count[i]}` : text, Math.max(0, a) + 4, y + height / 2 + 0.5, Math.min(b, this.width) - Math.max(0, a) - 7);
    }
    if (x1 > x0) {
      g.fillStyle = style;
      g.fillRect(x0, y, x1 - x0, height);
    }
  }

  text(name, x, y, room) {
    const text = plain(name);
    const n = Math.floor(room / (GLYPH * size.k));
    if (n >= 3) this.texts.push([text.length <= n ? text : `${text.slice(0, n - 1)}…`, x, y]);
  }

  // counter draws a curve as upright bars, a pixel column wide where it has several values: paths of
  // thousands of corners take a processor that draws without a card longer than all slices.
  counter({ node, y, h: height }, theme) {
    const { g, app } = this;
    const c = app.store.curves.get(node.id);
    if (!c?.t.length) return;
    const top = c.high ?? node.max ?? 0;
    const low = Math.min(0, c.low ?? 0);
    const scale = (height - 8) / (top - low || 1);
    const base = y + height - 3;
    const py = (v) => Math.round(base - (v - low) * scale);
    const columns = this.columns(c);
    if (!columns.length) return;
    g.fillStyle = theme.area;
    for (const { a, b, high, level } of columns) {
      g.fillRect(a, py(high), 1, base - py(high));
      if (b > a + 1) g.fillRect(a + 1, py(level), b - a - 1, base - py(level));
    }
    g.fillStyle = theme.curve;
    let before = columns[0].a < 0 ? columns[0].level : low;
    for (const { a, b, high, least, level } of columns) {
      g.fillRect(a, py(high), 1, Math.max(1, py(Math.min(least, before)) - py(high)));
      if (b > a + 1) g.fillRect(a + 1, py(level), b - a - 1, 1);
      before = level;
    }
    const text = app.amount(top, node.unit);
    g.fillStyle = theme.back;
    g.fillRect(2, y + 1, g.measureText(text).width + 6, 14 * size.k);
    g.fillStyle = theme.quiet;
    g.fillText(text, 5, y + 8 * size.k);
  }

  // columns returns the pixel columns in view in which a counter changes: from a to before b it has
  // level, and in a itself all from least to high.
  columns({ t, min, max, last }) {
    const { win, info } = this.app;
    const px = (ns) => Math.max(-5, Math.round(this.x(ns)));
    const end = Math.min(this.width + 5, px(info.end_ns));
    let [i, to] = [0, t.length];
    while (i < to) {
      const mid = (i + to) >> 1;
      if (t[mid] <= win.t0) i = mid + 1;
      else to = mid;
    }
    const out = [];
    for (i = Math.max(0, i - 1); i < t.length;) {
      const a = px(t[i]);
      if (a > this.width + 5) break;
      const col = { a, b: end, high: max[i], least: min[i], level: last[i] };
      for (i++; i < t.length && px(t[i]) <= a; i++) {
        col.high = Math.max(col.high, max[i]);
        col.least = Math.min(col.least, min[i]);
        col.level = last[i];
      }
      if (i < t.length) col.b = Math.min(this.width + 5, px(t[i]));
      out.push(col);
    }
    return out;
  }

  steps({ node, y, h: height }, theme) {
    const { g, app } = this;
    const s = app.stepSpans.get(node.trace);
    if (!s) return;
    for (const step of s.steps) {
      const a = this.x(step.start_ns);
      const b = this.x(step.end_ns);
      if (b < 0 || a > this.width) continue;
      const shades = colors(stepClass(step.kind), step.kind, theme.dark);
      g.fillStyle = step.count > 1 ? shades[1] : shades[step.number % 2 ? 2 : 3];
      g.fillRect(Math.max(-2, a), y + 2, Math.max(1, Math.min(b, this.width + 2) - Math.max(-2, a) - 0.5), height - 5);
      const text = step.count > 1 ? `${step.count} × ${step.kind}` : `${step.kind} ${step.number}${step.batch ? ` · batch ${step.batch}` : ""}`;
      if (b - a >= LEAST_TEXT * size.k) this.text(text, Math.max(0, a) + 4, y + height / 2, Math.min(b, this.width) - Math.max(0, a) - 7);
    }
  }

  // path draws the critical path as one lane: what the end of the trace depends on at each instant.
  path({ y, h: height }, theme) {
    const { g, app } = this;
    for (const s of app.path?.steps ?? []) {
      const [a, b] = [this.x(s.start_ns), this.x(s.end_ns)];
      if (b < 0 || a > this.width) continue;
      g.fillStyle = boundColor(s.bound, theme.dark);
      g.fillRect(Math.max(-2, a), y + 2, Math.max(1, Math.min(b, this.width + 2) - Math.max(-2, a) - 0.5), height - 5);
      if (b - a >= LEAST_TEXT * size.k) this.text(s.count > 1 ? `${s.name} …` : s.name, Math.max(0, a) + 4, y + height / 2, Math.min(b, this.width) - Math.max(0, a) - 7);
    }
  }

  requests({ node, y, rowH }, theme) {
    const { g, app } = this;
    for (const r of node.requests) {
      const top = y + 1 + r.lane * rowH;
      const [a, b] = [this.x(r.start_ns), this.x(r.end_ns)];
      if (b < 0 || a > this.width) continue;
      g.fillStyle = theme.rail;
      g.fillRect(a, top + rowH / 2 - 1, b - a, 1);
      for (const s of r.spans) {
        const [c, e] = [this.x(s.start_ns), Math.max(this.x(s.start_ns) + 1, this.x(s.end_ns))];
        if (e < 0 || c > this.width) continue;
        const shades = app.stageShades(s.stage);
        const work = this.x(s.start_ns + s.queue_ns);
        const part = (rowH - 2) / r.spans.length;
        const sy = top + (r.spans.length > 1 ? r.spans.indexOf(s) * part : 0);
        g.fillStyle = shades[1];
        g.fillRect(c, sy, Math.max(0, work - c), part - 0.5);
        g.fillStyle = shades[3];
        g.fillRect(work, sy, Math.max(1, e - work), part - 0.5);
      }
      if (app.selected?.request === r.id) this.frame(a, top - 1, b - a, rowH, theme);
      if (r.spans.length === 1) this.text(r.id, Math.max(0, a) + 4, top + rowH / 2, Math.min(b, this.width) - Math.max(0, a) - 7);
    }
  }

  // windows draws when each rank recorded, how well that is known, and when it was told to begin.
  // Folded they lie on each other: where all recorded is darkest.
  windows({ node, y, h: height, rowH, folded }, theme) {
    const { g, app } = this;
    const { windows, agreed_ns: agreed } = node.recorded;
    windows.forEach((w, i) => {
      const top = y + 2 + (folded ? 0 : i * rowH);
      const [a, b] = [Math.max(-2, this.x(w.from_ns)), Math.min(this.width + 2, this.x(w.to_ns))];
      if (b < a) return;
      g.globalAlpha = folded ? Math.max(0.12, 0.7 / windows.length) : 0.32;
      g.fillStyle = w.state && w.state !== "complete" ? theme.mark : theme.curve;
      g.fillRect(a, top, Math.max(1, b - a), rowH - 3);
      g.globalAlpha = 1;
      if (folded) return;
      const u = (w.error_ns / (app.win.t1 - app.win.t0)) * this.width;
      for (const x of [this.x(w.from_ns), ...(w.open ? [] : [this.x(w.to_ns)])]) {
        if (x < -u - 2 || x > this.width + u + 2) continue;
        if (u >= 1) {
          g.fillStyle = theme.doubt;
          g.fillRect(x - u, top, 2 * u, rowH - 3);
        }
        g.fillStyle = theme.curve;
        g.fillRect(x, top, 1.5, rowH - 3);
      }
      if (b - a >= LEAST_TEXT * size.k) this.label(w.name, Math.max(0, a) + 5, top + rowH / 2 - 1, b - Math.max(0, a) - 8, theme.text);
    });
    if (agreed == null) return;
    g.fillStyle = theme.mark;
    g.fillRect(this.x(agreed), y, 1, height);
  }

  // label writes text in a colour of the page, for boxes that have none of a slice's.
  label(name, x, y, room, color) {
    const text = plain(name);
    const n = Math.floor(room / (GLYPH * size.k));
    if (n < 3) return;
    this.g.fillStyle = color;
    this.g.fillText(text.length <= n ? text : `${text.slice(0, n - 1)}…`, x, y);
  }

  frame(x, y, w, height, theme) {
    const { g } = this;
    g.strokeStyle = theme.back;
    g.lineWidth = 4;
    g.strokeRect(x, y, Math.max(2, w), height);
    g.strokeStyle = theme.select;
    g.lineWidth = 2;
    g.strokeRect(x, y, Math.max(2, w), height);
  }

  // marks draws the reader's selection: the area, the slice, its links, the cursor, marks.
  marks(theme) {
    const { g, app } = this;
    if (app.area) {
      const [a, b] = [this.x(app.area.from), this.x(app.area.to)];
      for (const { node, y, h: height } of this.visible()) {
        if (!app.area.tracks || app.area.tracks.has(node.id)) {
          g.fillStyle = theme.area2;
          g.fillRect(a, y, b - a, height);
        }
      }
      g.fillStyle = theme.select;
      g.fillRect(a, this.el.scrollTop, 1, this.paneHeight);
      g.fillRect(b, this.el.scrollTop, 1, this.paneHeight);
    }
    for (const m of app.marks) {
      g.fillStyle = theme.mark;
      g.fillRect(this.x(m), this.el.scrollTop, 1.5, this.paneHeight);
    }
    if (app.showArrows) this.handoffs(theme);
    const s = app.selected?.detail;
    if (s) {
      this.whiskers(s, theme);
      const at = this.placeOf(s);
      if (at) this.frame(this.x(s.start_ns), at.y, this.x(s.start_ns + s.dur_ns) - this.x(s.start_ns), at.h, theme);
      for (const l of s.links.slice(0, 64)) {
        const to = this.placeOf(l);
        if (at && to) {
          const forward = l.role === "work" || l.role === "flow to";
          const [p, q] = forward ? [s, l] : [l, s];
          const [py, qy] = forward ? [at, to] : [to, at];
          this.arrow(this.x(p.start_ns + (l.role === "work" || l.role === "launch" ? 0 : p.dur_ns)), py.y + py.h / 2, this.x(q.start_ns), qy.y + qy.h / 2, theme.select, 1.5, theme.back);
        }
      }
    }
    if (app.cursor != null) {
      const x = this.x(app.cursor);
      const u = (app.info.uncertainty_ns / (app.win.t1 - app.win.t0)) * this.width;
      if (u >= 1 && u < this.width * 2) {
        g.fillStyle = theme.doubt;
        g.fillRect(x - u, this.el.scrollTop, 2 * u, this.paneHeight);
      }
      g.fillStyle = theme.cursor;
      g.fillRect(x, this.el.scrollTop, 1, this.paneHeight);
    }
  }

  // whiskers shows, over the tracks of other traces, the error of the selected slice's begin and
  // end on their clocks.
  whiskers(s, theme) {
    const { g, app } = this;
    const u = (app.info.uncertainty_ns / (app.win.t1 - app.win.t0)) * this.width;
    if (u < 1 || u > this.width) return;
    g.fillStyle = theme.doubt;
    for (const { node, y, h: height } of this.visible()) {
      if (!isLeaf(node) || node.trace < 0 || node.trace === s.trace) continue;
      const [a, b] = [this.x(s.start_ns), this.x(s.start_ns + s.dur_ns)];
      if (b - a < 2 * u) g.fillRect(a - u, y, b - a + 2 * u, height - 1);
      else for (const x of [a, b]) g.fillRect(x - u, y, 2 * u, height - 1);
    }
  }

  handoffs(theme) {
    const { app } = this;
    let n = 0;
    for (const a of app.handoffs) {
      if (Math.max(a.start_ns, a.end_ns) < app.win.t0 || Math.min(a.start_ns, a.end_ns) > app.win.t1) continue;
      const from = this.trackPlace(a.from_track);
      const to = this.trackPlace(a.to_track);
      if (!from || !to || from === to) continue;
      if (++n > MAX_ARROWS) break;
      const doubtful = Math.abs(a.end_ns - a.start_ns) <= app.info.uncertainty_ns; // which came first is not known
      this.arrow(this.x(a.start_ns), from.y + Math.min(from.h, 18) / 2, this.x(a.end_ns), to.y + Math.min(to.h, 18) / 2, theme.handoff, 1, null, doubtful);
    }
  }

  arrow(x0, y0, x1, y1, color, width, halo, doubtful = false) {
    const { g } = this;
    if (Math.max(x0, x1) < -50 || Math.min(x0, x1) > this.width + 50) return;
    const bend = Math.max(12, Math.min(80, Math.abs(x1 - x0) / 2));
    const path = () => {
      g.beginPath();
      g.moveTo(x0, y0);
      g.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1, y1);
      g.stroke();
    };
    if (halo) {
      g.strokeStyle = halo;
      g.lineWidth = width + 2;
      path();
    }
    g.strokeStyle = color;
    g.lineWidth = width;
    if (doubtful) g.setLineDash([4, 4]);
    path();
    g.setLineDash([]);
    g.fillStyle = color;
    g.beginPath();
    g.moveTo(x1, y1);
    g.lineTo(x1 - 6, y1 - 3);
    g.lineTo(x1 - 6, y1 + 3);
    g.fill();
  }

  // trackPlace returns the item that shows a track: its own, or that of the folded group around it.
  trackPlace(id) {
    const { tree } = this.app;
    for (let n = tree.byID.get(id); n; n = tree.byID.get(n.parent)) {
      const item = this.itemOf.get(n);
      if (item) return item;
    }
    return null;
  }

  // placeOf returns where a slice is drawn.
  placeOf(ref) {
    const { tree, store } = this.app;
    const id = tree.byID.has(ref.lane_track) ? ref.lane_track : ref.track;
    const item = this.itemOf.get(tree.byID.get(id));
    if (!item) {
      const group = this.trackPlace(id);
      return group && { y: group.y + 3, h: group.h - 6 };
    }
    const hit = store.find(id, Number(ref.id.split(".")[1]));
    if (!hit) return { y: item.y, h: item.h - 1 };
    return { y: item.y + 1 + (item.folded ? 0 : hit.row.row * item.rowH), h: item.rowH - 1 };
  }

  // hit returns what lies at a point of the canvas.
  hit(px, py) {
    const { app } = this;
    const y = py + this.el.scrollTop;
    const item = this.items.find((i) => y >= i.y && y < i.y + i.h);
    if (!item) return null;
    const t = app.win.t0 + (px / this.width) * (app.win.t1 - app.win.t0);
    const slop = (2 / this.width) * (app.win.t1 - app.win.t0);
    const n = item.node;
    if (n.kind === "requests") {
      const lane = Math.floor((y - item.y - 1) / item.rowH);
      const r = n.requests.find((q) => q.lane === lane && t >= q.start_ns - slop && t <= q.end_ns + slop);
      return { item, t, request: r };
    }
    if (n.kind === "windows") {
      const all = n.recorded.windows;
      const w = item.folded ? null : all[Math.floor((y - item.y - 2) / item.rowH)];
      return { item, t, recorded: n.recorded, window: w && t >= w.from_ns - slop && t <= w.to_ns + slop ? w : null };
    }
    if (n.kind === "path") {
      const s = app.path?.steps.find((q) => t >= q.start_ns - slop && t <= q.end_ns + slop);
      return { item, t, step: s && { kind: s.name, name: `${s.type.replaceAll("_", " ")}, ${s.bound.replaceAll("_", " ")}`, ...s, number: "" } };
    }
    if (n.kind === "steps") {
      const s = app.stepSpans.get(n.trace)?.steps.find((q) => t >= q.start_ns && t < q.end_ns);
      return { item, t, step: s };
    }
    const track = hasSlices(n) ? n : item.folded ? app.tree.busiest(n) : null;
    const d = track && app.store.held.get(track.id);
    if (!d) return { item, t };
    const row = hasSlices(n) && !item.folded ? Math.floor((y - item.y - 1) / item.rowH) : 0;
    const r = d.rows.find((q) => q.row === row);
    if (!r) return { item, t };
    let best = -1;
    for (let i = r.first; i < r.last; i++) {
      const a = d.from + d.start[i];
      if (a > t + slop) break;
      if (d.from + Math.max(d.end[i], d.start[i]) >= t - slop && (best < 0 || a <= t)) best = i;
    }
    return best < 0 ? { item, t, track } : { item, t, track, d, i: best, row: r };
  }
}

export const stepClass = (kind) => part(kind, 2);
