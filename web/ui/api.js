// The server's endpoints that this page uses; docs/http.md describes them.

// Refusal is an error with the server's words, what to do about it, and the session that is in the
// way.
export class Refusal extends Error {
  constructor(status, body, text) {
    super(body.error?.message ?? `the server answered ${status} ${text}`.trim());
    Object.assign(this, { status, hint: body.hint, session: body.session });
  }
}

// clockSkewMs is the server's clock minus this browser's, to the second.
export let clockSkewMs = 0;

// sync updates clockSkewMs from a time that the server has just sent.
export const sync = (at) => { clockSkewMs = Date.parse(at) - Date.now(); };

// reach asks the server. That nothing answers is said in words; browsers say "Failed to fetch" and others.
export async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (err) {
    if (err.name === "AbortError") throw err;
    throw Object.assign(new Error("the server does not answer; what is shown may be old"), { hint: "see whether kinetoscope still runs" });
  }
}

async function ask(path, options) {
  const res = await reach(path, options);
  const date = Date.parse(res.headers.get("Date"));
  if (date) clockSkewMs = date - Date.now();
  return res;
}

async function request(method, path, body, headers = {}) {
  const res = await ask(path, {
    method,
    headers: body ? { "Content-Type": "application/json", ...headers } : headers,
    body: body ? JSON.stringify(body) : undefined,
  });
  const data = await res.json().catch(() => ({}));
  // A server that is not ready answers with an error status and the same body as one that is.
  if (!res.ok && !data.stages) throw new Refusal(res.status, data, res.statusText);
  return data;
}

export const health = () => request("GET", "/health");
export const sessions = () => request("GET", "/v1/sessions?limit=20");
export const session = (id) => request("GET", `/v1/sessions/${encodeURIComponent(id)}`);
export const start = (options) => request("POST", "/start_profile", options);
export const estimate = (options) => request("POST", "/v1/estimate", options);
export const runs = (query) => request("GET", `/v1/runs?${query}`);
export const label = (id, patch) => request("PATCH", `/v1/runs/${encodeURIComponent(id)}`, patch);
export const remove = (id) => request("DELETE", `/v1/runs/${encodeURIComponent(id)}`);
export const stop = () => request("POST", "/stop_profile", { wait: false });
// login leaves a cookie, which no script can read and every request of this page sends.
export const login = (key) => request("POST", "/login", undefined, { Authorization: `Bearer ${key}` });
export const json = (url) => request("GET", url);

async function got(url) {
  const res = await ask(url);
  if (!res.ok) throw new Refusal(res.status, await res.json().catch(() => ({})), res.statusText);
  return res;
}

export const buffer = async (url) => (await got(url)).arrayBuffer();

// file reads what the server gives to be kept, and the name that it gives it.
export async function file(url) {
  const res = await got(url);
  const [, name = ""] = /filename="?([^";]+)/.exec(res.headers.get("Content-Disposition") ?? "") ?? [];
  return { name, content: await res.blob() };
}
