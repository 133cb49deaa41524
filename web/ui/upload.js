// Uploads of traces that were recorded elsewhere: files dropped on the page, or chosen.
import { h, patch } from "./dom.js";
import { bytes, percent } from "./units.js";

// send uploads one file. XMLHttpRequest reports the progress of an upload, which fetch does not.
function send(file, told) {
  return new Promise((resolve, reject) => {
    const x = new XMLHttpRequest();
    x.open("POST", `/v1/runs?name=${encodeURIComponent(file.name)}`);
    x.responseType = "json";
    x.upload.addEventListener("progress", (e) => e.lengthComputable && told(e.loaded / e.total));
    x.addEventListener("load", () => (x.status === 201 ? resolve(x.response) : reject(Object.assign(new Error(x.response?.error?.message ?? `the server answered ${x.status}`), { hint: x.response?.hint, status: x.status }))));
    x.addEventListener("error", () => reject(new Error("the connection broke; the server took nothing")));
    x.send(file);
  });
}

// bring uploads files one after the other; a single file is opened afterwards.
export async function bring(files, say) {
  /** @type {any[]} */
  const runs = [];
  for (const file of files) {
    const line = (share) => say(`Uploading ${file.name}, ${bytes(file.size)}: ${percent(share)}`);
    line(0);
    try {
      runs.push(await send(file, line));
    } catch (err) {
      say(`${file.name}: ${err.message}`, err);
      return;
    }
  }
  if (runs.length === 1) location.href = `/view/${runs[0].id}`;
  else if (runs.length === 2) say(["Both traces are here. ", h("a", { href: `/compare?a=${runs[0].id}&b=${runs[1].id}` }, "Compare them")]);
  else if (runs.length) say(`${runs.length} traces are here.`);
}

// bindDrop accepts files that are dropped anywhere on the page.
export function bindDrop(say) {
  const veil = document.body.appendChild(h("div", { id: "veil", hidden: true }));
  patch(veil, h("p", {}, "Drop traces to open them here"));
  let depth = 0;
  const files = (e) => [...(e.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (e) => files(e) && (veil.hidden = ++depth === 0));
  addEventListener("dragleave", (e) => files(e) && (veil.hidden = --depth <= 0));
  addEventListener("dragover", (e) => files(e) && e.preventDefault());
  addEventListener("drop", (e) => {
    if (!files(e)) return;
    e.preventDefault();
    depth = 0;
    veil.hidden = true;
    bring([...e.dataTransfer.files], say);
  });
}
