// The page of runs: it finds them, says how reliable they are, and lets readers label and delete
// them.
import * as api from "./api.js";
import { h, patch } from "./dom.js";
import { listen } from "./events.js";
import { firstKey, lock, unlock } from "./login.js";
import { bindTheme } from "./theme.js";
import { bytes, count, dur, plural, when } from "./units.js";
import { bindDrop, bring } from "./upload.js";

const PAGE = 200; // runs that are shown at once
const TYPE_MS = 200; // after the last key

const $ = (id) => /** @type {any} */ (document.getElementById(id));
const state = { found: null, error: null, picked: new Set(), limit: PAGE };

function say(text, err) {
  $("message").className = err ? "bad" : "";
  patch($("message"), text, err?.hint && h("span", { class: "hint" }, `To do: ${err.hint}`));
}

// The address holds the reader's choices, so that a link shows the same elsewhere.
const fields = { q: "q", health: "state", kind: "kind", tag: "tag", sort: "sort" };

function fromAddress() {
  const v = new URLSearchParams(location.search);
  for (const [key, id] of Object.entries(fields)) {
    const value = v.get(key) ?? (key === "sort" ? "started" : "");
    if (key === "tag" && value && ![...$(id).options].some((o) => o.value === value)) $(id).append(h("option", {}, value));
    $(id).value = value;
  }
  $("pinned").checked = v.get("pinned") === "true";
  $("asc").checked = v.get("order") === "asc";
}

function query() {
  const v = new URLSearchParams();
  for (const [key, id] of Object.entries(fields)) if ($(id).value && !(key === "sort" && $(id).value === "started")) v.set(key, $(id).value);
  if ($("pinned").checked) v.set("pinned", "true");
  if ($("asc").checked) v.set("order", "asc");
  return v;
}

const tones = { whole: "good", flawed: "busy", broken: "bad" };
const button = (act, id, text, more = {}) => h("button", { type: "button", "data-act": act, "data-id": id, ...more }, text);
const cell = (label, ...children) => h("td", { "data-label": label }, ...children);
const num = (label, text) => h("td", { "data-label": label, class: "num" }, text);
const title = (r) => r.prefix || "no prefix";

function row(r) {
  const sorts = r.upload ? `uploaded ${r.upload.format}` : (r.stages ?? []).join(" → ");
  return h("tr", { "data-key": r.id, class: r.pinned && "pinned" },
    cell("Choose", h("input", { type: "checkbox", "data-pick": r.id, "aria-label": `choose ${title(r)} of ${when(r.started_at)}` })),
    h("th", { scope: "row" }, h("a", { href: live() ? `/#${r.id}` : `/view/${r.id}`, class: r.prefix ? "" : "quiet" }, title(r)), h("span", { class: "sub quiet" }, sorts),
      r.note && h("span", { class: "sub note" }, r.note), r.tags.length > 0 && h("span", { class: "sub" }, r.tags.map((t) => button("tag", t, t, { class: "chip", "aria-label": `only runs with the tag ${t}` })))),
    cell("Started", when(r.started_at)), num("Recorded", r.recorded_ns ? dur(r.recorded_ns) : "–"), num("Size", bytes(r.bytes)),
    num("Ranks", r.ranks ? `${r.complete} of ${r.ranks}` : "–"),
    cell("Health", h("span", { class: `badge ${tones[r.health]}` }, r.health), r.why && h("span", { class: "sub" }, r.why)),
    h("td", { class: "acts" }, h("a", { class: "button", href: `/view/${r.id}` }, "Timeline"), " ",
      button("pin", r.id, r.pinned ? "Unpin" : "Pin", { "aria-pressed": r.pinned ? "true" : "false", title: "a pinned run is never deleted" }), " ",
      button("edit", r.id, "Tags, note"), " ", h("a", { class: "button plain", href: `/v1/runs/${r.id}/archive` }, "Archive"), " ",
      button("delete", r.id, "Delete", { disabled: r.pinned, class: "danger" })));
}

// live says whether the server has a pipeline, and so a live page.
const live = () => state.found?.live !== false;

const heads = ["", "Run", "Started", "#Recorded", "#Size", "#Ranks complete", "Health", "Do"];

function draw() {
  const f = state.found;
  if (state.error) return void patch($("list"), h("p", { class: "bad", role: "alert" }, state.error));
  if (!f) return;
  for (const id of state.picked) if (!f.data.some((r) => r.id === id)) state.picked.delete(id);
  const filtered = query().size > 0;
  $("tolive").hidden = !live();
  patch($("sum"), `${f.matched === f.runs ? plural(f.runs, "run") : `${count(f.matched)} of ${plural(f.runs, "run")}`}, ${bytes(f.bytes)} in all${f.free_bytes == null ? "" : `; ${bytes(f.free_bytes)} free on the disk`}`);
  const tag = $("tag").value;
  patch($("tag"), h("option", { value: "" }, "any"), [...new Set([...f.tags, ...(tag ? [tag] : [])])].map((t) => h("option", { "data-key": t, value: t }, t)));
  $("tag").value = tag;
  if (!f.data.length) {
    patch($("list"), h("div", { class: "empty" }, filtered ? [h("p", {}, "No run is like that."), button("clear", "", "Show all runs")]
      : [h("p", {}, "There are no runs yet."), h("p", { class: "quiet" }, live() ? ["Start a session on the ", h("a", { href: "/" }, "live page"), ", or drop a trace here: "] : "Drop a trace here, or choose a file: ", "Kineto, Perfetto, nsys and many more."), button("upload", "", "Upload a trace")]));
  } else {
    patch($("list"), h("div", { class: "scroll" }, h("table", { class: "cards" }, h("caption", { class: "unseen" }, "Runs"),
      h("thead", {}, h("tr", {}, heads.map((t) => h("th", { scope: "col", class: t.startsWith("#") && "num" }, t ? t.replace("#", "") : h("span", { class: "unseen" }, "Chosen"))))),
      h("tbody", {}, f.data.map(row)))), f.matched > f.data.length && button("more", "", `Show more of ${count(f.matched)}`));
  }
  for (const box of document.querySelectorAll("[data-pick]")) box.checked = state.picked.has(box.dataset.pick);
  $("compare").disabled = state.picked.size !== 2;
  const k = f.retention;
  const rules = [k.max_age_s > 0 && `began more than ${dur(k.max_age_s * 1e9)} ago`, k.max_bytes > 0 && `are the oldest while all have more than ${bytes(k.max_bytes)}`].filter(Boolean);
  patch($("keep"), rules.length ? `Runs that ${rules.join(", or ")} are deleted; pinned ones and the youngest stay.` : "Runs stay until they are deleted; serve --keep-age and --keep-bytes do so by themselves.",
    ` One upload may have ${bytes(f.uploads.max_bytes)}.${f.uploads.temporary ? " What is brought here is gone when this viewer ends; kinetoscope view without files keeps it." : ""}`,
    k.removed.length > 0 && h("details", { "data-key": "removed" }, h("summary", {}, `${plural(k.removed.length, "run")} deleted lately`), h("ul", {}, k.removed.map((r) => h("li", {}, `${r.prefix || r.id}, ${bytes(r.bytes)}, ${when(r.at)}: ${r.why}`)))));
}

// look asks the server, and draws the answer unless a newer question was asked meanwhile.
let asked = 0;
async function look() {
  const turn = ++asked;
  const v = query();
  history.replaceState(null, "", v.size ? `?${v}` : location.pathname);
  v.set("limit", String(state.limit));
  try {
    const found = await api.runs(v);
    if (turn !== asked) return;
    [state.found, state.error] = [found, null];
    patch($("health"));
  } catch (err) {
    if (turn !== asked) return;
    if (locked(err)) return;
    state.error = err.message;
  }
  draw();
}

/** @type {Promise<void> | null} */
let asking = null; // for the key

// locked asks for the key if err was for want of one, and says whether it was.
function locked(err) {
  if (err.status !== 401) return false;
  patch($("list"), h("p", { class: "quiet" }, "This server asks for a key."));
  asking ??= lock().then(() => {
    asking = null;
    events.open();
    look();
  });
  return true;
}

let timer = 0;
const soon = (ms = 0) => (clearTimeout(timer), (timer = setTimeout(look, ms)));

const find = (id) => state.found?.data.find((r) => r.id === id);

// ask shows a dialog and returns which button closed it.
const ask = (dialog) => new Promise((resolve) => {
  dialog.returnValue = "no";
  dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  dialog.showModal();
});

const acts = {
  async pin(r) {
    await api.label(r.id, { pinned: !r.pinned });
    say(`${title(r)} is ${r.pinned ? "not pinned any more" : "pinned: it is not deleted"}.`);
  },
  async delete(r) {
    patch($("doomed"), `${title(r)} of ${when(r.started_at)}, ${bytes(r.bytes)} in ${plural(r.files, "file")}. This cannot be undone.`);
    if (await ask($("sure")) !== "yes") return;
    await api.remove(r.id);
    say(`${title(r)} is deleted; ${bytes(r.bytes)} are free.`);
  },
  async edit(r) {
    [$("tags").value, $("note").value] = [r.tags.join(", "), r.note ?? ""];
    if (await ask($("edit")) !== "save") return;
    const tags = $("tags").value.split(",").map((t) => t.trim()).filter(Boolean);
    await api.label(r.id, { tags, note: $("note").value });
    say(`${title(r)} is labelled.`);
  },
  tag(_, id) {
    $("tag").value = id;
  },
  clear() {
    history.replaceState(null, "", location.pathname);
    fromAddress();
  },
  upload() {
    $("file").click();
  },
  more() {
    state.limit += PAGE;
  },
};

document.addEventListener("click", async (event) => {
  const b = event.target.closest("[data-act]");
  if (!b) return;
  try {
    await acts[b.dataset.act]?.(find(b.dataset.id), b.dataset.id);
    await look();
  } catch (err) {
    if (!locked(err)) say(err.message, err);
  }
});
document.addEventListener("change", (event) => {
  const id = event.target.dataset?.pick;
  if (!id) return;
  if (event.target.checked) state.picked.add(id);
  else state.picked.delete(id);
  $("compare").disabled = state.picked.size !== 2;
});
$("compare").addEventListener("click", () => {
  const [b, a] = state.found.data.filter((r) => state.picked.has(r.id)).sort((x, y) => (x.started_at < y.started_at ? 1 : -1));
  location.href = `/compare?a=${a.id}&b=${b.id}`; // the older one first
});
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => bring([...$("file").files], say).then(() => ($("file").value = "")));
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("input", () => soon(TYPE_MS));
addEventListener("popstate", () => (fromAddress(), soon()));

fromAddress();
bindDrop(say);
bindTheme();
await firstKey();
const events = listen(["hello", "runs", "sessions"], (event) => (event === "hello" && unlock(), soon()), (status) => !locked({ status }) && patch($("health"), h("span", { class: "badge bad" }, "unreachable"), h("span", { class: "reason" }, "the server does not answer; what is shown may be old")));
look();
