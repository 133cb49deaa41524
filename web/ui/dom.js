// Elements from data. Text only ever enters as text nodes, without characters that change its
// direction.

// plain removes control characters and those that change the direction of text: a name with these
// would change how the text beside it reads.
export const plain = (text) => String(text).replace(TURNING, "\ufffd");

const TURNING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

const text = (c) => (c instanceof Node ? c : document.createTextNode(plain(c)));

// spoken are the attributes whose text readers see or hear.
const spoken = new Set(["title", "aria-label", "placeholder"]);

// h makes an element: h("td", { class: "num" }, "7"). Children that are null or
// false are left out, lists are laid flat.
export function h(name, attributes = {}, ...children) {
  const el = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) el.setAttribute(key, "");
    else if (value !== false && value != null) el.setAttribute(key, spoken.has(key) ? plain(value) : value);
  }
  el.append(...children.flat(Infinity).filter((c) => c != null && c !== false).map(text));
  return el;
}

const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined);

const alike = (a, b) => a.nodeName === b.nodeName && key(a) === key(b);

// patch makes el's children equal to wanted and touches only what differs, so that
// focus, selection, scroll positions and loaded pictures stay. Elements with the same
// data-key are the same thing wherever they stand.
export function patch(el, ...wanted) {
  const next = wanted.flat(Infinity).filter((c) => c != null && c !== false).map(text);
  const keyed = new Map([...el.children].filter(key).map((c) => [key(c), c]));
  let at = el.firstChild;
  for (const want of next) {
    let have = key(want) ? keyed.get(key(want)) : at;
    if (have && alike(have, want)) {
      if (have !== at) el.insertBefore(have, at);
      update(have, want);
    } else {
      have = want;
      el.insertBefore(want, at);
    }
    at = have.nextSibling;
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function update(have, want) {
  if (have.nodeType !== Node.ELEMENT_NODE) {
    if (have.data !== want.data) have.data = want.data;
    return;
  }
  for (const { name } of [...have.attributes]) {
    if (!want.hasAttribute(name) && !readers(have, name)) have.removeAttribute(name);
  }
  for (const { name, value } of want.attributes) {
    if (have.getAttribute(name) !== value && !readers(have, name)) have.setAttribute(name, value);
  }
  patch(have, ...want.childNodes);
}

// readers reports whether an attribute belongs to the reader's actions rather than to the data.
const readers = (el, name) => el.nodeName === "DETAILS" && name === "open";

// dress copies data-color, data-part and so on of elements into their styles, because the page's
// policy allows no style attributes.
export function dress(root) {
  const put = { color: ["background", ""], part: ["width", "%"], high: ["height", "%"], px: ["height", "px"], left: ["left", "%"], top: ["top", "px"], shade: ["backgroundColor", ""] };
  for (const [key, [style, unit]] of Object.entries(put)) {
    for (const el of root.querySelectorAll(`[data-${key}]`)) el.style[style] = el.dataset[key] + unit;
  }
}

// piece is what stands on a piece of a bar: where there is no room for both the name is cut, never the
// figure; the styles leave both out where not even that fits.
export const piece = (name, figure) => [h("b", {}, name), " ", h("i", {}, figure)];

// svg makes an element of a picture, as h does of the page.
export function svg(name, attributes = {}, ...children) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) if (value !== false && value != null) el.setAttribute(key, value === true ? "" : value);
  el.append(...children.flat(Infinity).filter((c) => c != null && c !== false).map(text));
  return el;
}
