// Answers in place of the server that made this file. The page's questions are looked up among the
// recorded answers. The timeline was recorded at several resolutions; when the page zooms beyond
// the finest one, a box stands for all slices that it merged.
(() => {
  const text = (id) => document.getElementById(id).textContent;
  const info = JSON.parse(text("kt-info"));
  const unpack = async (id) => {
    const bytes = Uint8Array.from(atob(text(id)), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };
  let answers = null;
  const recorded = () => (answers ??= unpack("kt-answers").then((b) => JSON.parse(new TextDecoder().decode(b))));
  const levels = new Map();
  const HEADER = 40;

  // parts reads the recorded answers of a level: boxes of each track and row, with times from the begin.
  async function level(k) {
    if (!levels.has(k)) levels.set(k, unpack(`kt-level-${k}`).then((b) => parse(b, info.levels[k].tracks)));
    return levels.get(k);
  }

  function parse(buffer, tracks) {
    const byTrack = new Map();
    const names = new Map();
    const list = [];
    const sizes = new DataView(buffer);
    let at = 0;
    while (at < buffer.byteLength) {
      const size = sizes.getUint32(at, true);
      const first = sizes.getUint32(at + 4, true);
      one(buffer.slice(at + 8, at + 8 + size), tracks.slice(first, first + info.batch), byTrack, names, list);
      at += 8 + size;
    }
    for (const rows of byTrack.values()) for (const r of rows.values()) r.boxes.sort((a, b) => a.start - b.start || b.end - a.end);
    return { byTrack, names: list };
  }

  function one(buffer, tracks, byTrack, numbers, list) {
    const [rows, n, count] = new Uint32Array(buffer, 8, 3);
    const from = new DataView(buffer).getFloat64(24, true);
    let at = HEADER;
    const take = (type, k) => { const a = new type(buffer, at, k); at += a.byteLength; return a; };
    const table = take(Uint32Array, rows * 6);
    const start = take(Float32Array, n), end = take(Float32Array, n), slice = take(Uint32Array, n), held = take(Uint32Array, n), name = take(Uint32Array, n);
    const busy = take(Uint8Array, n), cls = take(Uint8Array, n);
    at = (at + 3) & ~3;
    const ends = take(Uint32Array, count);
    const bytes = new Uint8Array(buffer, at);
    const of = [];
    for (let i = 0; i < count; i++) {
      const s = new TextDecoder().decode(bytes.subarray(i ? ends[i - 1] : 0, ends[i]));
      if (!numbers.has(s)) { numbers.set(s, list.length); list.push(s); }
      of.push(numbers.get(s));
    }
    for (let r = 0; r < rows; r++) {
      const [track, row, lane, depth, first, num] = table.subarray(r * 6, r * 6 + 6);
      const id = tracks[track];
      if (!byTrack.has(id)) byTrack.set(id, new Map());
      const rowsOf = byTrack.get(id);
      if (!rowsOf.has(row)) rowsOf.set(row, { lane, depth, boxes: [], seen: new Set() });
      const to = rowsOf.get(row);
      for (let i = first; i < first + num; i++) {
        const key = `${slice[i]}.${held[i]}`;
        if (held[i] === 1 && to.seen.has(key)) continue; // reaches into the next part
        to.seen.add(key);
        to.boxes.push({ start: from + start[i], end: from + end[i], slice: slice[i], held: held[i], name: of[name[i]], busy: busy[i], cls: cls[i] });
      }
    }
  }

  async function slices(q) {
    const from = Number(q.get("from") ?? 0), to = Number(q.get("to") ?? info.end), px = Number(q.get("px") ?? 1000);
    const column = (to - from) / px;
    let k = 0;
    while (k < info.levels.length - 1 && info.levels[k].column > column) k++;
    const data = await level(k);
    const tracks = (q.get("tracks") ?? "").split(",");
    const rows = [], boxes = [];
    tracks.forEach((id, t) => {
      for (const [row, r] of data.byTrack.get(id) ?? []) {
        const first = boxes.length;
        for (const b of r.boxes) if (b.end >= from && b.start <= to) boxes.push(b);
        if (boxes.length > first) rows.push([t, row, r.lane, r.depth, first, boxes.length - first]);
      }
    });
    return encode(rows, boxes, data.names, from, Math.max(column, info.levels[k].column));
  }

  // encode lays boxes out as the server does.
  function encode(rows, boxes, all, from, column) {
    const used = [...new Set(boxes.map((b) => b.name))];
    const place = new Map(used.map((n, i) => [n, i]));
    const bytes = used.map((n) => new TextEncoder().encode(all[n]));
    const n = boxes.length;
    const columns = HEADER + rows.length * 24 + n * 22;
    const padded = (columns + 3) & ~3;
    const buffer = new ArrayBuffer(padded + used.length * 4 + bytes.reduce((s, b) => s + b.length, 0));
    new Uint8Array(buffer).set(new TextEncoder().encode("KTSLICE\x01"));
    new Uint32Array(buffer, 8, 4).set([rows.length, n, used.length, 0]);
    const head = new DataView(buffer);
    head.setFloat64(24, from, true);
    head.setFloat64(32, column, true);
    let at = HEADER;
    const put = (type, k) => { const a = new type(buffer, at, k); at += a.byteLength; return a; };
    put(Uint32Array, rows.length * 6).set(rows.flat());
    const start = put(Float32Array, n), end = put(Float32Array, n), slice = put(Uint32Array, n), held = put(Uint32Array, n), name = put(Uint32Array, n);
    const busy = put(Uint8Array, n), cls = put(Uint8Array, n);
    boxes.forEach((b, i) => {
      start[i] = b.start - from; end[i] = b.end - from; slice[i] = b.slice; held[i] = b.held;
      name[i] = place.get(b.name); busy[i] = b.busy; cls[i] = b.cls;
    });
    at = padded;
    const ends = put(Uint32Array, used.length);
    let sum = 0;
    bytes.forEach((b, i) => { new Uint8Array(buffer, at + sum, b.length).set(b); ends[i] = sum += b.length; });
    return buffer;
  }

  const json = (body, status = 200) => new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
  const refuse = (what) => json({ error: { message: `${what} is not in this file, which was cut to size: kinetoscope view shows the traces whole` } }, 404);

  globalThis.fetch = async (resource) => {
    const url = new URL(String(resource), "http://file");
    const path = url.pathname.replace(/^\/v1\/runs\/[^/]*\//, "");
    if (path === "slices") return new Response(await slices(url.searchParams));
    const all = await recorded();
    const q = new URLSearchParams([...url.searchParams].filter(([k]) => info.keys[path]?.includes(k)));
    q.sort();
    const key = q.size ? `${path}?${q}` : path;
    if (path === "counters") {
      const wanted = (url.searchParams.get("tracks") ?? "").split(",");
      const curve = new Map(all.counters.data.map((c) => [c.track, c]));
      const none = (track) => ({ track, t: [], min: [], max: [], last: [], low: 0, high: 0 });
      return json({ object: "list", data: wanted.map((id) => curve.get(id) ?? none(id)) });
    }
    if (all[key]) return json(all[key]);
    return refuse(path.startsWith("slices/") ? "What this slice holds" : path === "search" ? "The search" : path === "selection" ? "The sum of an area" : "This");
  };
})();
