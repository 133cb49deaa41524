// The report: the same traces as the timeline shows, in numbers and pictures. Every figure
// leads to its slice there.
import { dress, h, patch } from "./dom.js";
import * as time from "./rp-time.js";
import * as ranks from "./rp-ranks.js";
import * as work from "./rp-work.js";
import { measure } from "./tl-size.js";
import { count, plural } from "./units.js";

// A section asks for its data once, when it comes near the screen, and draws it.
// { id, title, load(app), draw(data, section), has(data): is there anything to show }
const SECTIONS = [time.findings, time.where, time.requests, time.steps, work.ops, work.flames, work.path, ranks.communication, ranks.memory, work.roofline];

export class Report {
  constructor(el, app) {
    this.el = el;
    this.app = app;
    this.body = el.querySelector("#sections");
    this.nav = el.querySelector("#contents");
    this.sections = SECTIONS.map((of) => ({ of, page: this, app, data: null, error: "", state: "", choice: {}, width: 0 }));
    el.addEventListener("click", (event) => this.click(event));
    for (const type of ["input", "change"]) el.addEventListener(type, (event) => this.choose(event));
  }

  // open shows the report and asks for the missing parts, one section after the other: some answers
  // take the server a second.
  async open() {
    this.el.hidden = false;
    this.draw();
    if (this.opened) return;
    this.opened = true;
    new ResizeObserver(() => this.draw()).observe(this.el);
    for (const s of this.sections) {
      s.state = "loading";
      this.drawSection(s);
      try {
        s.data = await s.of.load(this.app);
      } catch (err) {
        s.error = err.message;
      }
      s.state = "done";
      this.drawSection(s);
    }
    this.whole = true;
    this.drawNav();
  }

  // shows reports whether a section has something to show; others are left out.
  shows(s) {
    return s.state !== "done" || Boolean(s.error) || s.of.has(s.data, s);
  }

  draw() {
    if (this.el.hidden) return;
    if (measure()) this.app.layout();
    patch(this.body, this.sections.map((s) => h("section", { class: "part", id: `part-${s.of.id}`, "data-key": s.of.id, "aria-labelledby": `h-${s.of.id}` })));
    for (const s of this.sections) this.drawSection(s);
    this.drawNav();
  }

  drawNav() {
    patch(this.nav, this.sections.filter((s) => this.shows(s)).map((s) => h("button", { type: "button", class: "link", "data-key": s.of.id, "data-act": "part", "data-part-id": s.of.id }, s.of.title)));
  }

  drawSection(s) {
    const el = this.body.querySelector(`#part-${s.of.id}`);
    if (!el || this.el.hidden) return;
    el.hidden = !this.shows(s);
    if (el.hidden) return;
    s.width = Math.max(240, this.body.clientWidth - 42);
    const content = s.error ? h("p", { class: "empty quiet" }, s.error) : s.state === "done" ? s.of.draw(s.data, s) : h("p", { class: "empty quiet" }, s.state ? "Adding up …" : "…");
    patch(el, h("h2", { id: `h-${s.of.id}` }, s.of.title, s.of.note && s.state === "done" && !s.error && h("small", {}, s.of.note(s.data, s))), content);
    dress(el);
    s.of.after?.(el, s);
  }

  section(el) {
    const id = el.closest(".part")?.dataset.key;
    return this.sections.find((s) => s.of.id === id);
  }

  click(event) {
    const el = event.target.closest("[data-act]");
    if (!el) return;
    const { app } = this;
    const { act, id } = el.dataset;
    const s = this.section(el);
    if (act === "part") this.body.querySelector(`#part-${el.dataset.partId}`).scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    else if (act === "slice") this.leave(() => app.select(id, { reveal: true }));
    else if (act === "span") this.leave(() => app.show(Number(el.dataset.from), Number(el.dataset.to), el.dataset.of));
    else if (act === "request") this.leave(() => app.toRequest(id));
    else if (act === "track") this.leave(() => app.toTrack(id));
    else if (act === "path") this.leave(() => app.showPath(Number(id)));
    else if (act === "sort") this.sort(s, el.dataset.by);
    else if (act === "zoomflame") this.set(s, { at: el.dataset.path });
    else if (act === "set") this.set(s, { [el.dataset.name]: el.dataset.value });
  }

  choose(event) {
    const el = event.target;
    const s = this.section(el);
    if (s && el.name) this.set(s, { [el.name]: el.value });
  }

  // sort sorts by a column; a second call with the same column reverses the order.
  sort(s, by) {
    this.set(s, { by, up: s.choice.by === by ? !s.choice.up : false });
  }

  // set stores a choice of the reader, asks for the data that it needs, and draws.
  async set(s, choice) {
    Object.assign(s.choice, choice);
    if (s.of.more) {
      try {
        await s.of.more(s);
      } catch (err) {
        s.error = err.message;
      }
    }
    this.drawSection(s);
  }

  leave(then) {
    this.app.turnTo("timeline");
    then();
  }
}

// Elements that sections share.

export const num = (text, more = {}) => h("td", { class: "num", ...more }, text);
export const button = (act, more, ...content) => h("button", { type: "button", class: "link", "data-act": act, ...Object.fromEntries(Object.entries(more).map(([k, v]) => [`data-${k}`, v])) }, content);
export const head = (s, columns) => h("thead", {}, h("tr", {}, columns.map(([name, by, left]) => h("th", { scope: "col", class: left ? null : "num", "aria-sort": by && s.choice.by === by ? (s.choice.up ? "ascending" : "descending") : null }, by ? button("sort", { by }, name) : name))));
export const table = (...content) => h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, h("table", {}, content));
export const swatch = (color) => h("i", { class: "swatch", "data-color": color });
export const select = (name, label, value, list) => h("label", { class: "pick" }, label, " ", h("select", { name, "aria-label": label }, list.map(([v, text]) => h("option", { value: v, selected: String(v) === String(value) }, text))));
// switches is a group of buttons of which one is on.
export const switches = (name, label, value, list) => h("div", { class: "switches", role: "group", "aria-label": label }, list.map(([v, text]) => h("button", { type: "button", "data-act": "set", "data-name": name, "data-value": v, "aria-pressed": String(v === value) }, text)));
export const rest = (left, what) => left > 0 && h("p", { class: "quiet" }, `${count(left)} more ${what}.`);
export const traceName = (t) => [t.stage, t.name].filter(Boolean).join(" · ");
export { plural };
