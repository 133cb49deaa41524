// What the timeline asks the server, and the layout of its binary answers.
// docs/http.md describes both.
import { Refusal } from "./api.js";

const run = () => `/v1/runs/${encodeURIComponent(decodeURIComponent(location.pathname.split("/").pop()))}`;

async function ask(path, params = {}, options = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, v]) => v != null && v !== "" && v !== false)
    .map(([k, v]) => [k, v === true ? "1" : Array.isArray(v) ? v.join(",") : typeof v === "number" ? String(Math.round(v)) : v]));
  const res = await fetch(`${run()}/${path}${query.size ? `?${query}` : ""}`, options);
  if (!res.ok) throw new Refusal(res.status, await res.json().catch(() => ({})), res.statusText);
  return res;
}

let asked = 0;

// waiting says whether an answer is on its way.
export const waiting = () => asked > 0;

// counted takes a question into account until its answer is read.
async function counted(question) {
  asked++;
  try {
    return await question();
  } finally {
    asked--;
  }
}

const json = (path, params, options) => counted(async () => (await ask(path, params, options)).json());
const list = async (path, params, options) => (await json(path, params, options)).data;

export const view = () => json("view");
export const tracks = (pack) => list("tracks", { pack });
export const counters = (q, options) => list("counters", q, options);
export const steps = (q, options) => list("steps", q, options);
export const requests = () => list("requests");
export const arrows = (q) => list("arrows", q);
export const findings = () => list("findings");
export const detail = (id, options) => json(`slices/${id}`, {}, options);
export const next = async (id, back) => (await json(`slices/${id}/next`, { back })).slice;
export const search = (q, options) => json("search", q, options);
export const selection = (q, options) => json("selection", q, options);
export const derived = () => list("derived");
export const overview = () => json("overview");
export const stepTimes = () => list("steptimes");
export const ops = (trace, by) => json("ops", { trace, by });
export const flame = (trace, of) => json("flame", { trace, of });
export const communication = () => json("communication");
export const memory = () => list("memory");
export const rooflines = () => list("rooflines");
export const criticalPath = (q) => json("criticalpath", q);
export const exportURL = (q) => `${run()}/export?${new URLSearchParams(Object.entries(q).map(([k, v]) => [k, Array.isArray(v) ? v.join(",") : String(v)]))}`;

const MAGIC = "KTSLICE\x01";
const HEADER = 40;
const text = new TextDecoder();

// decode reads an answer of …/slices. The columns are views of the buffer.
export function decode(buffer, tracks) {
  const magic = text.decode(new Uint8Array(buffer, 0, 8));
  if (magic !== MAGIC) throw new Error("the server's answer has another version than this page: reload the page");
  const [rows, n, names, missing] = new Uint32Array(buffer, 8, 4);
  const head = new DataView(buffer, 24);
  let at = HEADER;
  const take = (type, count) => {
    const a = new type(buffer, at, count);
    at += a.byteLength;
    return a;
  };
  const rowTable = take(Uint32Array, rows * 6);
  const d = { from: head.getFloat64(0, true), column: head.getFloat64(8, true), missing,
    start: take(Float32Array, n), end: take(Float32Array, n), slice: take(Uint32Array, n), count: take(Uint32Array, n),
    name: take(Uint32Array, n), busy: take(Uint8Array, n), cls: take(Uint8Array, n), names: [], byTrack: new Map(tracks.map((t) => [t, []])) };
  at = (at + 3) & ~3;
  const ends = take(Uint32Array, names);
  const bytes = new Uint8Array(buffer, at);
  for (let i = 0; i < names; i++) d.names.push(text.decode(bytes.subarray(i ? ends[i - 1] : 0, ends[i])));
  for (let i = 0; i < rows; i++) {
    const [track, row, lane, depth, first, count] = rowTable.subarray(i * 6, i * 6 + 6);
    d.byTrack.get(tracks[track]).push({ row, lane, depth, first, last: first + count });
  }
  return d;
}

export const slices = (q, options) =>
  counted(async () => decode(await (await ask("slices", q, options)).arrayBuffer(), q.tracks));
