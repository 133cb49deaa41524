// The status page: asks the server, draws what changed, starts and stops.
import * as api from "./api.js";
import { patch, h } from "./dom.js";
import { openInPerfetto } from "./perfetto.js";
import { artifact, badge, detail, name, ranksOf, recording, sessionItem, stageItem, terminal } from "./view.js";

const IDLE_MS = 3000; // between looks at everything
const LIVE_MS = 500; // between looks at a session that is not done
const LAST_S = 10; // of the flight recorders

const $ = (id) => document.getElementById(id);
const state = { health: null, list: [], extra: null, followed: "", reports: new Map(), notes: new Map(), missing: "" };

// chosen is the session that the address names, else the youngest.
const wanted = () => decodeURIComponent(location.hash.slice(1));
const chosen = () => (wanted() ? known(wanted()) : state.list[0]);
const known = (id) => state.list.find((s) => s.id === id) ?? (state.extra?.id === id ? state.extra : undefined);

function keep(s) {
  const at = state.list.findIndex((x) => x.id === s.id);
  if (at >= 0) state.list[at] = s;
  else if (!state.list.length || s.id > state.list[0].id) state.list.unshift(s);
  else state.extra = s;
}

// say puts an answer next to the buttons that asked.
function say(text, err) {
  $("message").className = err ? "bad" : "";
  patch($("message"), text,
    err?.session && [" ", h("a", { href: `#${err.session.id}` }, `Show the session ${name(err.session)}`)],
    err?.hint && h("span", { class: "hint" }, `To do: ${err.hint}`));
}

function drawHealth() {
  const now = state.health;
  if (!now) return;
  patch($("model"), now.model);
  patch($("health"), badge(now.status), now.reason && h("span", { class: "reason" }, now.reason));
  if (now.stages) patch($("stages"), now.stages.map(stageItem));
}

function draw() {
  drawHealth();
  const s = chosen();
  document.body.classList.toggle("recording", state.list.some(recording));
  patch($("sessions"), state.list.length ? state.list.map((x) => sessionItem(x, x.id === s?.id)) : h("li", { class: "quiet" }, "None yet: start one, send a request, stop."));
  if (s) patch($("detail"), detail(s, { rep: state.reports.get(s.id), note: state.notes.get(s.id), now: Date.now() + api.clockSkewMs }));
  else if (wanted()) patch($("detail"), h("p", { class: state.missing ? "bad" : "quiet" }, state.missing || "…"));
  else patch($("detail"), h("p", { class: "quiet" }, "A session shows here: what every rank did, where the time went, and the files to take away."));
}

// readReport fetches a run's report once.
async function readReport(s) {
  const file = s && terminal(s) && artifact(s, "report.json");
  if (!file || state.reports.has(s.id)) return;
  state.reports.set(s.id, {});
  const rep = await api.json(file.url).then((data) => ({ data }), (err) => ({ error: err.message }));
  state.reports.set(s.id, rep);
}

// follow says how the session ended that was running when last looked at.
function follow() {
  const s = known(state.followed);
  if (s && terminal(s)) {
    const whole = ranksOf(s).filter((r) => r.state === "complete").length;
    say(`Session ${name(s)} is ${s.state}: ${whole} of ${ranksOf(s).length} ranks complete.`, s.state === "complete" ? undefined : {});
    state.followed = "";
  }
  state.followed ||= state.list.find((x) => !terminal(x))?.id ?? "";
}

async function look(all) {
  const live = state.list.find((s) => !terminal(s));
  if (all || !live) {
    state.health = await api.health();
    drawHealth();
    state.list = (await api.sessions()).data;
  } else {
    keep(await api.session(live.id));
  }
  const id = wanted();
  const have = known(id);
  if (id && (!have || (have === state.extra && !terminal(have)))) {
    state.missing = "";
    await api.session(id).then(keep, (err) => (state.missing = err.message));
  }
  await readReport(chosen()); // first, so that what stands below it does not jump
  follow();
  draw();
  $("login").close();
}

// lock asks for the key, until a look succeeds. It says whether err was for want of one.
function lock(err) {
  if (err.status !== 401) return false;
  if (!$("login").open) $("login").showModal();
  return true;
}

// One loop asks, so that no answer overtakes a younger one. poke makes it ask now.
let poked = true;
let wake = () => {};
function poke() {
  poked = true;
  wake();
}

async function loop() {
  let whole = 0;
  for (;;) {
    const asked = poked;
    const all = asked || performance.now() - whole >= IDLE_MS;
    poked = false;
    try {
      if (!document.hidden && (asked || !$("login").open)) await look(all);
      if (all) whole = performance.now();
    } catch (err) {
      if (!lock(err)) state.health = { ...state.health, status: "unreachable", reason: `${err.message}; what is shown may be old` };
      drawHealth();
    }
    if (!poked) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, state.health?.status !== "unreachable" && state.list.some((s) => !terminal(s)) ? LIVE_MS : IDLE_MS);
        wake = () => (clearTimeout(timer), resolve());
      });
    }
  }
}

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
    poke();
  }
}

function options() {
  const boxes = [...document.querySelectorAll("[data-stage]")];
  const on = boxes.filter((b) => b.checked);
  const out = { profile_prefix: $("prefix").value };
  // A stage without a profiler is no choice of the reader's; the server says so.
  if (boxes.some((b) => !b.checked && !b.disabled)) out.stages = on.map((b) => Number(b.dataset.stage));
  return out;
}

$("profile").addEventListener("submit", (event) => {
  event.preventDefault();
  const most = $("iterations").value;
  act("Starting", () => api.start({ ...options(), ...(most !== "" && { max_iterations: Number(most) }) }));
});
$("unlock").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api.login($("key").value);
    $("key").value = "";
    patch($("refused"));
    poke();
  } catch (err) {
    patch($("refused"), err.status === 401 ? "This is not a key of the server." : err.message);
    $("key").select();
  }
});
$("login").addEventListener("cancel", (event) => event.preventDefault()); // nothing works without
$("stop").addEventListener("click", () => act("Stopping", api.stop));
$("lookback").addEventListener("click", () => act("Looking back", () => api.start({ ...options(), last_s: LAST_S })));

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

// A picture that does not come is said in its place.
document.addEventListener("error", (event) => {
  const rep = event.target.nodeName === "IMG" && state.reports.get(chosen()?.id);
  if (rep) {
    rep.pictureless = true;
    draw();
  }
}, true);
addEventListener("hashchange", () => (draw(), poke()));
document.addEventListener("visibilitychange", poke);
loop();
