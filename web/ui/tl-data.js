// What the timeline asks the server, and the layout of its binary answers.
// docs/http.md describes both.
import { reach, Refusal } from "./api.js";

// ask asks the server; parameters that are undefined or false are left out.
async function ask(url, params = {}, options = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, v]) => v != null && v !== "" && v !== false)
    .map(([k, v]) => [k, v === true ? "1" : Array.isArray(v) ? v.join(",") : typeof v === "number" ? String(Math.round(v)) : v]));
  const res = await reach(`${url}${query.size ? `?${query}` : ""}`, options);
  if (!res.ok) throw new Refusal(res.status, await res.json().catch(() => ({})), res.statusText);
  return res;
}

let asked = 0;

// waiting reports whether an answer is under way.
export const waiting = () => asked > 0;

// counted makes waiting true until the answer to a question has been read.
async function counted(question) {
  asked++;
  try {
    return await question();
  } finally {
    asked--;
  }
}

export const json = (url, params, options) => counted(async () => (await ask(url, params, options)).json());

// area is the question about an area: of all tracks it names none, for thousands of names are more than an address holds.
const area = ({ every, ...q }) => (every ? { ...q, tracks: null } : q);

// forRun returns the questions about the run with this id.
export function forRun(id) {
  const run = `/v1/runs/${encodeURIComponent(id)}`;
  const one = (path, params, options) => json(`${run}/${path}`, params, options);
  const list = async (path, params, options) => (await one(path, params, options)).data;
  return {
    view: () => one("view"),
    tracks: (pack) => list("tracks", { pack }),
    slices: (q, options) => counted(async () => decode(await (await ask(`${run}/slices`, q, options)).arrayBuffer(), q.tracks)),
    counters: (q, options) => list("counters", q, options),
    steps: (q, options) => list("steps", q, options),
    windows: () => one("windows"),
    requests: () => list("requests"),
    arrows: (q) => list("arrows", q),
    findings: () => list("findings"),
    detail: (slice, options) => one(`slices/${slice}`, {}, options),
    next: async (slice, back) => (await one(`slices/${slice}/next`, { back })).slice,
    search: (q, options) => one("search", q, options),
    selection: (q, options) => one("selection", area(q), options),
    derived: () => list("derived"),
    overview: () => one("overview"),
    stepTimes: () => list("steptimes"),
    ops: (trace, by) => one("ops", { trace, by }),
    flame: (trace, of) => one("flame", { trace, of }),
    communication: () => one("communication"),
    memory: () => list("memory"),
    rooflines: () => list("rooflines"),
    criticalPath: (q) => one("criticalpath", q),
    exportURL: (q) => `${run}/export?${new URLSearchParams(Object.entries(area(q)).filter(([, v]) => v != null).map(([k, v]) => [k, Array.isArray(v) ? v.join(",") : String(v)]))}`,
  };
}

// The page at /view/ID asks about that run.
export const { view, tracks, slices, counters, steps, windows, requests, arrows, findings, detail, next, search, selection, derived, overview, stepTimes, ops, flame,
  communication, memory, rooflines, criticalPath, exportURL } = forRun(decodeURIComponent(location.pathname.split("/").pop()));

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
