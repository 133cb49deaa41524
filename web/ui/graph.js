// The pipeline as a picture: a box a stage with its ranks, queue and pace, in the order in
// which requests go through them.
import { h, svg } from "./dom.js";
import { measure, size } from "./tl-size.js";
import { dur, plural } from "./units.js";

const [BOX, HIGH, GAP, PAD] = [196, 127, 44, 12]; // of a box, between boxes, inside, in px of a usual window
const DOTS = 12; // ranks of a stage that are drawn one by one

const DONE = ["complete", "stopped"];
const LOST = ["lost", "failed", "timed_out"];

// ranks lists the ranks of a stage with the state to show for each: that in the running session if
// they take part in it, else whether they serve.
function ranks(stage, session) {
  const st = (session?.stages ?? []).find((s) => s.stage === stage.id);
  if (st) return st.ranks.map((r) => ({ id: `${r.replica}/${r.rank}`, state: r.state, reason: r.reason }));
  const here = (stage.rank_details ?? []).map((r) => ({ id: `${r.replica}/${r.rank}`, state: r.ready ? "ready" : "starting" }));
  const all = stage.replicas * stage.ranks;
  const known = here.length || stage.ready_ranks === all ? here.length : 0;
  if (!here.length) return Array.from({ length: all }, (_, i) => ({ id: String(i), state: i < stage.ready_ranks ? "ready" : "absent" }));
  return [...here, ...Array.from({ length: Math.max(0, all - known) }, (_, i) => ({ id: `absent ${i}`, state: "absent" }))];
}

const words = (state) => state.replaceAll("_", " ");

// sum counts the ranks by state: "2 recording, 1 lost".
function sum(list) {
  const by = new Map();
  for (const r of list) by.set(r.state, (by.get(r.state) ?? 0) + 1);
  return [...by].map(([state, n]) => `${n} ${words(state)}`).join(", ");
}

const names = { prefill: "prefills", decode_step: "decode steps", denoise_step: "denoise steps", text_encode: "encodings", vae_decode: "decodings", vocode: "vocodings" };
const perS = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));

// pace is the phase that a stage runs most often; null if its engine does not report phases.
function pace(load) {
  const p = (load?.phases ?? []).filter((x) => names[x.phase]).sort((a, b) => b.per_s - a.per_s)[0];
  return p ?? null;
}

const paceLines = (p) => (!p ? ["pace not known"] : p.count === 0 ? ["no steps lately"] : [`${perS(p.per_s)} ${names[p.phase]}/s`, `${dur(p.mean_s * 1e9)} each`]);
const paceText = (p) => paceLines(p).join(", ");

function row(stage, session, load) {
  const l = (load?.stages ?? []).find((s) => s.stage === stage.id);
  const list = ranks(stage, session);
  return { stage, list, queue: l?.queue, pace: pace(l), state: sum(list) };
}

const queueText = (n) => (n == null ? "queue not told" : n === 0 ? "queue empty" : `${plural(n, "request")} here`);

// dot draws a rank: its shape shows the same as its colour.
function dot(r, x, y) {
  const kind = LOST.includes(r.state) ? "lost" : r.state === "recording" ? "rec" : ["absent", "starting", "idle", "arming"].includes(r.state) ? "off" : "on";
  const title = svg("title", {}, `rank ${r.id}: ${words(r.state)}${r.reason ? `, ${r.reason}` : ""}`);
  if (kind === "lost") return svg("path", { class: "rank lost", d: `M${x - 5} ${y - 5}l10 10m0 -10l-10 10` }, title);
  return svg("circle", { class: `rank ${kind}`, cx: x, cy: y, r: kind === "rec" ? 6 : 5 }, title);
}

function box(d, x, y) {
  const bad = d.list.some((r) => LOST.includes(r.state));
  const rec = d.list.some((r) => r.state === "recording");
  const dots = d.list.slice(0, DOTS).map((r, i) => dot(r, x + PAD + 6 + 14 * i, y + 50));
  return svg("g", { class: bad ? "stage bad" : rec ? "stage rec" : "stage" },
    svg("rect", { x, y, width: BOX, height: HIGH, rx: 8 }),
    svg("text", { class: "name", x: x + PAD, y: y + 22 }, d.stage.name.length > 22 ? `${d.stage.name.slice(0, 21)}…` : d.stage.name),
    svg("text", { class: "small", x: x + PAD, y: y + 37 }, `${d.stage.type}${d.stage.output ? `, makes ${d.stage.output}` : ""}`),
    dots, d.list.length > DOTS && svg("text", { class: "small", x: x + PAD + 14 * DOTS, y: y + 54 }, "…"),
    svg("text", { class: bad ? "small bad" : "small", x: x + PAD, y: y + 72 }, d.state),
    svg("text", { class: "small", x: x + PAD, y: y + 87 }, queueText(d.queue)),
    paceLines(d.pace).map((line, i) => svg("text", { class: "small", x: x + PAD, y: y + 102 + 15 * i }, line)));
}

function arrow(x1, y1, x2, y2) {
  const across = x1 !== x2;
  const head = across ? `M${x2} ${y2}l-8 -5v10z` : `M${x2} ${y2}l-5 -8h10z`;
  return svg("g", { class: "arrow" }, svg("path", { d: `M${x1} ${y1}L${across ? x2 - 8 : x2} ${across ? y2 : y2 - 8}` }), svg("path", { class: "head", d: head }));
}

// quantity writes a median and, if there are enough requests, a high percentile.
const quantity = (q) => (!q ? "–" : q.count === 1 ? dur(q.p50_ns) : `${dur(q.p50_ns)} median, ${q.count < 100 ? `${dur(q.max_ns)} longest` : `${dur(q.p99_ns)} p99`}`);

// figures shows the numbers of the last minute's requests.
function figures(load) {
  const r = load?.requests;
  if (!r) return h("p", { class: "quiet" }, "Waiting for the first figures …");
  if (!r.finished) return h("p", { class: "quiet" }, r.in_flight ? `${plural(r.in_flight, "request")} in flight; none has finished in the last minute.` : "No request in the last minute.");
  const list = [["First token", quantity(r.ttft)], ["First audio", quantity(r.first_audio)], ["Requests", `${perS(r.per_s)}/s, ${r.in_flight} in flight`], ["Text", `${perS(r.tokens_per_s)} tokens/s`]];
  return [h("dl", { class: "figures" }, list.filter(([, v]) => v !== "–").map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v)))),
    h("p", { class: "quiet" }, `of ${plural(r.finished, "request")} that finished in the last ${dur(Math.min(60, r.over_s) * 1e9)}`)];
}

// graph draws a pipeline in width px: stages side by side, or one below the other.
export function graph(stages, session, load, width) {
  measure();
  const { k } = size;
  const all = stages.map((s) => row(s, session, load));
  const across = k * (all.length * BOX + (all.length - 1) * GAP) <= width;
  const [w, high] = across ? [all.length * BOX + (all.length - 1) * GAP, HIGH] : [BOX, all.length * HIGH + (all.length - 1) * GAP];
  const at = (i) => (across ? [i * (BOX + GAP), 0] : [0, i * (HIGH + GAP)]);
  const text = all.map((d) => `${d.stage.name}: ${d.state}, ${queueText(d.queue)}, ${paceText(d.pace)}`).join("; ");
  const parts = all.flatMap((d, i) => {
    const [x, y] = at(i);
    const link = i > 0 && (across ? arrow(x - GAP + 4, HIGH / 2, x - 4, HIGH / 2) : arrow(BOX / 2, y - GAP + 4, BOX / 2, y - 4));
    return [link, box(d, x, y)].filter(Boolean);
  });
  return [h("div", { class: "scroll" }, svg("svg", { class: "graph", role: "img", "aria-label": `The pipeline. ${text}`, width: k * (w + 4), height: k * (high + 4), viewBox: `-2 -2 ${w + 4} ${high + 4}` }, parts)),
    figures(load),
    h("details", { "data-key": "graph-table" }, h("summary", {}, "The pipeline as a table"), h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Stage", "Type", "Ranks", "Requests at it", "Pace"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {}, all.map((d) => h("tr", {}, h("th", { scope: "row" }, d.stage.name), h("td", {}, d.stage.type), h("td", {}, d.state), h("td", {}, d.queue ?? "not told"), h("td", {}, paceText(d.pace))))))))];
}

// trouble says in one line how many ranks still record, and what happened to the others.
export function trouble(s) {
  const all = (s?.stages ?? []).flatMap((st) => st.ranks ?? []);
  const bad = all.filter((r) => LOST.includes(r.state));
  if (!bad.length) return null;
  const left = all.length - bad.length;
  const doing = s.state === "recording" ? "Recording" : s.state === "converting" || s.state === "collecting" || s.state === "stopping" ? "Finishing" : "Starting";
  return [h("strong", {}, left ? `${doing} on ${left} of ${plural(all.length, "rank")}` : `None of ${plural(all.length, "rank")} is left`),
    h("ul", {}, bad.slice(0, 4).map((r) => h("li", {}, h("b", {}, `${r.stage_name} rank ${r.replica ? `${r.replica}/` : ""}${r.rank}`), ` is ${words(r.state)}: ${r.reason || "nobody said why"}`)),
      bad.length > 4 && h("li", {}, `and ${bad.length - 4} more, in the table of ranks`))];
}

export const isDone = (r) => DONE.includes(r.state) || LOST.includes(r.state);
