// What the other modules of the page share: its state, and functions that make elements, texts and times.

export const REQUEST_TIMEOUT_MS = 15000;
const COPIED_MS = 1500; // how long a copy button shows its result
const PREVIEW_CHARACTERS = 240;
const FOLD_CHARACTERS = 800;
const FOLD_LINES = 24;

// Characters that are invisible, look like a space or change the text direction are shown with their code: categories C
// and Z, ignorable characters (fillers, variation selectors) and the blank braille cell. Emoji are shown as they are.
const PRINTABLE_ASCII = /^[ -~\t\n]*$/;
const EMOJI = "\\p{Extended_Pictographic}[\\ufe0f\\p{Emoji_Modifier}]*(?:\\u200d\\p{Extended_Pictographic}[\\ufe0f\\p{Emoji_Modifier}]*)*|[0-9#*]\\ufe0f\\u20e3";
const ODD = new RegExp(`${EMOJI}|((?![ \\t\\n])[\\p{C}\\p{Z}\\p{Default_Ignorable_Code_Point}\\u2800])`, "gu");

export const page = {
  listing: null,
  rows: new Map(), // name: Row
  filter: { words: [], changed: false, kind: "", rejected: false },
  token: null, // null: not asked for yet; "": none is needed
  soon: () => {}, // poll at once
  skew: 0, // the server's clock minus the browser's, in ms
};

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// --- elements

export const at = (id) => document.getElementById(id);

export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function button(className, label, action) {
  const element = make("button", className, label);
  element.type = "button";
  element.addEventListener("click", action);
  return element;
}

export const badge = (label, tone = "") => make("span", `badge ${tone}`, label);
export const chip = (origin) => make("span", `chip ${origin === "override" ? "strong" : ""}`, ...plain(origin));

export function flagLink(name) {
  const element = make("a", "", code(name));
  element.href = `#flag-${encodeURIComponent(name)}`;
  return element;
}

export const unseen = (text) => make("span", "unseen", text);

// Text as nodes. It is never parsed as markup; invisible characters are shown with their code.
export function plain(text) {
  if (PRINTABLE_ASCII.test(text)) return [text];
  const parts = [];
  let end = 0;
  for (const { index, 1: odd } of text.matchAll(ODD)) {
    if (odd === undefined) continue;
    const shown = make("span", "odd", odd);
    shown.dataset.code = "U+" + odd.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    parts.push(text.slice(end, index), shown);
    end = index + odd.length;
  }
  return [...parts, text.slice(end)].filter((part) => part !== "");
}

// The beginning of a text, without half a surrogate pair at its end.
export function cut(text, length) {
  return text.length <= length ? text : text.slice(0, length).replace(/[\ud800-\udbff]$/, "");
}

export function code(text, className = "") {
  if (text === "") return make("code", `${className} empty`, "empty");
  return make("code", className, ...plain(text));
}

// The beginning of a value; in one line if its line breaks have no meaning.
export function preview(text, inLine) {
  const start = cut(text, 4 * PREVIEW_CHARACTERS);
  const short = inLine ? start.replace(/,\n\s*/g, ", ").replace(/([[{])\n\s*|\n\s*(?=[\]}])/g, "$1").replace(/\s+/g, " ") : start;
  return short.length <= PREVIEW_CHARACTERS ? short : cut(short, PREVIEW_CHARACTERS) + "…";
}

// JSON over several lines, even if its end was cut off. JSON.parse is not used, because it rounds large numbers.
export function pretty(text) {
  let depth = 0;
  const line = (step) => "\n" + "  ".repeat(Math.max(0, depth += step));
  return text.replace(/"(?:[^"\\]|\\.)*"?|\{\s*\}|\[\s*\]|[[\]{},:]|\s+/g, (token) => {
    if (token === "{" || token === "[") return token + line(1);
    if (token === "}" || token === "]") return line(-1) + token;
    if (token === ",") return token + line(0);
    if (token === ":") return ": ";
    return token.trim();
  });
}

// A value in full. A long one is folded; an open one stays open when it is drawn again.
const openFolds = new Set();

export function full(text, key) {
  const lines = text.split("\n").length;
  if (text.length <= FOLD_CHARACTERS && lines <= FOLD_LINES) return code(text, "full");
  const size = `${text.length.toLocaleString("en")} characters${lines > 1 ? `, ${lines.toLocaleString("en")} lines` : ""}`;
  const summary = make("summary", "", code(preview(text, true), "start"), make("span", "size", size));
  summary.dataset.key = key;
  const fold = make("details", "fold", summary);
  const show = () => {
    if (fold.open) openFolds.add(key);
    else openFolds.delete(key);
    if (fold.open && fold.children.length === 1) fold.append(code(text, "full"));
  };
  fold.addEventListener("toggle", show);
  fold.open = openFolds.has(key);
  if (fold.open) show();
  return fold;
}

// --- copying

// A button that copies a text; `text` is called when the button is pressed.
export function copyButton(label, text) {
  const element = button("copy", "", () => copy(text()).then((done) => say(element, done)));
  element.append(make("span", "unseen", label));
  element.title = label;
  return element;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // without TLS, a page cannot use the clipboard API
  }
}

function copyBySelection(text) {
  const { activeElement: before } = document;
  const field = make("textarea", "unseen", text);
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus({ preventScroll: true });
  return done;
}

function say(element, done) {
  element.dataset.state = done ? "copied" : "failed";
  setText(at("news"), done ? "Copied" : "This browser does not let the page copy");
  setTimeout(() => delete element.dataset.state, COPIED_MS);
}

// Replace the content of an element, and restore the focus to the new element with the same key.
export function fill(element, ...children) {
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...children);
  if (key === undefined) return;
  for (const candidate of element.querySelectorAll("[data-key]")) {
    if (candidate.dataset.key === key) candidate.focus({ preventScroll: true });
  }
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --- time

export const now = () => Date.now() + page.skew;
export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

function countdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds >= 86400) return `${span(ms)} left`;
  const hours = Math.floor(seconds / 3600);
  const clock = `${two(Math.floor((seconds % 3600) / 60))}:${two(seconds % 60)}`;
  return `${hours ? `${hours}:` : ""}${clock} left`;
}

const two = (number) => String(number).padStart(2, "0");

// A time of day in the reader's time zone, with the date unless it is today.
export function clock(when) {
  const element = moment(when, "clock");
  element.title = `${element.title}, ${when}`;
  return element;
}

export function clockText(when) {
  const date = new Date(when);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `;
  const isToday = date.toDateString() === new Date(now()).toDateString();
  return `${isToday ? "" : day}${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export const due = (when) => moment(when, "due");

// A time shown as its age, as the time left or by the clock; `tick` keeps it up to date.
export function moment(when, kind = "ago") {
  const element = make("time", kind);
  element.dateTime = when;
  element.dataset.kind = kind;
  element.title = new Date(when).toLocaleString();
  age(element);
  return element;
}

const AGES = {
  ago: (ms) => `${span(-ms)} ago`,
  left: countdown,
  due: (ms) => (ms > 0 ? `in ${span(ms)}` : "now"),
  clock: (_, when) => clockText(when),
};

function age(element) {
  const ms = Date.parse(element.dateTime) - now();
  setText(element, AGES[element.dataset.kind](ms, element.dateTime));
}

export function tick() {
  if (!document.hidden) document.querySelectorAll("time[data-kind]").forEach(age);
}
