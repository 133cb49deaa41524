// The status page: polls the server, draws what changed, starts and stops.
import * as api from "./api.js";
import { badge, running, sessionItem, stageRow } from "./view.js";

const POLL_MS = 1500;
const $ = (id) => document.getElementById(id);
const drawn = { stages: "", sessions: "" };

function say(text, bad = false) {
  $("message").textContent = text;
  $("message").className = bad ? "bad" : "";
}

const boxes = () => [...document.querySelectorAll("[data-stage]")];

function drawHealth(now) {
  $("model").textContent = now.model;
  $("health").replaceWith(Object.assign(badge(now.status), { id: "health", title: now.reason ?? "" }));
  const text = JSON.stringify(now.stages);
  if (text === drawn.stages) return;
  const off = new Set(boxes().filter((b) => !b.checked).map((b) => Number(b.dataset.stage)));
  drawn.stages = text;
  $("stages").replaceChildren(...now.stages.map((s) => stageRow(s, !off.has(s.id))));
}

function drawSessions(list) {
  const busy = list.some((s) => running(s.state));
  $("start").disabled = busy;
  $("stop").disabled = !busy;
  const text = JSON.stringify(list);
  if (text === drawn.sessions) return;
  const open = new Set([...document.querySelectorAll("details[open]")].map((d) => d.dataset.id));
  if (drawn.sessions === "" && list.length) open.add(list[0].id);
  drawn.sessions = text;
  $("sessions").replaceChildren(...(list.length ? list.map((s) => sessionItem(s, open.has(s.id))) : ["No session yet."]));
}

async function refresh() {
  const [now, list] = await Promise.all([api.health(), api.sessions()]);
  drawHealth(now);
  drawSessions(list.data);
}

async function poll() {
  try {
    if (!document.hidden) await refresh();
  } catch (err) {
    $("health").replaceWith(Object.assign(badge("unreachable"), { id: "health", title: err.message }));
  }
  setTimeout(poll, POLL_MS);
}

async function act(what, call) {
  say(`${what} …`);
  try {
    const s = await call();
    say(s.message ?? `${s.state}: ${s.id}`);
    await refresh();
  } catch (err) {
    say(err.message, true);
  }
}

$("profile").addEventListener("submit", (event) => {
  event.preventDefault();
  const able = boxes().filter((b) => !b.disabled);
  const chosen = able.filter((b) => b.checked).map((b) => Number(b.dataset.stage));
  const options = { profile_prefix: $("prefix").value };
  if (chosen.length < boxes().length) options.stages = chosen;
  if ($("iterations").value !== "") options.max_iterations = Number($("iterations").value);
  act("Starting", () => api.start(options));
});
$("stop").addEventListener("click", () => act("Stopping", api.stop));
poll();
