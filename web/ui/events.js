// The server's events: changes without polling. docs/http.md describes them.

const AGAIN_MS = 3000; // after a refusal, after which browsers do not connect again by themselves

// listen calls on(event, data) for every event. It calls lost(status) when the server does not
// answer (0) or refuses (its status). It returns functions that end it and that connect anew. A
// hidden page does not listen, because browsers allow a server six connections in all.
export function listen(names, on, lost) {
  let source = null;
  let timer = 0;
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    if (document.hidden) return;
    source = new EventSource("/v1/events");
    for (const name of names) source.addEventListener(name, (e) => on(name, JSON.parse(e.data)));
    source.addEventListener("error", async () => {
      const refused = source?.readyState === EventSource.CLOSED;
      const status = refused ? await fetch("/v1/sessions?limit=1").then((r) => r.status, () => 0) : 0;
      lost(status);
      if (!refused) return; // the browser connects again by itself
      close();
      if (status !== 401) timer = setTimeout(open, AGAIN_MS);
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
  return { open, close };
}
