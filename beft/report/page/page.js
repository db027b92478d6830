// What all parts of the script share: making elements, and the frames that the page carries.
// The script is an extra: without it everything but single runs reads as written.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const texts = JSON.parse(document.getElementById("texts").textContent);

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(key, value === true ? "" : value);
  }
  // always as text, never as markup: names are other people's
  node.append(...children.flat(2).filter((child) => child !== null));
  return node;
}

const make = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const button = (text, onclick, more = {}) => make("button", { type: "button", onclick, ...more }, text);

function say(words) {
  document.getElementById("said").textContent = words;
}

function buffer(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes.buffer;
}

const integers = ({ bytes, base64 }) =>
  new ({ 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[bytes])(buffer(base64));

// The values of a packed column (beft/report/embed.py); null is no value.
function values(packed, rows, shared) {
  if (packed.float64 !== undefined)
    return Array.from(new Float64Array(buffer(packed.float64)), (x) => (Number.isNaN(x) ? null : x));
  const words = packed.like ? shared : packed.words;
  if (!packed.codes) return new Array(rows).fill(words[0]);
  const codes = integers(packed.codes);
  if (!packed.times) return Array.from(codes, (code) => words[code]);
  const filled = [];
  integers(packed.times).forEach((times, i) => {
    for (let n = 0; n < times; n++) filled.push(words[codes[i]]);
  });
  return filled;
}

// A packed frame as {rows, names, column(name)}; columns are unpacked when they are asked for.
function opened(packed) {
  const known = {}, shared = () => [...new Set(runs.column("digest"))];
  const column = (name) => {
    const own = packed.columns[name];
    return (known[name] ??= values(own, packed.rows, own.like ? shared() : null));
  };
  return { rows: packed.rows, names: Object.keys(packed.columns), column };
}

const runs = opened(data.runs);
const frames = {};
for (const name of ["evaluations", "history", "problems", "provenance"]) frames[name] = opened(data[name]);

// digest -> rows of a frame; made once, when the first run is opened
const places = {};
function rowsOf(name, digest) {
  if (!places[name]) {
    const found = (places[name] = new Map());
    frames[name].column("digest").forEach((key, i) => {
      if (!found.has(key)) found.set(key, []);
      found.get(key).push(i);
    });
  }
  return (places[name].get(digest) ?? []).map((i) =>
    Object.fromEntries(frames[name].names.map((column) => [column, frames[name].column(column)[i]])));
}

const run = (i) => Object.fromEntries(runs.names.map((name) => [name, runs.column(name)[i]]));

// A value for reading: six digits of a number at most, nothing where there is none.
function brief(value) {
  if (value === null) return "";
  return typeof value === "number" ? String(Number(value.toPrecision(Number.isInteger(value) ? 15 : 6))) : String(value);
}

const collator = new Intl.Collator("en", { numeric: true });

// Order for sorting: numbers by size, text by letters; what has no value stays at the end.
function compare(a, b, up) {
  if (a === null || b === null) return (a === null) - (b === null);
  const both = typeof a === "number" && typeof b === "number";
  const order = both ? a - b : collator.compare(String(a), String(b));
  return up ? order : -order;
}

function save(name, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // browsers that keep the clipboard from pages opened as files
    const area = make("textarea", { class: "aside", "aria-hidden": true });
    area.value = text;
    const focused = document.activeElement;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    if (!done) return say(`${what} could not be copied`);
  }
  say(`${what} copied`);
}
