// The difference between two values: side by side for short ones, line by line for long ones.

import { code, cut, make, plain, plural, preview, unseen } from "./page_base.js";

const SHORT_CHARACTERS = 100;
const LONG_CHARACTERS = 60;
const KEPT_CHARACTERS = 16; // of the common beginning of both texts of a change
const LINE_CHARACTERS = 400; // of a line that are shown; the layers show it in full
const MAX_LINES = 800; // above it, lines are not compared one by one, because the table would be too large
const MAX_CHARACTERS = 60000;
const AROUND = 3; // equal lines that are shown around each difference

export function difference(before, after) {
  const isShort = [before, after].every((text) => text.length <= SHORT_CHARACTERS && !text.includes("\n"));
  return isShort ? pair(code(before), code(after)) : lines(before, after);
}

export function pair(before, after) {
  return make("div", "change", unseen("from "), make("del", "", before), make("span", "arrow", "→"), unseen(" to "), make("ins", "", after));
}

// The change of one entry of the history, in one line.
export function textChange(entry) {
  return pair(...fromDifference(preview(entry.old, true), preview(entry.new, true)).map((text) => code(text)));
}

// Two texts, without most of their common beginning if they are long.
function fromDifference(...texts) {
  const [one, other] = texts;
  let same = 0;
  while (same < one.length && one[same] === other[same]) same += 1;
  const start = same - KEPT_CHARACTERS;
  return start < 2 || Math.max(one.length, other.length) < LONG_CHARACTERS ? texts : texts.map((text) => `…${text.slice(start).replace(/^[\udc00-\udfff]/, "")}`);
}

function lines(before, after) {
  if (before.length + after.length > MAX_CHARACTERS) return pair(code(cut(preview(before, true), 200)), code(cut(preview(after, true), 200)));
  const steps = compare(before.split("\n"), after.split("\n"));
  const element = make("div", "diff");
  let equal = [];
  const flush = (isLast) => {
    const first = element.childElementCount === 0 ? 0 : AROUND;
    const last = isLast ? 0 : AROUND;
    if (equal.length <= first + last + 1) {
      element.append(...equal.map((text) => line("div", " ", text)));
    } else {
      element.append(...equal.slice(0, first).map((text) => line("div", " ", text)));
      element.append(make("div", "skipped", `${plural(equal.length - first - last, "equal line")}`));
      element.append(...equal.slice(equal.length - last).map((text) => line("div", " ", text)));
    }
    equal = [];
  };
  for (const [sign, text] of steps) {
    if (sign === " ") {
      equal.push(text);
      continue;
    }
    flush(false);
    element.append(line(sign === "-" ? "del" : "ins", sign === "-" ? "−" : "+", text));
  }
  flush(true);
  return element;
}

function line(tag, sign, text) {
  const shown = make("code", "", ...plain(cut(text, LINE_CHARACTERS)));
  if (text.length > LINE_CHARACTERS) shown.append("… ", make("span", "size", plural(text.length, "character")));
  return make(tag, "diff-line", make("span", "sign", sign), shown);
}

// The steps from the longest common subsequence of lines. Common first and last lines are left out of its table.
function compare(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < before.length - start && end < after.length - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  const same = (all) => all.map((text) => [" ", text]);
  const old = before.slice(start, before.length - end);
  const young = after.slice(start, after.length - end);
  return [...same(before.slice(0, start)), ...middle(old, young), ...same(before.slice(before.length - end))];
}

function middle(old, young) {
  if (old.length > MAX_LINES || young.length > MAX_LINES) return [...old.map((text) => ["-", text]), ...young.map((text) => ["+", text])];
  const width = young.length + 1;
  const lengths = new Uint16Array((old.length + 1) * width);
  for (let row = old.length - 1; row >= 0; row--) {
    for (let column = young.length - 1; column >= 0; column--) {
      lengths[row * width + column] = old[row] === young[column]
        ? lengths[(row + 1) * width + column + 1] + 1
        : Math.max(lengths[(row + 1) * width + column], lengths[row * width + column + 1]);
    }
  }
  const steps = [];
  let row = 0;
  let column = 0;
  while (row < old.length || column < young.length) {
    if (row < old.length && column < young.length && old[row] === young[column]) {
      steps.push([" ", old[row]]);
      row += 1;
      column += 1;
    } else if (column === young.length || (row < old.length && lengths[(row + 1) * width + column] >= lengths[row * width + column + 1])) {
      steps.push(["-", old[row++]]);
    } else {
      steps.push(["+", young[column++]]);
    }
  }
  return steps;
}
