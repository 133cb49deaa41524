// Links to an area in every format that the server writes.
import { h } from "./dom.js";

// exportLinks lists the formats of …/view's exports. label stands before them; said is read out before each name, which
// begins with what is to be seen, so that whoever speaks to the page can say it.
/** @param {any} label @param {{format: string, ending: string, title: string}[]} formats @param {(format: string) => string} url */
export const exportLinks = (label, formats, url, said = "") => h("span", { class: "exports" }, label, " ",
  formats.map(({ format, ending, title }) => h("a", { href: url(format), download: true, title, "aria-label": `${said}${ending.slice(1)}, ${title}` }, ending.slice(1))));
