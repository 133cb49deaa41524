// Stages and sessions as elements.
import { h } from "./dom.js";
import * as report from "./report.js";
import { bytes, count, dur, plural, signed, when } from "./units.js";

const tones = { complete: "good", ok: "good", partial: "bad", failed: "bad", lost: "bad", timed_out: "bad", unhealthy: "bad", unreachable: "bad" };
const tone = (state) => tones[state] ?? "busy";
const words = (state) => state.replaceAll("_", " ");

export const badge = (state, more = {}) => h("span", { class: `badge ${tone(state)}`, ...more }, words(state));
export const terminal = (s) => ["complete", "partial", "failed"].includes(s.state);
export const recording = (s) => ["arming", "armed", "recording"].includes(s.state);
export const name = (s) => s.prefix || "no prefix";
export const ranksOf = (s) => (s.stages ?? []).flatMap((st) => st.ranks ?? []);
export const artifact = (s, file) => (s.artifacts ?? []).find((a) => a.name === file && a.url);

export function stageItem(stage) {
  const all = stage.replicas * stage.ranks;
  const where = (stage.rank_details ?? []).map((r) => `replica ${r.replica} rank ${r.rank}: pid ${r.pid} on ${r.host}${r.ready ? "" : ", starting"}`);
  const id = `stage-${stage.id}`;
  return h("li", { "data-key": stage.id, title: where.join("\n") },
    h("input", { type: "checkbox", id, "data-stage": stage.id, checked: stage.profiler, disabled: !stage.profiler, "aria-describedby": `${id}-is` }),
    h("label", { for: id }, stage.name),
    h("span", { id: `${id}-is`, class: stage.ready_ranks < all ? "busy" : "quiet" },
      `${stage.type}, ${stage.ready_ranks < all ? `${stage.ready_ranks} of ${all} ranks ready` : plural(all, "rank")}${stage.profiler ? "" : ", no profiler"}`));
}

export const sessionItem = (s, current) =>
  h("li", { "data-key": s.id },
    h("a", { href: `#${s.id}`, "aria-current": current && "true" },
      h("span", { class: s.prefix ? "name" : "name quiet" }, name(s)), badge(s.state),
      h("span", { class: "quiet" }, `${when(s.started_at)} · ${plural(ranksOf(s).length, "rank")}`)));

const stops = {
  request: "stopped on request", max_duration: "stopped by the watchdog", ranks: "every rank reached its last iteration", hub_restart: "stopped by the server's restart",
};

// facts lists facts about the session as a whole; now is the server's time in ms.
function facts(s, now) {
  const started = Date.parse(s.started_at);
  const out = [when(s.started_at)];
  if (recording(s)) out.push(`for ${Math.max(0, Math.round((now - started) / 1000))} s`);
  else if (s.finished_at) out.push(`done in ${dur((Date.parse(s.finished_at) - started) * 1e6)}`);
  if (s.stopped_by) out.push(stops[s.stopped_by] ?? `stopped by ${words(s.stopped_by)}`);
  return [out.join(" · "), " · ", h("code", {}, s.id)];
}

// recordingProgress says on how many ranks a session records, how long it will go on, and how much
// that will be at the rate so far.
/** @returns {[number | null, number | null, string]} */
function recordingProgress(s, now) {
  const ranks = ranksOf(s);
  const on = ranks.filter((r) => r.state === "recording").length;
  const text = [on === ranks.length ? "recording on every rank" : `recording on ${on} of ${plural(ranks.length, "rank")}`];
  const began = s.start_at_ns ? s.start_at_ns / 1e6 : Date.parse(s.started_at);
  const [for_s, most_s] = [(now - began) / 1e3, s.bounds?.until && (Date.parse(s.bounds.until) - began) / 1e3];
  if (most_s) text.push(`ends by itself in ${dur(Math.max(0, Math.round(most_s - for_s)) * 1e9)}`);
  const got = ranks.reduce((n, r) => n + (r.bytes ?? 0), 0);
  if (s.bounds && got > 0 && for_s >= 1) text.push(`${bytes(got)} so far${most_s > for_s ? `, ${bytes(Math.round(got / for_s * most_s))} by then at this pace` : ""}`);
  return [most_s ? Math.min(for_s, most_s) : null, most_s || null, text.join(" · ")];
}

function progress(s, now) {
  if (terminal(s)) return null;
  const ranks = ranksOf(s);
  /** @type {number | null} */
  let done = ranks.filter((r) => ["complete", "failed", "lost", "timed_out"].includes(r.state)).length;
  /** @type {number | null} */
  let total = ranks.length;
  let text = `collecting: ${done} of ${plural(ranks.length, "rank")} home`;
  if (s.progress) [done, total, text] = [s.progress.done, s.progress.total, `converting ${s.progress.what ?? ""}`];
  else if (s.state === "recording") [done, total, text] = recordingProgress(s, now);
  else if (s.state !== "collecting") [done, total, text] = [null, null, { arming: "asking every rank", armed: "every rank is ready" }[s.state] ?? words(s.state)];
  return h("p", { class: "progress" }, h("progress", { "aria-label": words(s.state), value: done, max: total }), h("span", {}, text));
}

const num = (text) => h("td", { class: "num" }, text);

// doing says how far a rank's files are while the session is being finished.
function doing(s, r) {
  if (r.writing) return `${r.writing.done} of ${plural(r.writing.files, "file")} whole, ${bytes(r.writing.bytes)}${r.writing.sent ? `, ${bytes(r.writing.sent)} handed over` : ""}`;
  if (s.state !== "converting" || !s.progress) return "";
  const left = ranksOf(s).filter((x) => x.artifacts?.length); // ranks are converted in this order
  const at = left.indexOf(r);
  if (at < 0) return "";
  return at < s.progress.done ? "exported" : at === s.progress.done ? "being exported" : "waits to be exported";
}

function rankRow(s, r, first, span) {
  const clock = r.clock?.error_ns ? `${signed(r.clock.offset_ns)} ± ${dur(r.clock.error_ns)}` : "–";
  // A rank reports its counts when it has stopped; before that, only to a client that asks for
  // them.
  const told = (text) => num(["idle", "armed"].includes(r.state) || (r.state === "recording" && !s.bounds) ? "–" : text);
  const most = r.state === "recording" && s.bounds?.max_iterations?.[r.stage];
  const step = doing(s, r);
  return h("tr", { "data-key": `${r.stage}/${r.replica}/${r.rank}` },
    first && h("th", { scope: "rowgroup", rowspan: span }, r.stage_name),
    h("td", {}, r.replica ? `${r.rank} (replica ${r.replica})` : String(r.rank)),
    h("td", {}, badge(r.state), r.reason && h("span", { class: "reason" }, r.reason), step && h("span", { class: "reason quiet" }, step)),
    told(most ? `${count(r.iterations)} of ${count(most)}` : count(r.iterations)), told(count(r.events)), told(bytes(r.bytes ?? 0)),
    told(r.drops ? h("span", { class: "bad" }, count(r.drops)) : "0"), num(clock));
}

function ranks(s) {
  const heads = ["Stage", "Rank", "State", "#Iterations", "#Events", "#Recorded", "#Dropped", "#Clock against the hub's"];
  return h("section", {}, h("h3", {}, "Ranks"), h("div", { class: "scroll" }, h("table", { class: "ranks" },
    h("thead", {}, h("tr", {}, heads.map((t) => h("th", { scope: "col", class: t.startsWith("#") && "num" }, t.replace("#", ""))))),
    h("tbody", {}, (s.stages ?? []).flatMap((st) => (st.ranks ?? []).map((r, i) => rankRow(s, r, i === 0, st.ranks.length)))))));
}

const fileName = (a) => a.name.split("/").pop();
const kinds = { ops: "operators", table: "operator table", memory: "memory" };

const link = (a, text) => (a.url ? h("a", { href: a.url, download: fileName(a), title: `${a.name}\nsha256 ${a.sha256}`, "aria-label": `${a.name}, ${bytes(a.size)}` }, text) : text);

// artifacts shows a table with a row for each rank and a column for each kind, and above it the
// run's own files.
function artifacts(s) {
  const of = ranksOf(s).filter((r) => r.artifacts?.length);
  const columns = [...new Set(of.flatMap((r) => r.artifacts.map((a) => a.kind)))].sort((a, b) => Number(b === "trace") - Number(a === "trace"));
  if (!of.length && !s.artifacts?.length) return terminal(s) && h("section", {}, h("h3", {}, "Artifacts"), h("p", { class: "quiet" }, "None."));
  const ending = (a) => fileName(a).replace(/^[^.]*\./, ".");
  // A rank may leave several files of one kind; those with the same ending are shown by their
  // names.
  const short = (a, beside) => (beside.filter((b) => ending(b) === ending(a)).length > 1 ? fileName(a).replace(/_(replica\d+_)?rank\d+/, "") : ending(a));
  return h("section", {}, h("h3", {}, "Artifacts"),
    h("ul", { class: "files" }, (s.artifacts ?? []).map((a) => h("li", {}, link(a, fileName(a)), " ", h("span", { class: "quiet" }, bytes(a.size)))),
      terminal(s) && h("li", {}, h("a", { href: `/v1/sessions/${s.id}/artifacts/manifest.json`, download: "manifest.json" }, "manifest.json")),
      terminal(s) && h("li", {}, h("a", { href: `/v1/runs/${s.id}/archive` }, "all as one archive"))),
    of.length > 0 && h("div", { class: "scroll" }, h("table", { class: "artifacts" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Rank"), columns.map((k) => h("th", { scope: "col" }, kinds[k] ?? k)))),
      h("tbody", {}, of.map((r) => h("tr", {}, h("th", { scope: "row" }, `${r.stage_name} ${r.replica ? `${r.replica}/` : ""}${r.rank}`),
        columns.map((k) => h("td", {}, r.artifacts.filter((a) => a.kind === k).map((a, _, beside) =>
          h("div", {}, link(a, short(a, beside)), " ", h("span", { class: "quiet" }, bytes(a.size))))))))))),
    s.run_dir && h("p", { class: "quiet" }, "On the server in ", h("code", {}, s.run_dir)));
}

function analysed(s, rep) {
  if (!rep) return null;
  if (rep.error) return h("p", { class: "bad", role: "alert" }, `report.json: ${rep.error}`);
  const picture = artifact(s, "report.svg");
  const r = rep.data;
  if (!r) return h("p", { class: "quiet" }, "Reading the report …");
  return [h("p", { class: "headline" }, report.headline(r)), report.figures(r),
    picture && rep.pictureless && h("p", { class: "bad", role: "alert" }, "report.svg could not be loaded"),
    picture && !rep.pictureless && h("div", { class: "picturebox", tabindex: "0", role: "group", "aria-label": "The report's picture" }, h("img", { class: "picture", src: picture.url, alt: report.pictureText(r) })),
    report.findings(r, s.id), report.steps(r), report.servers(r), report.operators(r)];
}

// detail shows one session. rep is its report as { data } or { error }, and whether its picture
// failed to load; note is a remark about the timeline's button; now is the server's time in ms.
export function detail(s, { rep, note, now }) {
  const timeline = artifact(s, "timeline.pftrace");
  return h("article", { "data-key": s.id, "aria-labelledby": "session-name" },
    h("header", {}, h("h2", { id: "session-name", class: s.prefix ? "" : "quiet" }, name(s)), badge(s.state),
      terminal(s) && [...ranksOf(s), { artifacts: s.artifacts?.filter((a) => a.kind === "trace") }].some((r) => r.artifacts?.length) && h("a", { class: "button", href: `/view/${s.id}` }, "Timeline"),
      timeline && h("button", { type: "button", "data-act": "perfetto", "data-id": s.id, title: `hands timeline.pftrace, ${bytes(timeline.size)}, to a tab with ui.perfetto.dev` }, "Open in Perfetto")),
    h("p", { class: "quiet facts" }, facts(s, now)),
    h("p", { role: "status", class: note?.bad ? "bad" : "quiet" }, note?.text),
    s.error && h("p", { class: "bad", role: "alert" }, s.error),
    progress(s, now), analysed(s, rep), ranksOf(s).length > 0 && ranks(s), artifacts(s));
}
