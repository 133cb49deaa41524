// Data to elements. Text only ever enters as text nodes.

// h makes an element: h("td", { class: "num" }, "7").
export function h(name, attributes = {}, ...children) {
  const el = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) el.setAttribute(key, "");
    else if (value !== false && value != null) el.setAttribute(key, value);
  }
  el.append(...children);
  return el;
}

const tone = (state) =>
  ({ complete: "good", ok: "good", failed: "bad", lost: "bad", timed_out: "bad", unhealthy: "bad" })[state] ?? "busy";

export const badge = (state) => h("span", { class: `badge ${tone(state)}` }, state);

export const running = (state) => ["arming", "armed", "recording"].includes(state);

export function stageRow(stage, checked) {
  const all = stage.replicas * stage.ranks;
  const ranks = (stage.rank_details ?? []).map((r) => `r${r.replica}/k${r.rank} pid ${r.pid} on ${r.host}${r.ready ? "" : " (starting)"}`);
  return h("tr", {},
    h("td", {}, h("input", { type: "checkbox", "data-stage": stage.id, checked: checked && stage.profiler, disabled: !stage.profiler, "aria-label": `capture ${stage.name}` })),
    h("td", {}, `${stage.id} ${stage.name}`),
    h("td", {}, stage.type),
    h("td", {}, stage.output ?? ""),
    h("td", { title: ranks.join("\n") }, `${stage.ready_ranks} of ${all} ready`));
}

const size = (n) => (n < 1024 ? `${n} B` : n < 1 << 20 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / (1 << 20)).toFixed(1)} MiB`);

function artifacts(list) {
  const out = [];
  for (const a of list ?? []) {
    const name = a.name.split("/").pop();
    out.push(a.url ? h("a", { href: a.url, title: `sha256 ${a.sha256}` }, name) : name, ` ${size(a.size)} `);
  }
  return out;
}

export function sessionItem(s, open) {
  const rows = s.stages.flatMap((st) => (st.ranks ?? []).map((r) =>
    h("tr", {},
      h("td", {}, `${st.stage} ${st.name}`),
      h("td", {}, `r${r.replica}/k${r.rank}`),
      h("td", {}, badge(r.state), r.reason ? ` ${r.reason}` : ""),
      h("td", { class: "num" }, String(r.events)),
      h("td", {}, ...artifacts(r.artifacts)))));
  return h("details", { "data-id": s.id, open },
    h("summary", {}, badge(s.state), h("span", {}, s.prefix || "no prefix"),
      h("span", {}, new Date(s.started_at).toLocaleString()), h("span", {}, h("code", {}, s.id))),
    s.error ? h("p", { class: "bad" }, s.error) : "",
    h("p", {}, ...artifacts(s.artifacts)),
    h("table", {},
      h("thead", {}, h("tr", {}, ...["Stage", "Rank", "State", "Events", "Artifacts"].map((t) => h("th", {}, t)))),
      h("tbody", {}, ...rows)));
}
