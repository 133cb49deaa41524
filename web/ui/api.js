// The server's endpoints that this page uses; docs/http.md describes them.

// request returns the JSON answer, or throws an Error with the server's words.
async function request(method, path, body) {
  const res = await fetch(path, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body ? JSON.stringify(body) : undefined,
  });
  const data = await res.json().catch(() => ({}));
  if (!res.ok && !data.status) {
    const e = data.error ?? { message: `${res.status} ${res.statusText}` };
    throw new Error(data.hint ? `${e.message} (${data.hint})` : e.message);
  }
  return data;
}

export const health = () => request("GET", "/health");
export const sessions = () => request("GET", "/v1/sessions?limit=20");
export const start = (options) => request("POST", "/start_profile", options);
export const stop = () => request("POST", "/stop_profile", { wait: false });
