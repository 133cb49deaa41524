// A flame graph: equal callers are merged, the widest comes first, and a click on a box zooms to
// it.
import { h } from "./dom.js";
import { colors } from "./tl-color.js";
import { size } from "./tl-size.js";
import { dur, percent, plural } from "./units.js";

const ROW = 19; // px, of a usual window
const LEAST = 0.15; // percent of the width that is drawn
const TEXT = 2; // percent that has a name

// flameGraph draws root, zoomed to the box at path, the indices of children joined by points. Its
// buttons carry data-act "zoomflame" and data-path.
export function flameGraph(root, path, app, label) {
  const way = [];
  let top = root;
  for (const i of path.split(".").filter(Boolean)) {
    way.push(top);
    top = top.children[Number(i)];
  }
  const whole = top.total_ns || 1;
  const row = Math.round(ROW * size.k);
  const boxes = [];
  let deep = 0;
  const visit = (f, left, level, id) => {
    const part = (100 * f.total_ns) / whole;
    if (part < LEAST) return;
    deep = Math.max(deep, level);
    const color = level === 0 && !path ? "var(--group)" : colors(app.info.classes.indexOf(f.class), f.name, app.theme.dark)[3];
    boxes.push(h("button", { type: "button", class: "flame", "data-act": "zoomflame", "data-path": id, "data-left": left, "data-part": part, "data-top": level * row, "data-color": color,
      title: `${f.name}\n${dur(f.total_ns)}, ${percent(f.total_ns / whole)}; self ${dur(f.self_ns)}; ${plural(f.count, "slice")}`, "aria-label": `${f.name}, ${dur(f.total_ns)}` }, part > TEXT ? f.name : ""));
    let x = left;
    (f.children ?? []).forEach((c, i) => {
      visit(c, x, level + 1, `${id}${id ? "." : ""}${i}`);
      x += (100 * c.total_ns) / whole;
    });
  };
  visit(top, 0, 0, path);
  const crumb = (i, f) => h("button", { type: "button", class: "link", "data-act": "zoomflame", "data-path": path.split(".").slice(0, i).join(".") }, f.name);
  return [way.length > 0 && h("p", { class: "crumbs" }, way.map((f, i) => [crumb(i, f), " › "]), top.name),
    h("div", { class: "flames", role: "group", "aria-label": label, "data-px": (deep + 1) * row + 4 }, boxes)];
}
