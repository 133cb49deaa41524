// Links to an area in every format that the server writes.
import { h } from "./dom.js";

// exportLinks lists the formats of …/view's exports. label stands before them, said before each name to who cannot see it.
/** @param {any} label @param {{format: string, ending: string, title: string}[]} formats @param {(format: string) => string} url */
export const exportLinks = (label, formats, url, said = "") => h("span", { class: "exports" }, label, " ",
  formats.map(({ format, ending, title }) => h("a", { href: url(format), download: true, title, "aria-label": `${said}${title}` }, ending.slice(1))));
