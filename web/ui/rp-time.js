// Sections of the report about time: findings, how time divides, requests, steps.
import { h, piece } from "./dom.js";
import { colors, partColor } from "./tl-color.js";
import * as data from "./tl-data.js";
import { findingItem, nothing } from "./tl-panel.js";
import { size } from "./tl-size.js";
import { at, levels, logLevels, tickStep } from "./tl-units.js";
import { button, num, select, swatch, switches, table, traceName } from "./rp-page.js";
import { stepClass } from "./tl-pane.js";
import { count, dur, percent, plural } from "./units.js";

const ROWS = 60; // requests at once
const FEW = 8; // findings at once

export const findings = {
  id: "findings", title: "Findings",
  load: () => data.findings(),
  has: () => true,
  draw: (list, { app }) => {
    if (!list.length) return h("p", { class: "empty quiet" }, nothing(app.panel.wrong));
    return [h("ul", { class: "findings" }, list.slice(0, FEW).map(findingItem)),
      list.length > FEW && h("details", { "data-key": "more" }, h("summary", {}, `${count(list.length - FEW)} more`), h("ul", { class: "findings" }, list.slice(FEW).map(findingItem)))];
  },
};

export const where = {
  id: "where", title: "Where the time went",
  load: () => data.overview(),
  has: (o) => o.traces.some((t) => t.parts.length),
  draw: (o, { app }) => {
    const of = o.traces.filter((t) => t.parts.length);
    const names = [...new Set(of.flatMap((t) => t.parts.filter((p) => p.ns > 0).map((p) => p.name)))];
    const b = o.bottleneck;
    const missing = b?.missing ? ` ${b.missing[0].toUpperCase()}${b.missing.slice(1)}.` : "";
    return [b && h("p", { class: "headline" }, b.limit === "load" ? `No stage is the bottleneck: more requests would fit. ${b.stage} worked most, ${percent(b.busy_share)} of the time in which there were requests.${missing}` : `${b.stage} is the bottleneck, busy ${percent(b.busy_share)} of the time in which there were requests: ${b.why}.${missing}`),
      h("div", { class: "bars" }, of.flatMap((t) => [h("div", { class: "barrow" },
        button("track", { id: `trace:${t.trace}` }, t.devices ? `${traceName(t)}, all devices` : traceName(t)),
        h("div", { class: "shares", role: "img", "aria-label": `${traceName(t)}: ${t.parts.filter((p) => p.ns > 0).map((p) => `${p.name} ${percent(p.share)}`).join(", ")}` },
          t.parts.filter((p) => p.ns > 0).map((p) => h("span", { "data-part": 100 * p.share, "data-color": partColor(p.name, app.theme.dark), title: `${p.name}: ${dur(p.ns)}, ${percent(p.share)}` }, piece(p.name.replaceAll("_", " "), percent(p.share))))),
        h("span", { class: "num quiet" }, dur(t.window_ns))),
      ...(t.devices ?? []).map((d) => h("div", { class: "barrow" }, button("track", { id: `dev:${t.trace}:${d.device}` }, `device ${d.device}`),
        h("div", { class: "shares", role: "img", "aria-label": `device ${d.device} busy ${percent(d.busy_share)}` }, h("span", { "data-part": 100 * d.busy_share, "data-color": partColor("compute", app.theme.dark) }, piece("busy", percent(d.busy_share))), h("span", { "data-part": 100 - 100 * d.busy_share, "data-color": partColor("idle", app.theme.dark) }, piece("idle", percent(1 - d.busy_share)))),
        h("span", { class: "num quiet" }, dur(d.busy_ns))))])),
      h("details", { "data-key": "table" }, h("summary", {}, "As a table"), table(h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Trace"), h("th", { scope: "col", class: "num" }, "Window"), names.map((n) => h("th", { scope: "col", class: "num" }, n.replaceAll("_", " "))))),
        h("tbody", {}, of.map((t) => h("tr", {}, h("th", { scope: "row" }, traceName(t)), num(dur(t.window_ns)), names.map((n) => {
          const p = t.parts.find((x) => x.name === n);
          return num(p ? `${dur(p.ns)} · ${percent(p.share)}` : "–");
        })))))),
      h("p", { class: "quiet" }, of.some((t) => t.of === "device") ? `Of each trace's devices, from their first to their last work; communication and memory only where no compute hides them.${of.some((t) => t.devices) ? " All devices of a trace together are idle only where none of them works." : ""}` : "Of each rank's whole window, with and without requests, what it says it did, without gap or overlap.")];
  },
};

const FOR_P99 = 100; // requests: of fewer it is the longest

const quantiles = (name, q, more = {}) => q.count > 0 && h("tr", {}, h("th", { scope: "row" }, more.color && swatch(more.color), name), num(count(q.count)), num(dur(q.mean_ns)), num(dur(q.p50_ns)), num(q.count < FOR_P99 ? "–" : dur(q.p99_ns)), num(dur(q.max_ns)));

const REQUESTS = { total: ["total time", (r) => r.end_ns - r.start_ns], first: ["first token", (r) => r.first_ns], out: ["first output", (r) => r.out_ns], tokens: ["tokens", (r) => r.tokens], start: ["arrival", (r) => r.start_ns] };

export const requests = {
  id: "requests", title: "Requests",
  load: async (app) => {
    await app.analysed;
    return app.requests.length ? data.overview() : null;
  },
  has: (o, { app }) => Boolean(o && app.requests.length),
  note: (o, { app }) => ` ${plural(o.requests, "request")}${o.requests > app.requests.length ? `, the first ${count(app.requests.length)} one by one` : ""}`,
  draw: (o, s) => {
    const { app } = s;
    const by = s.choice.sort ?? "total";
    const value = by.startsWith("in:") ? (r) => r.spans.filter((x) => x.stage === by.slice(3)).reduce((sum, x) => sum + x.end_ns - x.start_ns, 0) : REQUESTS[by][1];
    const sign = by === "start" ? 1 : -1;
    const rows = [...app.requests].sort((a, b) => sign * (value(a) - value(b)));
    const shown = rows.slice(0, s.choice.all === "1" ? 1000 : ROWS);
    const span = Math.max(...shown.map((r) => r.end_ns - r.start_ns), 1);
    const stages = o.stages.map((x) => x.stage);
    const color = (stage) => app.stageShades(stage)[3];
    return [table(h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "How long"), ["Requests", "Mean", "Median", "p99", "Longest"].map((n) => h("th", { scope: "col", class: "num" }, n)))),
      h("tbody", {}, quantiles("First token", o.latency.ttft), quantiles("First audio or image", o.latency.first_output), quantiles("Whole request", o.latency.total),
        stages.length > 1 && o.stages.flatMap((x) => [quantiles(`in ${x.stage}`, x.time, { color: color(x.stage) }), x.queue.max_ns > 0 && quantiles(`queued for ${x.stage}`, x.queue)]))),
      o.latency.total.count < FOR_P99 && h("p", { class: "quiet" }, `p99 is told of ${FOR_P99} requests and more.`),
      h("div", { class: "picks" }, select("sort", "Sorted by", by, [["total", "total time, slowest first"], ["first", "first token, slowest first"], ["out", "first output, slowest first"], ["tokens", "tokens, most first"], ["start", "arrival"], ...(stages.length > 1 ? stages.map((n) => [`in:${n}`, `time in ${n}`]) : [])]),
        stages.length > 1 && h("span", { class: "legend" }, stages.map((n) => h("span", {}, swatch(color(n)), n)), h("span", {}, h("i", { class: "swatch queue" }), "queued"))),
      h("div", { class: "waterfall" }, shown.map((r) => h("div", { class: "fallrow" }, button("request", { id: r.id }, r.id),
        h("span", { class: "waybar", role: "img", "aria-label": r.spans.map((x) => `${x.stage} ${dur(x.end_ns - x.start_ns)}`).join(", ") },
          r.spans.map((x, i) => {
            const [a, q, b] = [x.start_ns - r.start_ns, x.queue_ns, x.end_ns - r.start_ns].map((ns) => (100 * ns) / span);
            return [q > 0.1 && h("i", { class: "queue lane", "data-left": a, "data-part": q, "data-lane": `${i}/${r.spans.length}` }), h("i", { class: "lane", "data-left": a + q, "data-part": Math.max(0.25, b - a - q), "data-color": color(x.stage), "data-lane": `${i}/${r.spans.length}`, title: `${x.stage}: ${dur(x.end_ns - x.start_ns)}${x.queue_ns ? `, of it queued ${dur(x.queue_ns)}` : ""}` })];
          })),
        h("span", { class: "num" }, dur(r.end_ns - r.start_ns)), h("span", { class: "num quiet wide" }, [r.first_ns >= 0 && `first ${dur(r.first_ns)}`, r.tokens > 0 && plural(r.tokens, "token")].filter(Boolean).join(" · "))))),
      rows.length > shown.length && h("button", { type: "button", "data-act": "set", "data-name": "all", "data-value": "1" }, `Show ${count(Math.min(1000, rows.length))}`)];
  },
  after: (el) => {
    for (const i of el.querySelectorAll("[data-lane]")) {
      const [k, n] = i.dataset.lane.split("/").map(Number);
      i.style.top = `${(100 * k) / n}%`;
      i.style.height = `${100 / n}%`;
    }
  },
};

// chart is how large the picture of steps is, in px.
const chart = () => ({ high: 190 * size.k, left: 58 * size.k, right: 12, top: 12, bottom: 20 * size.k, batch: 38 * size.k });

export const steps = {
  id: "steps", title: "Steps over time",
  load: () => data.stepTimes(),
  has: (list) => list.length > 0,
  draw: (list, s) => {
    const t = list.find((x) => String(x.trace) === s.choice.trace) ?? list[0];
    const shade = (kind) => colors(stepClass(kind), kind, s.app.theme.dark)[3];
    return [h("div", { class: "picks" }, list.length > 1 && select("trace", "Trace", t.trace, list.map((x) => [x.trace, traceName(x)])), switches("scale", "Scale", s.choice.scale ?? "linear", [["linear", "linear"], ["log", "logarithmic"]]),
      h("span", { class: "legend" }, t.kinds.map((k) => h("span", {}, swatch(shade(k.kind)), k.kind.replaceAll("_", " "))))),
    h("canvas", { class: "chart", "data-key": "chart", role: "img", "data-act": "", "aria-label": `Duration of ${plural(t.total, "step")} over time. ${t.kinds.map((k) => `${k.kind}: median ${dur(k.p50_ns)}, longest ${dur(k.max_ns)}`).join("; ")}` }),
    table(h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Step"), ["Count", "Batch", "Mean", "Median", "p99", "Longest", "Total", "Device busy", "Launches"].map((n) => h("th", { scope: "col", class: "num" }, n)))),
      h("tbody", {}, t.kinds.map((k) => h("tr", {}, h("th", { scope: "row" }, swatch(shade(k.kind)), k.kind.replaceAll("_", " ")), num(count(k.count)), num(k.batch_mean ? k.batch_mean.toFixed(1) : "–"), num(dur(k.mean_ns)), num(dur(k.p50_ns)), num(dur(k.p99_ns)),
        num(k.longest ? button("slice", { id: k.longest }, dur(k.max_ns)) : button("span", { from: k.longest_start_ns, to: k.longest_end_ns }, dur(k.max_ns))), num(dur(k.total_ns)), num(k.busy_share ? percent(k.busy_share) : "–"), num(k.launches_mean ? count(Math.round(k.launches_mean)) : "–"))))),
    h("p", { class: "quiet" }, `Found by ${t.how}. ${t.verdict ? `${t.verdict[0].toUpperCase()}${t.verdict.slice(1)}.` : ""}${t.total > t.ns.length ? ` Of ${count(t.total)} steps the longest of every stretch is drawn.` : ""} A click on a point leads to the step.`)];
  },
  after: (el, s) => {
    const canvas = el.querySelector("canvas");
    if (canvas) drawSteps(canvas, s);
  },
};

// drawSteps draws a point for each step, higher for a longer one, and below the axis the batch
// sizes.
function drawSteps(canvas, s) {
  const { app } = s;
  const t = s.data.find((x) => String(x.trace) === s.choice.trace) ?? s.data[0];
  const ratio = devicePixelRatio || 1;
  const batch = Math.max(0, ...t.batch);
  const room = chart();
  const height = room.high + (batch > 1 ? room.batch + 8 : 0);
  canvas.width = Math.round(s.width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${s.width}px`;
  canvas.style.height = `${height}px`;
  const g = canvas.getContext("2d");
  g.scale(ratio, ratio);
  g.font = size.font;
  g.textBaseline = "middle";
  const end = Math.max(1, app.info.end_ns);
  const point = (t.ns.length > 2000 ? 1.6 : t.ns.length > 300 ? 2.4 : 3.2) * size.k;
  const first = room.left + point + 4; // room for the first one beside the axis
  const x = (ns) => first + (ns / end) * (s.width - first - room.right);
  const top = Math.max(...t.ns, 1);
  const least = Math.max(1, Math.min(...t.ns.filter((n) => n > 0), top));
  const log = s.choice.scale === "log";
  const base = room.high - room.bottom;
  const y = (ns) => (log ? base - ((Math.log(Math.max(ns, least)) - Math.log(least)) / Math.max(0.01, Math.log(top) - Math.log(least))) * (base - room.top) : base - (ns / top) * (base - room.top));
  const { theme } = app;
  const marks = log ? logLevels(least, top) : levels(top, 5);
  for (const v of marks) {
    g.fillStyle = theme.line;
    g.fillRect(room.left, Math.round(y(v)), s.width - room.left - room.right, 1);
    g.fillStyle = theme.quiet;
    g.textAlign = "right";
    g.fillText(log ? dur(v) : v ? at(v, marks[1]) : "0", room.left - 6, y(v));
  }
  const step = tickStep(end, Math.max(2, (s.width - room.left) / (120 * size.k)));
  g.textAlign = "center";
  for (let v = 0; v <= end; v += step) g.fillText(at(v, step), Math.min(s.width - 24 * size.k, Math.max(room.left + 4, x(v))), base + room.bottom / 2 + 1);
  const shades = t.kinds.map((k) => colors(stepClass(k.kind), k.kind, theme.dark));
  for (let i = 0; i < t.ns.length; i++) {
    g.fillStyle = shades[t.kind[i]][t.ns.length > 1000 ? 2 : 3];
    g.beginPath();
    g.arc(x(t.start_ns[i]), y(t.ns[i]), point, 0, 7);
    g.fill();
  }
  const worst = t.ns.indexOf(top);
  g.strokeStyle = theme.mark;
  g.lineWidth = 1.5;
  g.beginPath();
  g.arc(x(t.start_ns[worst]), y(top), point + 3, 0, 7);
  g.stroke();
  if (batch > 1) {
    const floor = room.high + room.batch + 2;
    g.fillStyle = theme.quiet;
    g.textAlign = "right";
    g.fillText(`batch ${batch}`, room.left - 6, room.high + 8 * size.k);
    g.fillStyle = theme.curve;
    for (let i = 0; i < t.batch.length; i++) {
      const w = Math.max(1, x(t.start_ns[i + 1] ?? end) - x(t.start_ns[i]));
      const high = (t.batch[i] / batch) * room.batch;
      g.globalAlpha = 0.55;
      g.fillRect(x(t.start_ns[i]), floor - high, Math.min(w, x(t.start_ns[i] + t.ns[i]) - x(t.start_ns[i]) + 1), high);
    }
    g.globalAlpha = 1;
  }
  const near = (event) => {
    const box = canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let least = 18 ** 2;
    for (let i = 0; i < t.ns.length; i++) {
      const d = (x(t.start_ns[i]) - px) ** 2 + (y(t.ns[i]) - py) ** 2;
      if (d < least) [best, least] = [i, d];
    }
    return best;
  };
  canvas.onmousemove = (event) => {
    const i = near(event);
    canvas.title = i < 0 ? "" : `${t.kinds[t.kind[i]].kind} ${t.number[i]}: ${dur(t.ns[i])}${t.batch[i] ? `, batch ${t.batch[i]}` : ""}`;
    canvas.style.cursor = i < 0 ? "" : "pointer";
  };
  canvas.onclick = (event) => {
    const i = near(event);
    if (i < 0) return;
    s.page.leave(() => (t.slice[i] ? app.select(t.slice[i], { reveal: true }) : app.show(t.start_ns[i], t.start_ns[i] + t.ns[i])));
  };
}


