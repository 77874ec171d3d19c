// Find where a text stops being JSON. The messages of browsers differ, and some do not give the place.

const BLANK = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null)(?![\w.+-])/y;
const MAX_DEPTH = 100; // the same as the server's

class Fault extends Error {
  constructor(message, place) {
    super(message);
    this.place = place;
  }
}

// Return the first fault of a text: its place, line and column from 1, and what was expected; null for valid JSON.
export function jsonFault(text) {
  try {
    new Reader(text).whole();
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault;
    const before = text.slice(0, fault.place).split("\n");
    return { message: fault.message, place: fault.place, line: before.length, column: before.at(-1).length + 1 };
  }
  return null;
}

class Reader {
  constructor(text) {
    this.text = text;
    this.place = 0;
  }

  whole() {
    this.value(0);
    this.skip(BLANK);
    if (this.place < this.text.length) this.fail("unexpected text after the value");
  }

  value(depth) {
    this.skip(BLANK);
    const first = this.text[this.place];
    if (first === "{") this.all("}", depth, new Set());
    else if (first === "[") this.all("]", depth, null);
    else if (first === '"') this.string("unterminated text, or a character in it that must be escaped");
    else if (!this.skip(SCALAR)) this.fail(this.place === this.text.length ? "expected a value, but the text ends" : "expected a value");
  }

  all(end, depth, names) {
    if (depth >= MAX_DEPTH) this.fail(`nested more than ${MAX_DEPTH} levels deep`);
    this.place += 1;
    this.skip(BLANK);
    if (this.take(end)) return;
    do {
      this.skip(BLANK);
      if (names !== null) this.name(names);
      this.value(depth + 1);
      this.skip(BLANK);
    } while (this.take(","));
    if (!this.take(end)) this.fail(`expected a comma or ${end}`);
  }

  name(names) {
    const begin = this.place;
    if (this.text[begin] !== '"') this.fail("expected a name in double quotes");
    this.string("unterminated name, or a character in it that must be escaped");
    const name = JSON.parse(this.text.slice(begin, this.place));
    if (names.has(name)) throw new Fault(`the name ${JSON.stringify(name)} occurs twice`, begin);
    names.add(name);
    this.skip(BLANK);
    if (!this.take(":")) this.fail("expected a colon after the name");
  }

  string(message) {
    if (!this.skip(STRING)) this.fail(message);
  }

  skip(pattern) {
    pattern.lastIndex = this.place;
    const found = pattern.exec(this.text);
    if (found === null) return false;
    this.place = pattern.lastIndex;
    return true;
  }

  take(character) {
    if (this.text[this.place] !== character) return false;
    this.place += 1;
    return true;
  }

  fail(message) {
    throw new Fault(message, this.place);
  }
}
