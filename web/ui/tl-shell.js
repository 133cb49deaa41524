// The parts that the pages of traces share: colours, light and dark, and the question for a key.
import * as api from "./api.js";
import { patch } from "./dom.js";
import { bytes, count, percent } from "./units.js";

/** @type {(id: string) => any} an element of the page, of its own kind */
const $ = (id) => document.getElementById(id);

// amount writes a counter's value in its unit.
export const amount = (v, unit) => (unit === "share" ? percent(v) : unit === "bytes" ? bytes(v) : Math.abs(v) >= 1e4 ? count(Math.round(v)) : Number(v.toPrecision(4)).toString());

const NAMES = ["back", "group", "line", "grid", "faint", "quiet", "text", "area", "area2", "curve", "select", "cursor", "mark", "doubt", "handoff", "rail"];

function theme() {
  const css = getComputedStyle(document.documentElement);
  const t = Object.fromEntries(NAMES.map((n) => [n, css.getPropertyValue(`--${n}`).trim()]));
  return { ...t, dark: css.getPropertyValue("--dark").trim() === "1" };
}

const themes = ["", "dark", "light"];

// bindTheme lets the button switch between the system's colours, dark and light, and calls changed
// with the colours for the canvas. It returns a function that calls changed now.
export function bindTheme(changed) {
  const tell = () => changed(theme());
  const root = document.documentElement;
  root.dataset.theme = localStorage.getItem("kinetoscope-theme") ?? "";
  $("theme").addEventListener("click", () => {
    root.dataset.theme = themes[(themes.indexOf(root.dataset.theme ?? "") + 1) % themes.length];
    localStorage.setItem("kinetoscope-theme", root.dataset.theme);
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  return tell;
}

let unlocked = null;

// lock asks for the key; it resolves when the server has accepted one.
export function lock() {
  if (!$("login").open) $("login").showModal();
  return new Promise((resolve) => { unlocked = resolve; });
}

// firstKey removes the key from the address, where kinetoscope view has put it, and logs in with
// it.
export async function firstKey() {
  const p = new URLSearchParams(location.hash.slice(1));
  const key = p.get("key");
  if (!key) return;
  p.delete("key");
  history.replaceState(null, "", p.size ? `#${p}` : location.pathname + location.search);
  await api.login(key).catch((err) => patch($("refused"), err.message));
}

$("unlock").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api.login($("key").value);
    $("login").close();
    $("key").value = "";
    unlocked?.();
  } catch (err) {
    patch($("refused"), err.status === 401 ? "This is not a key of the server." : err.message);
    $("key").select();
  }
});
$("login").addEventListener("cancel", (event) => event.preventDefault());
