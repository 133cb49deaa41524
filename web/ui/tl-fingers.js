// Two fingers on a canvas: what lies between them stays there, and their distance is the zoom.

const CLOSE = 20; // px between fingers, at least

export class Fingers {
  /** @type {Map<number, number>} */ at = new Map(); // by pointer: where it is, px from the left
  /** @type {{ mid: number, wide: number, from: number, to: number } | null} */ began = null;

  spread() {
    const [x0, x1] = [...this.at.values()];
    return { mid: (x0 + x1) / 2, wide: Math.max(CLOSE, Math.abs(x1 - x0)) };
  }

  // down takes a pointer at x over the window from..to, and says whether it makes two fingers.
  down(event, x, from, to) {
    if (event.pointerType !== "touch") return false;
    this.at.set(event.pointerId, x);
    if (this.at.size !== 2) return false;
    this.began = { ...this.spread(), from, to };
    return true;
  }

  // move takes a pointer to x and returns the window that two fingers make on so many px; null
  // if there are not two.
  /** @returns {[number, number] | null} */
  move(event, x, width) {
    if (!this.at.has(event.pointerId)) return null;
    this.at.set(event.pointerId, x);
    const was = this.began;
    if (!was || this.at.size !== 2) return null;
    const now = this.spread();
    const span = ((was.to - was.from) * was.wide) / now.wide;
    const start = was.from + (was.mid / width) * (was.to - was.from) - (now.mid / width) * span;
    return [start, start + span];
  }

  up(event) {
    this.at.delete(event.pointerId);
    if (this.at.size < 2) this.began = null;
  }
}
