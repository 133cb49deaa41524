// The live page: it is told by the server what changes, shows that, and starts and stops sessions.
import * as api from "./api.js";
import { patch, h } from "./dom.js";
import { listen } from "./events.js";
import { graph, trouble } from "./graph.js";
import { openInPerfetto } from "./perfetto.js";
import { bytes, dur, plural, when } from "./units.js";
import { bindDrop } from "./upload.js";
import { artifact, badge, detail, name, ranksOf, recording, sessionItem, stageItem, terminal } from "./view.js";

const LAST_S = 10; // of the flight recorders
const TICK_MS = 1000; // between drawings of how long a session has recorded
const COST_MS = 400; // after the last key

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
    if ($("login").open) $("login").close();
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

// lock asks for the key until the server accepts one. It returns whether err was caused by a
// missing key.
function lock(err) {
  if (err.status !== 401) return false;
  if (!$("login").open) $("login").showModal();
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
  if (lock({ status })) { // what needs no key stays visible behind the question
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
    say(lock(err) ? "" : err.message, err);
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
    if (number("sample")) out.profiler_config.sample_requests = number("sample");
  }
  // The reader cannot choose a stage without a profiler; the server says why.
  if (boxes.some((b) => !b.checked && !b.disabled)) out.stages = on.map((b) => Number(b.dataset.stage));
  return out;
}

// costText says what a session is expected to take, and on which runs the estimate rests.
function costText(c) {
  if (!c.runs.length) return "What it will take is not known yet: no run of these stages is here to measure by.";
  const lacks = c.unknown.length ? `; nothing is known of ${c.unknown.join(", ")}` : "";
  return `At most ${dur(c.record_s * 1e9)}: about ${bytes(c.recorded_bytes)} recorded, ${bytes(c.run_bytes)} as a run, ${dur(c.finish_s * 1e9)} to finish it${lacks}. Measured on ${plural(c.runs.length, "run")} here, the last of ${when(c.last)}, at ${bytes(Math.round(c.bytes_per_s))}/s under the load of then.`;
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
$("unlock").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api.login($("key").value);
    $("key").value = "";
    patch($("refused"));
    events.open();
  } catch (err) {
    patch($("refused"), err.status === 401 ? "This is not a key of the server." : err.message);
    $("key").select();
  }
});
$("login").addEventListener("cancel", (event) => event.preventDefault()); // nothing works without a key
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
    lock(err);
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
