// Input: keys, mouse, touchpad and touch, like Perfetto's where Perfetto has them.
import { h, patch } from "./dom.js";
import { Fingers } from "./tl-fingers.js";
import { OVERVIEW } from "./tl-ruler.js";
import { tip } from "./tl-tip.js";
import { hasSlices, isLeaf } from "./tl-tree.js";

/** @type {(id: string) => any} an element of the page, of its own kind */
const $ = (id) => document.getElementById(id);
const CLICK = 4; // px that a click may move
const WHEEL = 0.0022;

export const KEYS = [
  ["w s", "zoom in and out at the pointer"], ["a d", "go left and right"], ["f", "fit the slice or the area; nothing chosen: all"],
  ["m", "mark the slice or area; at the pointer otherwise"], ["[ ]", "previous, next slice of the same name"], ["← →", "previous, next slice in the row"],
  ["↑ ↓", "what holds the slice, what it holds"], ["/", "search; Enter and Shift Enter go through the hits"], ["p", "pin the slice's track to the top"],
  ["e", "fold or unfold the slice's track"], ["v", "timeline or report"], ["z", "back to the window before"], ["Esc", "choose nothing"], ["?", "these keys"],
  ["drag", "choose an area; on the ruler zoom into it"], ["Shift drag", "move; also with the middle button"], ["Ctrl wheel", "zoom, as a pinch does; Shift wheel or sideways moves"],
  ["double click", "choose a slice and zoom to it"],
];

export function bindInput(app) {
  const held = new Set();
  const history = [];
  let moving = 0;

  // While w, a, s or d is held, each frame moves the window.
  const step = (last) => (now) => {
    const dt = Math.min(50, now - last) / 1000;
    if (held.has("w")) app.zoom(Math.exp(-3 * dt));
    if (held.has("s")) app.zoom(Math.exp(3 * dt));
    if (held.has("a")) app.pan(-1.4 * dt);
    if (held.has("d")) app.pan(1.4 * dt);
    moving = held.size ? requestAnimationFrame(step(now)) : 0;
  };

  const remember = () => {
    const w = app.win;
    const top = history.at(-1);
    if (!top || top.t0 !== w.t0 || top.t1 !== w.t1) history.push(w);
    if (history.length > 100) history.shift();
  };
  const back = () => {
    const w = history.pop();
    if (w) app.glide(w.t0, w.t1);
  };

  const typing = (t) => /^(INPUT|SELECT|TEXTAREA)$/.test(t.nodeName);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (typing(event.target)) return field(event);
    if (event.target.closest("[role=tree]") && treeKey(event)) return event.preventDefault();
    if (event.target.closest("[role=tablist]") && event.key.startsWith("Arrow")) return;
    if (event.target.id === "grip" || event.target.closest("#body") && /^(Arrow|Page|Home|End| )/.test(event.key)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "v") return app.turnTo(app.view === "timeline" ? "report" : "timeline");
    if (app.view !== "timeline" && key !== "?") return;
    if ("wasd".includes(key) && key.length === 1) {
      if (!held.size) remember();
      held.add(key);
      moving ||= requestAnimationFrame(step(performance.now()));
    } else if (key === "f") {
      remember();
      app.fit();
    } else if (key === "m") mark();
    else if (key === "[" || key === "]") app.sameName(key === "[");
    else if (key === "/") $("query").focus();
    else if (key === "p") pinSelected();
    else if (key === "e") foldSelected();
    else if (key === "z") back();
    else if (key === "?") help();
    else if (key === "Escape") app.clear();
    else if (key === "ArrowLeft" || key === "ArrowRight") neighbour(key === "ArrowRight" ? 1 : -1);
    else if (key === "ArrowUp" || key === "ArrowDown") vertical(key === "ArrowDown");
    else if (key === "Enter" && event.target.nodeName === "CANVAS") (remember(), app.fit());
    else return;
    event.preventDefault();
  });
  // The canvas has a focus frame only for readers who use the keyboard.
  document.addEventListener("keydown", () => document.body.classList.remove("mouse"), true);
  document.addEventListener("pointerdown", () => document.body.classList.add("mouse"), true);
  document.addEventListener("keyup", (event) => held.delete(event.key.toLowerCase()));
  addEventListener("blur", () => held.clear());

  let typed = 0; // runs until the reader stops typing

  function field(event) {
    if (event.key === "Escape") {
      event.target.blur();
      app.main.canvas.focus({ preventScroll: true });
    }
    if (event.target.id === "query" && event.key === "Enter") {
      event.preventDefault();
      clearTimeout(typed); // search now, and not again when the reader stops typing
      if (app.searched()) app.hit(event.shiftKey ? -1 : 1);
      else app.search().then((ended) => ended && app.hit(1));
    }
  }

  function mark() {
    const s = app.selected?.detail;
    if (app.area) app.marks.push(app.area.from, app.area.to);
    else if (s) app.marks.push(s.start_ns, s.start_ns + s.dur_ns);
    else if (app.cursor != null) {
      const near = app.marks.findIndex((m) => Math.abs(app.main.x(m) - app.main.x(app.cursor)) < 6);
      if (near >= 0) app.marks.splice(near, 1);
      else app.marks.push(app.cursor);
    }
    app.marks = [...new Set(app.marks)].slice(-64);
    app.changed();
    app.draw();
  }

  const trackOf = (s) => s && app.tree.byID.get(app.tree.byID.has(s.lane_track) ? s.lane_track : s.track);

  function pinSelected() {
    const n = trackOf(app.selected?.detail) ?? app.hovered?.item.node;
    if (n && isLeaf(n)) pin(n.id);
  }

  function foldSelected() {
    const n = trackOf(app.selected?.detail) ?? app.hovered?.item.node;
    if (n) fold(n.id);
  }

  function pin(id) {
    const list = app.tree.pinned;
    app.tree.pinned = list.includes(id) ? list.filter((x) => x !== id) : [...list, id];
    app.say(list.includes(id) ? "no longer pinned" : "pinned");
    app.changed();
    app.layout();
  }

  function fold(id, want) {
    const n = app.tree.byID.get(id);
    app.tree.folded.set(id, want ?? !app.tree.isFolded(n));
    app.changed();
    app.layout();
  }

  // neighbour selects the box beside the selected one in its row; if none is selected, the first in
  // view.
  function neighbour(by) {
    const s = app.selected?.detail;
    const n = trackOf(s);
    const hit = n && app.store.find(n.id, Number(s.id.split(".")[1]));
    if (!hit) return first();
    const { d, row } = hit;
    const i = hit.i + by;
    if (i < row.first || i >= row.last) return app.say("the row ends here");
    app.select(`${n.trace}.${d.slice[i]}`, { reveal: true, tab: false });
  }

  function first() {
    for (const { node: n } of app.main.visible()) {
      const d = hasSlices(n) && app.store.held.get(n.id);
      const r = d && d.rows[0];
      if (!r) continue;
      for (let i = r.first; i < r.last; i++) {
        if (d.from + d.end[i] >= app.win.t0) return app.select(`${n.trace}.${d.slice[i]}`, { tab: false });
      }
    }
  }

  function vertical(down) {
    const s = app.selected?.detail;
    if (!s) return first();
    if (!down) return s.parents.length && app.select(s.parents[0].id, { reveal: true, tab: false });
    const n = trackOf(s);
    const hit = n && app.store.find(n.id, Number(s.id.split(".")[1]));
    const below = hit?.d.rows.find((r) => r.lane === hit.row.lane && r.depth === hit.row.depth + 1);
    if (!below) return;
    for (let i = below.first; i < below.last; i++) {
      const t = hit.d.from + hit.d.start[i];
      if (t >= s.start_ns - 1 && t <= s.start_ns + s.dur_ns) return app.select(`${n.trace}.${hit.d.slice[i]}`, { reveal: true, tab: false });
    }
  }

  // treeKey moves among the labels, and folds and pins them.
  function treeKey(event) {
    const label = event.target.closest(".label");
    if (!label) return false;
    const go = (el) => {
      if (!el) return;
      label.tabIndex = -1;
      el.tabIndex = 0;
      el.focus();
    };
    const id = label.dataset.key;
    const open = label.getAttribute("aria-expanded");
    switch (event.key) {
      case "ArrowDown": return go(label.nextElementSibling), true;
      case "ArrowUp": return go(label.previousElementSibling), true;
      case "ArrowRight": return open === "false" && fold(id, false), true;
      case "ArrowLeft": return open === "true" && fold(id, true), true;
      case "Home": return go(label.parentElement.firstElementChild), true;
      case "End": return go(label.parentElement.lastElementChild), true;
      case "Enter":
      case " ": return app.setArea(app.win.t0, app.win.t1, new Set([id])), true;
      case "p": return isLeaf(app.tree.byID.get(id)) && pin(id), true;
    }
    return false;
  }

  function help() {
    patch($("keys"), h("h2", { id: "h-keys" }, "Keys and hands"), h("dl", {}, KEYS.map(([k, what]) => h("div", {}, h("dt", {}, k.split(" ").map((x) => h("kbd", {}, x))), h("dd", {}, what)))),
      h("form", { method: "dialog" }, h("button", {}, "Close")));
    $("keys").showModal();
  }

  for (const pane of [app.main, app.pinned]) bindPane(pane);

  function bindPane(pane) {
    const { canvas, labels } = pane;
    let drag = null;
    const fingers = new Fingers();
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const time = (x) => app.win.t0 + (x / pane.width) * (app.win.t1 - app.win.t0);
    // between returns the tracks between two heights of the pane.
    const between = (y0, y1) => {
      const [a, b] = [Math.min(y0, y1), Math.max(y0, y1)];
      return new Set(pane.items.filter((i) => i.y < b && i.y + i.h > a).map((i) => i.node.id));
    };

    canvas.addEventListener("pointerdown", (event) => {
      if (event.button > 1) return;
      const [x, y] = point(event);
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
      if (fingers.down(event, x, app.win.t0, app.win.t1)) {
        drag = null;
        return remember();
      }
      drag = { x, y, top: pane.el.scrollTop, win: app.win, move: event.shiftKey || event.button === 1 || event.pointerType === "touch", moved: false };
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = point(event);
      const pinched = fingers.move(event, x, pane.width);
      if (pinched) return app.setWindow(...pinched);
      app.cursor = time(x);
      if (drag) {
        drag.moved ||= Math.hypot(x - drag.x, y - drag.y) > CLICK;
        if (!drag.moved) return;
        if (drag.move) {
          const d = ((drag.x - x) / pane.width) * (drag.win.t1 - drag.win.t0);
          app.setWindow(drag.win.t0 + d, drag.win.t1 + d);
          pane.el.scrollTop = drag.top + drag.y - y;
        } else {
          const [a, b] = [app.main === pane ? time(drag.x) : time(drag.x), time(x)];
          app.area = { from: Math.min(a, b), to: Math.max(a, b), tracks: between(drag.y + drag.top, y + pane.el.scrollTop) };
        }
        tip(app, null);
      } else {
        app.hovered = pane.hit(x, y);
        tip(app, app.hovered, event);
      }
      app.draw();
    });
    canvas.addEventListener("pointerup", (event) => {
      fingers.up(event);
      const was = drag;
      drag = null;
      if (!was) return;
      const [x, y] = point(event);
      if (was.moved) {
        if (!was.move) app.setArea(app.area.from, app.area.to, app.area.tracks);
        return;
      }
      const hit = pane.hit(x, y);
      if (hit?.request) app.selectRequest(hit.request);
      else if (hit?.window) app.setArea(hit.window.from_ns, hit.window.to_ns, new Set([`trace:${hit.window.trace}`]));
      else if (hit?.recorded) fold(hit.item.node.id);
      else if (hit?.step?.slice) app.select(hit.step.slice);
      else if (hit?.d) app.select(`${hit.track.trace}.${hit.d.slice[hit.i]}`);
      else if (hit && !isLeaf(hit.item.node)) fold(hit.item.node.id);
      else app.clear();
    });
    canvas.addEventListener("pointercancel", (event) => {
      fingers.up(event);
      drag = null;
    });
    canvas.addEventListener("pointerleave", () => {
      app.cursor = null;
      app.hovered = null;
      tip(app, null);
      app.draw();
    });
    canvas.addEventListener("dblclick", (event) => {
      const [x, y] = point(event);
      const hit = pane.hit(x, y);
      if (!hit?.d && !hit?.step) return;
      remember();
      if (hit.step) return app.show(hit.step.start_ns, hit.step.end_ns);
      app.show(hit.d.from + hit.d.start[hit.i], hit.d.from + hit.d.end[hit.i]);
    });
    pane.el.addEventListener("wheel", (event) => wheel(event, pane, point), { passive: false });
    labels.addEventListener("click", (event) => {
      const label = event.target.closest(".label");
      if (!label) return;
      const act = event.target.closest("[data-act]")?.dataset.act;
      const n = app.tree.byID.get(label.dataset.key);
      if (act === "pin") pin(n.id);
      else if (act === "fold" || !isLeaf(n)) (isLeaf(n) && (n.rows ?? 0) < 2) || fold(n.id);
      else app.setArea(app.win.t0, app.win.t1, new Set([n.id]));
    });
  }

  function wheel(event, pane, point) {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      const t = app.win.t0 + (point(event)[0] / pane.width) * (app.win.t1 - app.win.t0);
      app.zoom(Math.exp(event.deltaY * WHEEL * (event.deltaMode ? 16 : 1) * (Math.abs(event.deltaY) < 20 ? 4 : 1)), t);
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      app.pan((event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX) / pane.width);
    }
  }

  bindRuler();

  function bindRuler() {
    const { canvas } = app.ruler;
    let drag = null;
    const at_ = (event) => event.clientX - canvas.getBoundingClientRect().left;
    const small = (event) => event.clientY - canvas.getBoundingClientRect().top < OVERVIEW;
    const whole = (x) => (x / app.ruler.width) * app.info.end_ns;
    const close = (x) => app.win.t0 + (x / app.ruler.width) * (app.win.t1 - app.win.t0);
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      drag = { x: at_(event), small: small(event), win: app.win };
      remember();
    });
    canvas.addEventListener("pointermove", (event) => {
      const x = at_(event);
      if (!drag) {
        app.cursor = small(event) ? null : close(x);
        return app.draw();
      }
      if (Math.abs(x - drag.x) < CLICK) return;
      const to = drag.small ? whole : close;
      app.area = { from: Math.min(to(drag.x), to(x)), to: Math.max(to(drag.x), to(x)), tracks: null };
      app.draw();
    });
    canvas.addEventListener("pointerup", (event) => {
      const x = at_(event);
      const was = drag;
      drag = null;
      if (!was) return;
      if (Math.abs(x - was.x) < CLICK) {
        if (!was.small) return;
        const span = app.win.t1 - app.win.t0;
        return app.glide(whole(x) - span / 2, whole(x) + span / 2);
      }
      const a = app.area;
      app.area = null;
      app.glide(a.from, a.to);
    });
    canvas.addEventListener("pointerleave", () => { app.cursor = null; app.draw(); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) app.pan((event.deltaX || event.deltaY) / app.ruler.width);
      else app.zoom(Math.exp(event.deltaY * WHEEL), close(at_(event)));
    }, { passive: false });
  }

  $("find").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["query", "regex", "inargs"]) {
    $(id).addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(app.search, 250);
    });
  }
  $("nexthit").addEventListener("click", () => app.hit(1));
  $("prevhit").addEventListener("click", () => app.hit(-1));
  $("fit").addEventListener("click", () => (remember(), app.fit()));
  $("help").addEventListener("click", help);
  $("filter").addEventListener("input", () => app.filterTracks($("filter").value.trim()));
  $("unmatched").addEventListener("click", (event) => {
    if (!event.target.closest("button")) return;
    app.filterTracks($("filter").value = "");
    $("filter").focus();
  });
  $("sort").addEventListener("change", () => {
    app.tree.sort = $("sort").value;
    app.changed();
    app.layout();
  });
  $("pack").addEventListener("click", () => {
    app.pack = $("pack").getAttribute("aria-pressed") === "true" ? "off" : "on";
    app.changed();
    app.load().catch(app.fail);
  });
  $("arrows").addEventListener("click", () => {
    app.showArrows = !app.showArrows;
    $("arrows").setAttribute("aria-pressed", String(app.showArrows));
    app.changed();
    app.draw();
  });
}
