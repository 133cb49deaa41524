// How large rows and their text are: larger where the window has the room, as on a screen of 4 K,
// on which the usual ones could not be read.

const WIDE = 2400; // px of a window, as in the styles

export const size = { k: 1, font: "" };

// measure takes the window's width and says whether the size has changed.
export function measure() {
  const k = innerWidth >= WIDE ? 1.45 : 1;
  const changed = k !== size.k;
  size.k = k;
  size.font = `${Math.round(11 * k)}px Inter, system-ui, "Segoe UI", sans-serif`;
  return changed;
}
measure();
