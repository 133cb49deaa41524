// The live page: it is told by the server what changes, shows that, and starts and stops sessions.
import * as api from "./api.js";
import { patch, h } from "./dom.js";
import { listen } from "./events.js";
import { graph, trouble } from "./graph.js";
import { lock, unlock } from "./login.js";
import { openInPerfetto } from "./perfetto.js";
import { bindTheme } from "./theme.js";
import { bytes, dur, plural, when } from "./units.js";
import { bindDrop } from "./upload.js";
import { artifact, badge, detail, name, ranksOf, recording, sessionItem, stageItem, terminal } from "./view.js";

const LAST_S = 10; // of the flight recorders
const TICK_MS = 1000; // between drawings of how long a session has recorded
const COST_MS = 400; // after the last key
const FAR = 3; // times as long as what was measured is a guess

/** @type {(id: string) => any} an element of the page, of its own kind */
const $ = (id) => document.getElementById(id);
const state = { health: null, load: null, sessions: new Map(), ids: null, listError: "", unreachable: "", followed: "", reports: new Map(), notes: new Map(), missing: "" };

// wanted is the session that the address names.
const wanted = () => decodeURIComponent(location.hash.slice(1));
const known = (id) => state.sessions.get(id);
const list = () => (state.ids ?? []).map(known).filter(Boolean);
const chosen = () => (wanted() ? known(wanted()) : list()[0]);
const live = () => list().find((s) => !terminal(s));

function keep(s) {
  state.sessions.set(s.id, s);
  if (state.ids && !state.ids.includes(s.id) && (!state.ids.length || s.id > state.ids[0])) state.ids.unshift(s.id);
}

// say shows an answer next to the buttons that caused it.
function say(text, err) {
  $("message").className = err ? "bad" : "";
  patch($("message"), text,
    err?.session && [" ", h("a", { href: `#${err.session.id}` }, `Show the session ${name(err.session)}`)],
    err?.hint && h("span", { class: "hint" }, `To do: ${err.hint}`));
}

function drawHealth() {
  const now = state.health;
  if (state.unreachable) patch($("health"), badge("unreachable"), h("span", { class: "reason" }, state.unreachable));
  else if (now) patch($("health"), badge(now.status), now.reason && h("span", { class: "reason" }, now.reason));
  if (!now) return;
  patch($("model"), now.model);
  if (now.stages) patch($("stages"), now.stages.map(stageItem));
}

function drawPipeline() {
  const stages = state.health?.stages;
  if (!stages) return;
  patch($("pipeline"), stages.length ? graph(stages, live(), state.load, $("pipeline").clientWidth) : h("p", { class: "quiet" }, "No process has attached yet."));
}

function draw() {
  drawHealth();
  drawPipeline();
  const all = list();
  const s = chosen();
  const now = live();
  document.body.classList.toggle("recording", all.some(recording));
  patch($("alert"), trouble(now));
  if (state.ids) patch($("sessions"), state.listError ? h("li", { class: "bad" }, state.listError) : all.length ? all.map((x) => sessionItem(x, x.id === s?.id)) : h("li", { class: "quiet" }, "None yet: start one, send a request, stop."));
  if (s) patch($("detail"), detail(s, { rep: state.reports.get(s.id), note: state.notes.get(s.id), now: Date.now() + api.clockSkewMs }));
  else if (wanted()) patch($("detail"), h("p", { class: state.missing ? "bad" : "quiet" }, state.missing || "…"));
  else if (state.ids) patch($("detail"), h("p", { class: "quiet" }, "A session shows here: what every rank did, where the time went, and the files to take away."));
}

// readReport fetches a run's report once.
async function readReport(s) {
  const file = s && terminal(s) && artifact(s, "report.json");
  if (!file || state.reports.has(s.id)) return;
  state.reports.set(s.id, {});
  const rep = await api.json(file.url).then((data) => ({ data }), (err) => ({ error: err.message }));
  state.reports.set(s.id, rep);
}

// follow reports how a session ended that was running at the last look.
function follow() {
  const s = known(state.followed);
  if (s && terminal(s)) {
    const whole = ranksOf(s).filter((r) => r.state === "complete").length;
    say(`Session ${name(s)} is ${s.state}: ${whole} of ${ranksOf(s).length} ranks complete.`, s.state === "complete" ? undefined : {});
    state.followed = "";
    askCost();
  }
  state.followed ||= live()?.id ?? "";
}

// show draws what is known. It first loads what the chosen session lacks, so that nothing below it
// jumps.
async function show() {
  const id = wanted();
  if (id && state.ids && !known(id)) {
    state.missing = "";
    await api.session(id).then((s) => state.sessions.set(s.id, s), (err) => (state.missing = err.message));
  }
  await readReport(chosen());
  follow();
  draw();
}

const on = {
  hello({ full }) {
    state.unreachable = "";
    unlock();
    if (full) state.sessions.clear();
    if (full) state.ids = null;
    askCost();
  },
  health(now) {
    state.health = now;
  },
  load(now) {
    api.sync(now.at);
    state.load = now;
  },
  session(s) {
    state.sessions.set(s.id, s);
  },
  sessions({ ids, error }) {
    state.ids = ids;
    state.listError = error ?? "";
    for (const id of state.sessions.keys()) if (!ids.includes(id) && id !== wanted()) state.sessions.delete(id);
  },
};

/** @type {Promise<void> | null} */
let asking = null; // for the key

// locked asks for the key if err was for want of one, and says whether it was.
function locked(err) {
  if (err.status !== 401) return false;
  asking ??= lock().then(() => {
    asking = null;
    events.open();
  });
  return true;
}

// Events that arrive together cause one drawing.
let due = false;
function soon() {
  if (due) return;
  due = true;
  setTimeout(() => ((due = false), show()), 0);
}

const events = listen(Object.keys(on), (event, data) => (on[event](data), soon()), (status) => {
  if (locked({ status })) { // what needs no key is shown behind the question for it
    api.health().then((now) => ((state.health = now), drawHealth()), () => {});
    return;
  }
  state.unreachable = "the server does not answer; what is shown may be old";
  soon();
});

let busy = false;
async function act(what, call) {
  if (busy) return;
  busy = true;
  say(`${what} …`);
  try {
    const s = await call();
    if (s.id) {
      keep(s);
      location.hash = s.id;
      state.followed = s.id;
    }
    say(s.message ?? `Session ${name(s)} is ${s.state}.`);
  } catch (err) {
    say(locked(err) ? "" : err.message, err);
  } finally {
    busy = false;
    draw();
  }
}

const number = (id, scale = 1) => ($(id).value === "" ? undefined : Number($(id).value) * scale);

function options() {
  const boxes = [...document.querySelectorAll("[data-stage]")];
  const on = boxes.filter((b) => b.checked);
  const out = { profile_prefix: $("prefix").value, max_duration_s: number("seconds"), max_bytes: number("mib", 1048576), delay_iterations: number("delay") };
  if (out.max_bytes !== undefined) out.max_bytes = Math.round(out.max_bytes);
  if ($("partial").checked) out.allow_partial = true;
  if ($("own").checked) {
    out.profiler_config = { torch_profiler_with_stack: $("stack").checked, torch_profiler_record_shapes: $("shapes").checked, torch_profiler_with_memory: $("memory").checked, torch_profiler_with_flops: $("flops").checked };
    const c = out.profiler_config;
    if (number("sample")) c.sample_requests = number("sample");
    if ($("activities").value) c.torch_profiler_activities = $("activities").value.split(",");
    if ($("iteration").value !== "step") c.iteration = $("iteration").value;
    for (const id of ["wait", "warmup", "active"]) if (number(id) !== undefined) c[`${id}_iterations`] = number(id);
  }
  // The reader cannot choose a stage without a profiler; the server says why.
  if (boxes.some((b) => !b.checked && !b.disabled)) out.stages = on.map((b) => Number(b.dataset.stage));
  return out;
}

// costText says what a session would take, what that is known from, and how far it may be off.
function costText(c) {
  if (!c.runs.length) return "What it will take is not known yet: no run of these stages is here to measure by.";
  const lacks = c.unknown.length ? `; nothing is known of ${c.unknown.join(", ")}` : "";
  const spread = c.runs.length < 2 ? "One run says nothing of how far runs differ." : c.high_bytes > c.low_bytes * 1.02 ? `By the one and by the other of them ${bytes(c.low_bytes)} to ${bytes(c.high_bytes)} recorded.` : "They agree within 2%.";
  const far = c.longest_s > 0 && c.record_s > FAR * c.longest_s ? ` The longest of them recorded for ${dur(c.longest_s * 1e9)}: beyond that the line is drawn on, so take it for an order of magnitude.` : "";
  return `At most ${dur(c.record_s * 1e9)}: about ${bytes(c.recorded_bytes)} recorded, ${bytes(c.run_bytes)} as a run, ${dur(c.finish_s * 1e9)} to finish it${lacks}. Measured on ${plural(c.runs.length, "run")} here, the last of ${when(c.last)}, at ${bytes(Math.round(c.bytes_per_s))}/s under the load of then. ${spread}${far}`;
}

// askCost shows what a session with the chosen options is expected to take.
let costTimer = 0;
function askCost() {
  clearTimeout(costTimer);
  costTimer = setTimeout(async () => {
    const text = await api.estimate(full()).then(costText, (err) => (err.status === 400 ? err.message : ""));
    patch($("cost"), text);
  }, COST_MS);
}

const full = () => ({ ...options(), max_iterations: number("iterations") });

$("profile").addEventListener("submit", (event) => {
  event.preventDefault();
  act("Starting", () => api.start(full()));
});
$("profile").addEventListener("input", () => {
  $("what").disabled = !$("own").checked;
  askCost();
});
$("stop").addEventListener("click", () => act("Stopping", api.stop));
$("lookback").addEventListener("click", () => act("Looking back", () => api.start({ ...options(), delay_iterations: undefined, max_duration_s: undefined, last_s: LAST_S })));

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act=perfetto]");
  const s = button && known(button.dataset.id);
  if (!s) return;
  const note = (text, bad = false) => (state.notes.set(s.id, { text, bad }), draw());
  const file = artifact(s, "timeline.pftrace");
  try {
    const opened = openInPerfetto(`${name(s)} ${s.id}`, `${s.id}.pftrace`, () => api.buffer(file.url));
    note("Waiting for ui.perfetto.dev in the new tab …");
    await opened;
    note("The timeline is open in the other tab.");
  } catch (err) {
    locked(err);
    note(err.message, true);
  }
});

// A picture that cannot be loaded is replaced by a message.
document.addEventListener("error", (event) => {
  const rep = event.target.nodeName === "IMG" && state.reports.get(chosen()?.id);
  if (rep) {
    rep.pictureless = true;
    draw();
  }
}, true);
addEventListener("hashchange", () => (draw(), soon()));
new ResizeObserver(drawPipeline).observe($("pipeline"));
setInterval(() => list().some(recording) && draw(), TICK_MS);
bindDrop(say);
bindTheme();
