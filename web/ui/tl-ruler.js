// The ruler: an overview of the whole time with the window on it, and the axis below it.
import { size } from "./tl-size.js";
import { at, tickStep } from "./tl-units.js";
import { dur } from "./units.js";

export const OVERVIEW = 26; // px
const AXIS = 24;
const TICK = 110; // px between ticks, at least

export const CELLS = 800; // of the overview
const WAIT = 9; // the class of waits, which are not work

// busyCells returns how busy a track was in each cell of the whole time, from an answer of
// …/slices.
export function busyCells(d, id, end) {
  const cells = new Float32Array(CELLS);
  const width = end / CELLS;
  for (const r of d.byTrack.get(id)) {
    if (r.row) continue; // deeper rows lie inside slices of the first
    for (let i = r.first; i < r.last; i++) {
      if (d.cls[i] === WAIT) continue;
      const share = d.count[i] > 1 ? d.busy[i] / 255 : 1;
      for (let c = Math.max(0, Math.floor(d.start[i] / width)); c < CELLS && c * width < d.end[i]; c++) {
        cells[c] += (share * Math.max(0, Math.min(d.end[i], (c + 1) * width) - Math.max(d.start[i], c * width))) / width;
      }
    }
  }
  return cells;
}

export class Ruler {
  constructor(canvas, app) {
    this.canvas = canvas;
    this.app = app;
    /** @type {any} */
    this.kept = null; // the picture of the overview
    /** @type {any[] | null} */
    this.keptOf = null; // what it was made of
    this.g = canvas.getContext("2d");
  }

  resize(width) {
    const ratio = devicePixelRatio || 1;
    this.width = width;
    this.ratio = ratio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round((OVERVIEW + AXIS) * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${OVERVIEW + AXIS}px`;
  }

  // measure places the ticks.
  measure() {
    const { app } = this;
    const { t0, t1 } = app.win;
    this.step = tickStep(t1 - t0, Math.max(2, this.width / (TICK * size.k)));
    app.ticks = [];
    for (let t = Math.ceil(t0 / this.step) * this.step; t < t1; t += this.step) app.ticks.push(t);
  }

  // whole maps a time of the run to the overview.
  whole(t) {
    return (t / Math.max(1, this.app.info.end_ns)) * this.width;
  }

  draw() {
    const { g, app } = this;
    const { theme, win } = app;
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    g.clearRect(0, 0, this.width, OVERVIEW + AXIS);
    this.overview(theme);
    const [a, b] = [this.whole(win.t0), this.whole(win.t1)];
    g.fillStyle = theme.doubt;
    g.fillRect(0, 0, Math.max(0, a), OVERVIEW);
    g.fillRect(b, 0, this.width - b, OVERVIEW);
    g.strokeStyle = theme.select;
    g.lineWidth = 1.5;
    g.strokeRect(Math.max(1, a), 1, Math.max(3, Math.min(this.width - 1, b) - Math.max(1, a)), OVERVIEW - 2);
    g.font = size.font;
    g.textBaseline = "middle";
    const x = (t) => ((t - win.t0) / (win.t1 - win.t0)) * this.width;
    g.fillStyle = theme.line;
    g.fillRect(0, OVERVIEW + AXIS - 1, this.width, 1);
    for (const t of app.ticks) {
      g.fillStyle = theme.line;
      g.fillRect(Math.round(x(t)), OVERVIEW + 14, 1, AXIS - 14);
      g.fillStyle = theme.quiet;
      g.fillText(at(t, this.step), x(t) + 4, OVERVIEW + AXIS / 2 + 1);
    }
    for (const m of app.marks) this.flag(x(m), theme.mark);
    if (app.area) {
      const [p, q] = [x(app.area.from), x(app.area.to)];
      g.fillStyle = theme.area2;
      g.fillRect(p, OVERVIEW, q - p, AXIS);
      const text = dur(app.area.to - app.area.from);
      const w = g.measureText(text).width;
      g.fillStyle = theme.back;
      g.fillRect((p + q - w) / 2 - 4, OVERVIEW + 3, w + 8, AXIS - 7);
      g.fillStyle = theme.text;
      g.fillText(text, (p + q - w) / 2, OVERVIEW + AXIS / 2);
    }
    if (app.cursor != null) {
      const text = at(app.cursor, this.step / 100);
      const w = g.measureText(text).width + 8;
      const left = Math.min(this.width - w, Math.max(0, x(app.cursor) - w / 2));
      g.fillStyle = theme.cursor;
      g.fillRect(left, OVERVIEW + 2, w, AXIS - 5);
      g.fillStyle = theme.back;
      g.fillText(text, left + 4, OVERVIEW + AXIS / 2);
    }
    app.closerSteps();
    app.closerPath();
  }

  flag(x, color) {
    const { g } = this;
    g.fillStyle = color;
    g.beginPath();
    g.moveTo(x, OVERVIEW + AXIS);
    g.lineTo(x - 5, OVERVIEW + AXIS - 8);
    g.lineTo(x + 6, OVERVIEW + AXIS - 8);
    g.fill();
  }

  // overview draws how busy the busiest tracks of each trace are, from the first answer for the
  // whole time. The picture is kept: it stays the same while the window moves.
  overview(theme) {
    const { g, app } = this;
    if (!app.overview) {
      g.fillStyle = theme.group;
      g.fillRect(0, 0, this.width, OVERVIEW);
      return;
    }
    const of = [app.overview, theme, this.width, this.ratio];
    if (!this.keptOf || of.some((v, i) => v !== this.keptOf[i])) [this.kept, this.keptOf] = [this.busy(theme), of];
    g.drawImage(this.kept, 0, 0, this.width, OVERVIEW);
  }

  busy(theme) {
    const { app } = this;
    const kept = document.createElement("canvas");
    kept.width = Math.max(1, Math.round(this.width * this.ratio));
    kept.height = Math.round(OVERVIEW * this.ratio);
    const g = kept.getContext("2d");
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    g.fillStyle = theme.curve;
    const n = app.overview.length;
    app.overview.forEach((cells, k) => {
      const top = (k * OVERVIEW) / n;
      for (let i = 0; i < cells.length; i++) {
        if (!cells[i]) continue;
        g.globalAlpha = 0.15 + 0.85 * Math.min(1, cells[i]);
        g.fillRect((i * this.width) / cells.length, top, this.width / cells.length + 0.5, Math.max(1, OVERVIEW / n - 0.5));
      }
    });
    return kept;
  }
}
