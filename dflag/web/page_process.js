// Track which process answers. Several may share one address, each with its own values and overrides. The page shows
// one of them until it no longer answers, and tells the user so.

const REMEMBER_MS = 60000; // how long a process counts as one of several after its last answer
const STAY_ANSWERS = 10; // answers of others in a row, per known process, until the shown one is considered gone

export const processes = {
  known: new Map(), // key: { key, number, instance, listing, tag, heard }
  shown: null,
  missed: 0, // answers of other processes since the last answer of the shown one
  before: null, // the process that was shown before this one, for a while after it stopped answering

  get several() {
    return this.known.size > 1;
  },

  tags() {
    return [...this.known.values()].map((process) => process.tag).filter(Boolean).join(", ");
  },

  // The process that sent an answer, either a listing or the response to a setting.
  of({ process: number, instance = "" }) {
    const key = `${number} ${instance}`;
    if (!this.known.has(key)) this.known.set(key, { key, number, instance, listing: null, tag: null, heard: Date.now() });
    return this.known.get(key);
  },

  // The process whose listing has not changed. A proxy may weaken the tag or omit it.
  unchanged(tag) {
    const plainTag = (tag ?? "").replace(/^W\//, "");
    return [...this.known.values()].find((process) => process.tag === plainTag) ?? this.shown;
  },

  // Record that a process answered a poll; return whether the page now shows another one.
  heard(process) {
    const now = Date.now();
    const last = this.shown;
    process.heard = now;
    this.missed = process === last ? 0 : this.missed + 1;
    for (const other of this.known.values()) {
      if (other !== last && now - other.heard > REMEMBER_MS) this.known.delete(other.key);
    }
    if (this.before !== null && now - this.before.heard > 2 * REMEMBER_MS) this.before = null;
    if (last === null) {
      this.choose(process);
    } else if (this.missed >= STAY_ANSWERS * this.known.size) {
      this.known.delete(last.key);
      this.choose(process);
      this.before = last;
    }
    return this.shown !== last;
  },

  choose(process) {
    this.shown = process;
    this.missed = 0;
    this.before = null;
  },

  // The number is enough, unless two containers use the same one.
  name({ number, instance }) {
    const same = [...this.known.values()].filter((process) => process.number === number);
    return same.length > 1 ? `process ${number} (${instance})` : `process ${number}`;
  },

  others() {
    return [...this.known.values()].filter((process) => process !== this.shown);
  },
};
