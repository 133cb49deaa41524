// A run's report.json as elements; docs/report.md says what its numbers mean.
import { h } from "./dom.js";
import { count, dur, percent, plural } from "./units.js";

const OPS = 8; // rows of the table of operators
const FINDINGS = 8; // shown at once, the rest on demand

const limits = {
  compute: "its own computing",
  communication: "communication between its ranks",
  peer: "waiting for its slowest rank",
  handoff: "hand-offs between stages",
  host: "scheduling and sampling",
};

// headline says in one sentence or two what the run's pace depends on.
export function headline(r) {
  const b = r.bottleneck;
  if (!b) return "No stage worked while the session recorded.";
  const others = b.others.map((o) => `${o.stage} ${percent(o.busy_share)}`).join(", ");
  const all = percent(r.stages.find((s) => s.stage_id === b.stage_id)?.busy_share ?? b.busy_share);
  const busy = `busy ${percent(b.busy_share)} of the time while steps run${others && ` (${others})`}${all === percent(b.busy_share) ? "" : `, ${all} of the whole window as the bars show it`}`;
  const missing = b.missing ? ` ${b.missing[0].toUpperCase()}${b.missing.slice(1)}.` : "";
  if (b.limit === "load") return `No stage is the bottleneck: more requests would fit. ${b.stage} worked most, ${busy}.${missing}`;
  return `${b.stage} is the bottleneck: ${busy}. It is held back by ${limits[b.limit] ?? b.limit}: ${b.why}.${missing}`;
}

export const pictureText = (r) =>
  `What every rank did over ${dur(r.window_ns)}, the shares of its time, and the way to the first output. ${headline(r)}`;

// quantiles names a p99 only if there are at least a hundred requests.
const quantiles = (name, q) => q.count > 0 && [q.count === 1 ? name : `${name}, median`, q.count === 1 ? dur(q.p50_ns)
  : h("span", {}, dur(q.p50_ns), h("small", {}, q.count < 100 ? ` longest ${dur(q.max_ns)}` : ` p99 ${dur(q.p99_ns)}`))];

export function figures(r) {
  const list = [
    ["Window", dur(r.window_ns)],
    ["Requests", count(r.request_count)],
    quantiles("First token", r.latency.ttft),
    quantiles(`First ${r.first_output?.output || "output"}`, r.latency.first_output),
    quantiles("Whole request", r.latency.total),
    ["Clocks agree to", r.aligned ? `±${dur(r.clock_uncertainty_ns)}` : "not aligned"],
  ];
  return h("dl", { class: "figures" }, list.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const words = { info: ["info", "quiet"], notice: ["notice", "busy"], warning: ["warning", "bad"], critical: ["critical", "bad"] };

// finding links to its slice on the run's timeline.
const finding = (run) => (f) => {
  const [word, tone] = words[f.severity] ?? [f.severity, "quiet"];
  return h("li", { class: tone }, h("span", { class: "text" }, f.evidence?.slice >= 0 && run ? h("a", { href: `/view/${run}#s=${f.evidence.rank}.${f.evidence.slice}` }, f.text) : f.text),
    h("span", { class: "where" }, h("span", { class: tone }, word), f.where && ` · ${f.where}`));
};

export function findings(r, run) {
  // The headline has already named the bottleneck.
  const list = r.findings.filter((f) => !(r.bottleneck && f.text.startsWith(`${r.bottleneck.stage} is the bottleneck`)));
  if (!list.length) return null;
  const more = list.slice(FINDINGS);
  return h("section", {}, h("h3", {}, "Findings"), h("ul", { class: "findings" }, list.slice(0, FINDINGS).map(finding(run))),
    more.length > 0 && h("details", {}, h("summary", {}, `${more.length} more`), h("ul", { class: "findings" }, more.map(finding(run)))));
}

const head = (...names) => h("thead", {}, h("tr", {}, names.map((n) => h("th", { scope: "col", class: n.startsWith("#") && "num" }, n.replace("#", "")))));
const num = (text) => h("td", { class: "num" }, text);
const title = { prefill: "prefill", decode: "decode step", text_encode: "text encode", denoise: "denoise step", vae_decode: "VAE decode", vocode: "vocode" };

export function steps(r) {
  const rows = r.stages.flatMap((s) => s.steps.map((t, i) =>
    h("tr", {}, i === 0 ? h("th", { scope: "rowgroup", rowspan: s.steps.length }, s.name) : null,
      h("td", {}, title[t.category] ?? t.category), num(count(t.count)), num(t.batch_mean ? t.batch_mean.toFixed(1) : "–"),
      num(dur(t.p50_ns)), num(dur(t.p99_ns)), num(dur(t.max_ns)), num(dur(t.total_ns)))));
  return rows.length > 0 && h("section", {}, h("h3", {}, "Steps"), h("div", { class: "scroll" }, h("table", {},
    head("Stage", "Step", "#Count", "#Batch", "#Median", "#p99", "#Longest", "#Total"), h("tbody", {}, rows))));
}

export function operators(r) {
  const all = r.stages.flatMap((s) => s.ops.map((o) => ({ ...o, stage: s.name }))).sort((a, b) => b.self_ns - a.self_ns);
  const rows = all.slice(0, OPS).map((o) => h("tr", {}, h("td", {}, h("code", {}, o.name)), h("td", {}, o.stage), num(count(o.calls)),
    num(dur(o.self_ns)), num(percent(o.share)), num(o.gflop_per_s ? o.gflop_per_s.toFixed(1) : "–")));
  return rows.length > 0 && h("details", { "data-key": "ops" }, h("summary", {}, h("h3", {}, "Operators"), " ",
    h("span", { class: "quiet" }, `${plural(rows.length, "costliest", "costliest")} of ${count(all.length)}, over all ranks of a stage`)),
    h("div", { class: "scroll" }, h("table", {}, head("Operator", "Stage", "#Calls", "#Self time", "#Of the window", "#GFLOP/s"), h("tbody", {}, rows))));
}

const metric = (v) => (Math.abs(v) >= 1000 ? count(Math.round(v)) : String(+v.toPrecision(3)));

// servers are what the ranks' servers told of themselves while they were profiled.
export function servers(r) {
  const rows = r.stages.flatMap((s) => s.ranks.flatMap((k) => (k.metrics ?? []).map((m) => h("tr", {}, h("td", {}, k.replica ? `${s.name} replica ${k.replica}` : s.name),
    h("td", {}, m.name), num(count(m.samples)), num(metric(m.min)), num(metric(m.mean)), num(metric(m.max))))));
  return rows.length > 0 && h("section", {}, h("h3", {}, "Servers"), h("div", { class: "scroll" }, h("table", {},
    head("Stage", "Metric", "#Samples", "#Least", "#Mean", "#Most"), h("tbody", {}, rows))));
}
