// The slices that the page holds: the last answer for each track. It is asked for again when the
// window leaves it or zooms in.
import * as data from "./tl-data.js";
import { hasSlices } from "./tl-tree.js";

const MARGIN = 0.5; // of the window, asked for on both sides, so that panning has slices to show
const COARSE = 1.3; // how much wider than needed a column at hand may be
export const MOST = 8192; // columns that the server answers with, and so the finest a window that is wider has
const BATCH = 64; // tracks in one question, so that the first come soon

export class Store {
  constructor(onChange, onError, source = data) {
    this.source = source;
    this.held = new Map();
    this.curves = new Map();
    this.onChange = onChange;
    this.onError = onError;
    this.busy = false;
    this.missing = 0;
    this.lastMs = 0;
  }

  clear() {
    this.held.clear();
    this.curves.clear();
  }

  fresh(d, win, width) {
    if (!d) return false;
    const col = (win.t1 - win.t0) / Math.min(MOST, width);
    const whole = win.limit;
    return d.lo <= Math.max(win.t0, whole[0]) && d.hi >= Math.min(win.t1, whole[1]) && d.column <= Math.max(1, col * COARSE);
  }

  // want asks for the items' slices that the window needs and that are missing. One question is
  // under way at a time; the next one asks for what is needed then.
  want(items, win, width) {
    this.next = { items, win, width };
    if (!this.busy) this.ask();
  }

  async ask() {
    this.busy = true;
    try {
      while (this.next) {
        const { items, win, width } = this.next;
        this.next = null;
        const span = win.t1 - win.t0;
        const columns = Math.min(MOST, Math.ceil(width));
        const margin = Math.min(MARGIN, (MOST / columns - 1) / 2);
        const q = { from: Math.floor(win.t0 - span * margin), to: Math.ceil(win.t1 + span * margin), px: Math.floor(columns * (1 + 2 * margin)) };
        const ids = [...new Set(items.filter((n) => hasSlices(n)).map((n) => n.id))].filter((id) => !this.fresh(this.held.get(id), win, width));
        const lines = items.filter((n) => n.kind === "counter").map((n) => n.id).filter((id) => !this.fresh(this.curves.get(id), win, width));
        if (!ids.length && !lines.length) continue;
        const asked = performance.now();
        await Promise.all([ids.length && this.slices(q, ids.slice(0, BATCH)), lines.length && this.counters(q, lines.slice(0, BATCH))]);
        this.lastMs = performance.now() - asked;
        this.onChange();
      }
    } catch (err) {
      this.next = null;
      this.onError(err);
    } finally {
      this.busy = false;
    }
  }

  async slices(q, tracks) {
    const d = await this.source.slices({ ...q, tracks });
    this.missing = d.missing;
    const column = (q.to - q.from) / q.px;
    for (const id of tracks) this.held.set(id, { ...d, lo: q.from, hi: q.to, column, rows: d.byTrack.get(id), byTrack: undefined });
  }

  async counters(q, tracks) {
    const column = (q.to - q.from) / q.px;
    for (const c of await this.source.counters({ ...q, tracks })) this.curves.set(c.track, { ...c, lo: q.from, hi: q.to, column });
  }

  // find returns the place of a slice among the boxes of a track that show it alone, or as the
  // longest of several.
  find(id, slice) {
    const d = this.held.get(id);
    if (!d) return null;
    for (const r of d.rows) for (let i = r.first; i < r.last; i++) if (d.slice[i] === slice) return { d, row: r, i };
    return null;
  }
}
