// The tip beside the pointer.
import { h, patch } from "./dom.js";
import { at } from "./tl-units.js";
import { count, dur, plural, signed } from "./units.js";

// tip shows, beside the pointer, what a pane found under it; without a hit it hides.
export function tip(app, hit, event) {
  const el = document.getElementById("tip");
  const lines = hit && tipLines(app, hit);
  el.hidden = !lines;
  if (!lines) return;
  patch(el, h("b", {}, lines[0]), lines.slice(1).filter(Boolean).map((l) => h("span", {}, l)));
  const box = el.getBoundingClientRect();
  el.style.left = `${Math.max(4, Math.min(innerWidth - box.width - 8, event.clientX + 14))}px`;
  el.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18}px`;
}

// counterLines gives a counter's value at an instant, or its range in the column.
function counterLines(app, n, t) {
  const c = app.store.curves.get(n.id);
  if (!c) return null;
  let k = c.t.findIndex((x) => x > t);
  k = (k < 0 ? c.t.length : k) - 1;
  if (k < 0) return [n.name, "not known yet"];
  const text = (v) => app.amount(v, n.unit) + (n.unit && n.unit !== "bytes" && n.unit !== "share" ? ` ${n.unit}` : "");
  const wide = c.min[k] < c.max[k] && t - c.t[k] < (app.win.t1 - app.win.t0) / app.main.width;
  return [text(c.last[k]), wide && `${text(c.min[k])} to ${text(c.max[k])}`, n.name, `at ${at(t, (app.win.t1 - app.win.t0) / 1e4)}`];
}

// windowLines says when a rank recorded, or how well all of them did together.
function windowLines(r, w) {
  if (!w) return [`${plural(r.windows.length, "rank")} recorded`, r.common_ns > 0 ? `all of them for ${dur(r.common_ns)}` : "never all at once", `the first and the last began ${dur(r.skew_ns)} apart`];
  const late = r.agreed_ns == null ? null : w.from_ns - r.agreed_ns;
  return [w.name, w.open ? `recorded from ${at(w.from_ns, 1e3)} on; nobody measured the end` : `recorded for ${dur(w.to_ns - w.from_ns)}, from ${at(w.from_ns, 1e3)} to ${at(w.to_ns, 1e3)}`,
    late != null && `began ${signed(late)} from the instant agreed on`, w.error_ns > 0 && `its clock is known to ±${dur(w.error_ns)}`, w.state && w.state !== "complete" && `ended as ${w.state.replaceAll("_", " ")}`];
}

function tipLines(app, { item, t, request, step, d, i, track, recorded, window }) {
  if (recorded) return windowLines(recorded, window);
  if (item.node.kind === "counter") return counterLines(app, item.node, t);
  if (request) return [`request ${request.id}`, dur(request.end_ns - request.start_ns), request.first_ns >= 0 && `first token after ${dur(request.first_ns)}`];
  if (step) return [step.count > 1 ? `${step.count} steps` : `${step.kind} ${step.number}`, dur(step.end_ns - step.start_ns), step.name, step.batch && `batch ${step.batch}`, step.tokens && `${step.tokens} tokens`];
  if (!d) return null;
  const from = d.from + d.start[i];
  const length = d.end[i] - d.start[i];
  const cls = app.info.classes[d.cls[i]];
  if (d.count[i] > 1) return [`${count(d.count[i])} slices`, `over ${dur(length)}, ${Math.round((d.busy[i] / 255) * 100)}% covered`, `longest: ${d.names[d.name[i]]}`, `${cls} · ${track.name}`];
  return [d.names[d.name[i]], dur(length), `at ${at(from)}`, `${cls} · ${track.name}`];
}
