// The question for a server's key, the same on every page, and the key that kinetoscope view
// has put into the address.
import * as api from "./api.js";
import { h, patch } from "./dom.js";

let dialog = null;
let refused = ""; // why the key of the address was not taken
/** @type {(() => void)[]} */ let waiting = [];

const at = (id) => /** @type {any} */ (document.getElementById(id));

function make() {
  dialog = h("dialog", { id: "login", "aria-labelledby": "h-login" }, h("form", { id: "unlock" }, h("h2", { id: "h-login" }, "API key"),
    h("p", { class: "quiet" }, "This server asks for a key; kinetoscope view prints it in its URL, behind ", h("code", {}, "#key="), ". A cookie remembers the login for twelve hours, at most until the browser is closed."),
    h("input", { autocomplete: "username", value: "kinetoscope", "aria-label": "Name for password managers", hidden: true }),
    h("div", { class: "fields" }, h("label", {}, "Key ", h("input", { id: "key", type: "password", autocomplete: "current-password", required: true }))),
    h("p", { id: "refused", class: "bad", role: "alert" }), h("div", { class: "buttons" }, h("button", { type: "submit" }, "Log in"))));
  document.body.append(dialog);
  at("unlock").addEventListener("submit", submit);
  dialog.addEventListener("cancel", (event) => event.preventDefault()); // nothing works without
}

async function submit(event) {
  event.preventDefault();
  try {
    await api.login(at("key").value);
    at("key").value = "";
    patch(at("refused"));
    unlock();
  } catch (err) {
    patch(at("refused"), err.status === 401 ? "This is not a key of the server." : err.message);
    at("key").select();
  }
}

// lock asks for the key; it is done once a key was taken.
export function lock() {
  if (!dialog) make();
  patch(at("refused"), refused);
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => { waiting.push(() => resolve(true)); });
}

// unlock takes the question away, for the server lets the page in.
export function unlock() {
  refused = "";
  if (dialog?.open) dialog.close();
  const list = waiting;
  waiting = [];
  for (const go of list) go();
}

// firstKey takes the key out of the address, where kinetoscope view has put it.
export async function firstKey() {
  const p = new URLSearchParams(location.hash.slice(1));
  const key = p.get("key");
  if (!key) return;
  p.delete("key");
  history.replaceState(null, "", p.size ? `#${p}` : location.pathname + location.search);
  await api.login(key).catch((err) => { refused = err.status === 401 ? "The key in the address is not one of this server: it may have been started anew since." : err.message; });
}
