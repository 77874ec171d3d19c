// The fields for a value: a switch, a list, a number, JSON or text, as the listing says. Each has an element, reads and
// writes the text of a value, and reports the faults that the page can detect; the server makes the final check.

import { button, make, pretty, setText } from "./page_base.js";
import { jsonFault } from "./page_json.js";

const MAX_ROWS = 16;
const COLUMN_CHARACTERS = 70;
const NUMBERED_LINES = 5000; // numbers for more lines would slow down typing
const CHECKED_CHARACTERS = 200000; // only the server checks longer JSON

let fields = 0;

export function labelled(label, input, hint = "") {
  input.id = `field-${++fields}`;
  const element = make("div", "field", make("label", "", label), input);
  element.firstChild.htmlFor = input.id;
  if (hint) describe(element, input, hint);
  return element;
}

function describe(element, input, hint) {
  const note = make("p", "note", hint);
  note.id = `${input.id}-hint`;
  input.setAttribute("aria-describedby", note.id);
  element.append(note);
}

export function choice(options, selected) {
  const select = make("select", "");
  for (const [label, value] of options) select.append(new Option(label, value, false, String(value) === selected));
  return select;
}

export function valueField(flag) {
  const { options, increment, language } = flag.field;
  if (isSwitch(options)) return switchField();
  if (options) return listField(options);
  if (increment && !flag.is_secret) return numberField(flag);
  return language === "json" ? jsonField(flag) : textField(flag);
}

export const isSwitch = (options) => options?.length === 2 && options.includes("true") && options.includes("false");

function switchField() {
  const input = make("input", "");
  input.type = "checkbox";
  input.setAttribute("role", "switch");
  const word = make("span", "switch-word");
  word.setAttribute("aria-hidden", "true");
  const element = labelled("Value", input);
  const line = make("span", "switch-line", input, word);
  element.append(line);
  const show = () => setText(word, String(input.checked));
  input.addEventListener("change", show);
  return {
    element,
    input,
    read: () => String(input.checked),
    write(text) {
      input.checked = text === "true";
      show();
    },
    fault: () => null,
  };
}

function listField(options) {
  const input = choice(options.map((option) => [option === "" ? "(empty)" : option, option]), null);
  return {
    element: labelled("Value", input, `one of ${options.length}`),
    input,
    read: () => input.value,
    write(text) {
      if (![...input.options].some((option) => option.value === text)) input.append(new Option(text, text)); // the current value may not be a choice
      input.value = text;
    },
    fault: () => null,
  };
}

function numberField(flag) {
  const { increment, minimum, maximum } = flag.field;
  const input = make("input", "number");
  input.type = "number";
  input.step = increment;
  input.inputMode = increment === "1" ? "numeric" : "decimal";
  if (minimum !== null) input.min = minimum;
  if (maximum !== null) input.max = maximum;
  return {
    element: labelled("Value", input, flag.range.replace(/^of /, "")),
    input,
    read: () => input.value.trim(),
    write(text) {
      input.type = "number";
      input.value = text;
      if (input.value !== text) input.type = "text"; // such as inf, which a number field cannot hold
      input.value = text;
    },
    fault() {
      if (input.validity.badInput || input.value.trim() === "") return { message: "expected a number" };
      const number = Number(input.value);
      if (minimum !== null && number < Number(minimum)) return { message: `expected at least ${minimum}` };
      if (maximum !== null && number > Number(maximum)) return { message: `expected at most ${maximum}` };
      return increment === "1" && input.type === "number" && !Number.isInteger(number) ? { message: "expected a whole number" } : null;
    },
  };
}

function textField(flag) {
  const input = make("textarea", "");
  input.spellcheck = false;
  const hint = flag.is_secret
    ? "The current value is not shown"
    : { bytes: "base64" }[flag.type] ?? [flag.range.replace(/^of /, ""), flag.choices].filter(Boolean).join("; ");
  return {
    element: labelled("Value", input, hint),
    input,
    read: () => input.value,
    write(text) {
      input.value = text;
      input.rows = rowsFor(text);
    },
    fault: () => null,
  };
}

const rowsFor = (text) => Math.min(MAX_ROWS, Math.max(1, text.split("\n").length, Math.ceil(text.length / COLUMN_CHARACTERS)));

// A text area with line numbers next to it; the line with the fault is marked. Only the user changes the text, so the
// order of keys and the digits of numbers are kept.
function jsonField(flag) {
  const input = make("textarea", "");
  input.spellcheck = false;
  input.wrap = "off";
  const numbers = make("div", "numbers");
  numbers.setAttribute("aria-hidden", "true");
  const element = labelled("Value", input, flag.is_secret ? "The current value is not shown" : "JSON");
  const format = button("plain", "Format", () => {
    input.value = pretty(input.value.trim());
    input.dispatchEvent(new Event("input"));
    input.focus();
  });
  const editor = make("div", "editor", numbers, input);
  element.insertBefore(editor, element.children[1]);
  element.append(make("div", "field-foot", element.lastChild, format));
  let faulty = 0;
  let drawn = "";
  const draw = () => {
    const count = Math.min(NUMBERED_LINES, input.value.split("\n").length);
    if (drawn !== `${count} ${faulty}`) {
      drawn = `${count} ${faulty}`;
      input.rows = Math.max(3, Math.min(MAX_ROWS, count + 1));
      numbers.replaceChildren(...Array.from({ length: count }, (_, index) => make("span", index + 1 === faulty ? "faulty" : "", String(index + 1))));
    }
    numbers.scrollTop = input.scrollTop;
  };
  input.addEventListener("input", draw);
  input.addEventListener("scroll", () => { numbers.scrollTop = input.scrollTop; });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey || event.isComposing) return;
    const line = input.value.slice(0, input.selectionStart).split("\n").at(-1);
    const indent = line.match(/^[ \t]*/)[0] + (/[[{]\s*$/.test(line) ? "  " : "");
    if (indent === "") return;
    event.preventDefault();
    document.execCommand("insertText", false, `\n${indent}`); // the only way to insert text that keeps the undo history
  });
  return {
    element,
    input,
    read: () => input.value,
    write(text) {
      input.value = text;
      faulty = 0;
      draw();
    },
    fault() {
      const text = input.value;
      const fault = text.length > CHECKED_CHARACTERS ? null : jsonFault(text);
      const before = faulty;
      faulty = fault?.line ?? 0;
      if (before !== faulty) draw();
      return fault && { message: `line ${fault.line}, column ${fault.column}: ${fault.message}`, place: fault.place };
    },
  };
}
