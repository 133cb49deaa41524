// Links to an area in every format that the server writes.
import * as api from "./api.js";
import { h } from "./dom.js";

const KEPT_MS = 60_000; // until the browser has surely begun to copy the file

// exportLinks lists the formats of …/view's exports. label stands before them; said is read out before each name, which
// begins with what is to be seen, so that whoever speaks to the page can say it.
/** @param {any} label @param {{format: string, ending: string, title: string}[]} formats @param {(format: string) => string} url */
export const exportLinks = (label, formats, url, said = "") => h("span", { class: "exports" }, label, " ",
  formats.map(({ format, ending, title }) => h("a", { href: url(format), download: true, "data-export": "", title, "aria-label": `${said}${ending.slice(1)}, ${title}` }, ending.slice(1))));

// bindExports has a click on a link to an area read the file before it is kept: of a format that cannot hold the area the
// browser would say no more than that the download failed. The reason goes to fail; say is told what happens.
/** @param {(err: any) => void} fail @param {(text: string) => void} say */
export function bindExports(fail, say) {
  document.addEventListener("click", async (event) => {
    const link = /** @type {any} */ (event.target).closest?.("a[data-export]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (link.ariaBusy) return;
    link.ariaBusy = "true";
    say(`writing ${link.textContent}`);
    try {
      const { name, content } = await api.file(link.href);
      const url = URL.createObjectURL(content);
      h("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
      say(`${name} written`);
    } catch (err) {
      fail(err);
    } finally {
      link.ariaBusy = null;
    }
  });
}
