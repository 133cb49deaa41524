// Hands a timeline to Perfetto's viewer in another tab. The viewer answers "PING" with
// "PONG" once it listens, and takes a trace as a message; nothing is uploaded.

const ORIGIN = "https://ui.perfetto.dev";
const PING_MS = 100;
const PATIENCE_MS = 60_000; // the viewer is a few megabytes to load

// openInPerfetto must be called from a click handler. It opens the tab before it fetches the trace,
// because a browser lets a click open a tab only for a short time.
export async function openInPerfetto(title, fileName, fetchBuffer) {
  const tab = window.open(ORIGIN);
  if (!tab) throw new Error("the browser blocked the new tab; allow pop-ups for this page, or download the timeline and open it at ui.perfetto.dev");
  try {
    const [buffer] = await Promise.all([fetchBuffer(), listening(tab)]);
    tab.postMessage({ perfetto: { buffer, title, fileName } }, ORIGIN, [buffer]);
  } catch (err) {
    tab.close();
    throw err;
  }
}

// listening waits until the tab answers.
function listening(tab) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const done = (how, value) => {
      clearInterval(timer);
      removeEventListener("message", onMessage);
      how(value);
    };
    const onMessage = (event) => {
      if (event.source === tab && event.origin === ORIGIN && event.data === "PONG") done(resolve);
    };
    const timer = setInterval(() => {
      if (tab.closed) done(reject, new Error("the tab was closed before the viewer had loaded"));
      else if (performance.now() - started > PATIENCE_MS) {
        done(reject, new Error("ui.perfetto.dev does not answer; is it reachable from here? Else download the timeline and open it in a viewer of your own"));
      } else {
        // The message holds nothing, since the tab may be of another origin until the viewer has loaded.
        tab.postMessage("PING", "*");
      }
    }, PING_MS);
    addEventListener("message", onMessage);
  });
}
