// The page asks for the listing about once a second and shows what is new in it. Three rules hold throughout:
// what the server sends goes into the page as text alone; only what differs is drawn again, so that focus, scroll
// and open details stay; nothing is stored, so a token is gone with the page.

const POLL_MS = 1000;
const POLL_HIDDEN_MS = 15000;
const RETRY_MAX_MS = 30000;
const REQUEST_TIMEOUT_MS = 15000;
const MARKED_MS = 4000; // how long a new value stays marked; page.css fades it in that time
const NEWS_EVERY_MS = 5000; // no more often is a screen reader told of changes
const PREVIEW_CHARACTERS = 240;
const FOLD_CHARACTERS = 800;
const FOLD_LINES = 24;
const MANY = 200; // from here on, lines out of sight are not laid out
const HISTORY_SHOWN = 15;
const TIME_LIMITS = [["10 minutes", 600], ["1 hour", 3600], ["8 hours", 28800], ["1 day", 86400], ["no limit", ""]];
const TIME_LIMIT_DEFAULT = "3600";

// Characters that show nothing, or that turn the text around them: they are made visible.
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/;

const page = {
  listing: null,
  tag: null,
  rows: new Map(), // name: Row
  filter: { words: [], changed: false, kind: "", rejected: false },
  token: null, // null: not asked for yet; "": none is needed
  skew: 0, // the server's clock less ours, in ms
};

// --- elements

const at = (id) => document.getElementById(id);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function button(className, label, action) {
  const element = make("button", className, label);
  element.type = "button";
  element.addEventListener("click", action);
  return element;
}

const unseen = (text) => make("span", "unseen", text);

// Text as nodes. It is never read as markup; its invisible characters get a name that can be seen.
function plain(text) {
  if (!INVISIBLE.test(text)) return [text];
  return text.split(new RegExp(`(${INVISIBLE.source})`)).filter(Boolean).map((part) => {
    if (!INVISIBLE.test(part)) return part;
    const shown = make("span", "odd", part);
    shown.dataset.code = "U+" + part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    return shown;
  });
}

function code(text, className = "") {
  if (text === "") return make("code", `${className} empty`, "empty");
  return make("code", className, ...plain(text));
}

// A short look at a value; in one line where its line ends mean nothing.
function preview(text, inLine) {
  const start = text.slice(0, 4 * PREVIEW_CHARACTERS);
  const short = inLine ? start.replace(/,\n\s*/g, ", ").replace(/([[{])\n\s*|\n\s*(?=[\]}])/g, "$1").replace(/\s+/g, " ") : start;
  return short.length <= PREVIEW_CHARACTERS ? short : short.slice(0, PREVIEW_CHARACTERS) + "…";
}

// JSON over several lines, also where its end was cut off. Not by JSON.parse, which rounds large numbers.
function pretty(text) {
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

// A value in full; a long one is folded, and stays open once it was opened.
const openFolds = new Set();

function full(text, key) {
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

// Put new content in place of old, and give the focus back to what had it.
function fill(element, ...children) {
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...children);
  if (key === undefined) return;
  for (const candidate of element.querySelectorAll("[data-key]")) {
    if (candidate.dataset.key === key) candidate.focus({ preventScroll: true });
  }
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --- time

const now = () => Date.now() + page.skew;
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

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
  const pad = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const clock = `${pad(Math.floor((seconds % 3600) / 60))}:${pad(seconds % 60)}`;
  return `${hours ? `${hours}:` : ""}${clock} left`;
}

// A moment that says how long ago, or how long still, and is kept true by `tick`.
function moment(when, kind = "ago") {
  const element = make("time", kind);
  element.dateTime = when;
  element.dataset.kind = kind;
  element.title = new Date(when).toLocaleString();
  age(element);
  return element;
}

function age(element) {
  const ms = Date.parse(element.dateTime) - now();
  setText(element, element.dataset.kind === "left" ? countdown(ms) : `${span(-ms)} ago`);
}

function tick() {
  if (!document.hidden) document.querySelectorAll("time[data-kind]").forEach(age);
}

// --- flags

const BADGES = [
  ["rejected", "bad", (flag) => flag.rejected.length > 0],
  ["restart pending", "warn", (flag) => flag.pending_restart],
  ["callback failed", "bad", (flag) => flag.callback_errors > 0],
  ["deprecated", "warn", (flag) => flag.deprecated !== null],
  ["expired", "warn", (flag) => isExpired(flag)],
  ["secret", "", (flag) => flag.is_secret],
];

function isExpired(flag) {
  return flag.expires !== null && flag.expires < new Date(now()).toISOString().slice(0, 10);
}

const chip = (origin) => make("span", `chip ${origin === "override" ? "strong" : ""}`, ...plain(origin));
const reasonOf = (reason) => reason.replace(/ \(until [-0-9T:Z]+\)$/, ""); // the countdown says that
const overrideOf = (flag) => flag.layers.find((layer) => layer.origin === "override");

function change(entry, key) {
  return make(
    "div", "change",
    unseen("from "), make("del", "", code(preview(entry.old, true))),
    make("span", "arrow", "→"), unseen(" to "),
    make("ins", "", key && entry.new.length > 60 ? full(entry.new, key) : code(preview(entry.new, true))),
  );
}

// One flag: a line of the list, and the details that open under it.
class Row {
  constructor(name) {
    this.name = name;
    this.flag = null;
    this.text = "";
    this.open = false;
    this.blocks = null;
    this.form = null;
    const id = `flag-${encodeURIComponent(name)}`;
    this.button = button("name", name, () => this.toggle());
    this.button.setAttribute("aria-expanded", "false");
    this.button.setAttribute("aria-controls", `${id}-more`);
    this.about = make("div", "about");
    this.value = make("div", "value");
    this.from = make("div", "from");
    const heading = make("h3", "", this.button);
    this.line = make("div", "line", make("div", "who", heading, this.about), this.value, this.from);
    this.line.addEventListener("click", (event) => {
      if (!event.target.closest("button, a") && String(getSelection()) === "") this.toggle();
    });
    this.more = make("div", "more");
    this.more.id = `${id}-more`;
    this.more.hidden = true;
    this.element = make("li", "flag", this.line, this.more);
    this.element.id = id;
  }

  // Show a flag as it is now; say whether its value is another one than before.
  show(flag, text) {
    const before = this.flag;
    if (text === this.text) return false;
    this.flag = flag;
    this.text = text;
    this.words = `${flag.name}\n${flag.description}\n${flag.current_value}`.toLowerCase();
    this.showLine();
    if (this.open) this.showMore();
    const isNew = before !== null && (
      before.current_value !== flag.current_value || before.last_change?.when !== flag.last_change?.when
    );
    if (isNew) this.mark();
    return isNew;
  }

  showLine() {
    const flag = this.flag;
    this.element.classList.toggle("changed", flag.is_changed);
    this.element.classList.toggle("refused", flag.rejected.length > 0);
    const badges = make("p", "badges", make("span", "kind", flag.type), make("span", "kind", flag.is_dynamic ? "dynamic" : "static"));
    for (const [label, tone, fits] of BADGES) if (fits(flag)) badges.append(make("span", `badge ${tone}`, label));
    this.about.replaceChildren(badges, make("p", "help", ...plain(flag.description)));
    this.value.replaceChildren(unseen("Value: "), code(preview(flag.current_value, flag.is_json), "now"), this.standing());
    this.from.replaceChildren(...this.provenance());
  }

  standing() {
    if (this.flag.origin === "default") return "";
    if (!this.flag.is_changed) return make("span", "standing", "the same as the default");
    if (this.flag.is_secret) return make("span", "standing", "not the default");
    return make("span", "standing", "default ", code(preview(this.flag.default_value, true).slice(0, 80)));
  }

  provenance() {
    const found = [unseen("From: "), chip(this.flag.origin)];
    const override = overrideOf(this.flag);
    if (override?.reason) found.push(make("span", "reason", ...plain(preview(reasonOf(override.reason), true))));
    if (override?.expires_at) found.push(moment(override.expires_at, "left"));
    else if (this.flag.last_change) found.push(moment(this.flag.last_change.when));
    return found;
  }

  mark() {
    this.element.classList.remove("touched");
    void this.element.offsetWidth; // starts the fading anew
    this.element.classList.add("touched");
    clearTimeout(this.unmark);
    this.unmark = setTimeout(() => this.element.classList.remove("touched"), MARKED_MS);
  }

  toggle(open = !this.open) {
    this.open = open;
    this.button.setAttribute("aria-expanded", String(open));
    this.element.classList.toggle("open", open);
    this.more.hidden = !open;
    if (open) this.showMore();
  }

  showMore() {
    if (this.blocks === null) {
      const columns = [make("div", "column"), make("div", "column")];
      this.blocks = [this.drawRejected, this.drawLayers, this.drawFacts, this.drawChanges].map((draw, index) => {
        const element = make("div", "block");
        columns[index < 2 ? 0 : 1].append(element);
        return { element, draw, key: null };
      });
      this.more.append(...columns);
    }
    for (const block of this.blocks) {
      const content = block.draw.call(this);
      if (content.key === block.key) continue;
      block.key = content.key;
      block.element.hidden = content.draw === null;
      fill(block.element, ...(content.draw === null ? [] : content.draw()));
    }
    this.showForm();
  }

  showForm() {
    const wanted = page.listing.set_url !== "" && this.flag.is_dynamic;
    if (wanted && this.form === null) {
      this.form = new SettingForm(this);
      this.more.append(this.form.element);
    }
    if (this.form !== null) {
      this.form.element.hidden = !wanted;
      this.form.show(this.flag);
    }
  }

  // The blocks of the details: what each depends on, and how it is drawn; null for not at all.

  drawRejected() {
    const rejected = this.flag.rejected;
    return {
      key: JSON.stringify(rejected),
      draw: rejected.length === 0 ? null : () => [
        make("h4", "bad", "Refused, so the last good value stays"),
        make("ul", "", ...rejected.map((found, index) => make(
          "li", "",
          make("p", "", chip(found.where), found.key === this.name ? "" : " key ", found.key === this.name ? "" : code(found.key)),
          full(found.message, `${this.name} rejected ${index}`),
        ))),
      ],
    };
  }

  drawLayers() {
    const { layers, origin, is_json: isJson, is_secret: secret } = this.flag;
    return {
      key: JSON.stringify([layers, origin]),
      draw: () => [make("h4", "", layers.length > 1 ? "Value, with what lies under it" : "Value"), make("ol", "", ...layers.map((layer, index) => {
        const item = make("li", index === 0 ? "winner" : "", make("p", "", chip(layer.origin), index === 0 && layers.length > 1 ? make("span", "note", "in effect") : ""));
        item.append(full(isJson && !secret ? pretty(layer.text) : layer.text, `${this.name} layer ${layer.origin}`));
        if (layer.reason) item.append(make("p", "note", ...plain(reasonOf(layer.reason))));
        if (layer.expires_at) item.append(make("p", "note", moment(layer.expires_at, "left")));
        return item;
      }))],
    };
  }

  drawFacts() {
    const flag = this.flag;
    const found = [
      ["Kind", `${flag.type}, ${flag.is_dynamic ? "dynamic" : "static"}${flag.is_secret ? ", secret" : ""}`],
      ["Help", flag.description],
      ["Range", flag.range.replace(/^of /, "")],
      ["Choices", flag.choices],
      ["Owner", flag.owner],
      ["Deprecated", flag.deprecated],
      ["Expires", flag.expires && `${flag.expires}${isExpired(flag) ? ", which has passed" : ""}`],
      ["Restart", flag.pending_restart && "a restart would give it another value"],
      ["Callbacks", flag.callback_errors > 0 && `${plural(flag.callback_errors, "call")} raised; see the log`],
    ].filter(([, text]) => text);
    return {
      key: JSON.stringify(found),
      draw: () => [make("h4", "", "About"), make("dl", "", ...found.map(
        ([term, text]) => make("div", "", make("dt", "", term), make("dd", "", ...plain(text))),
      ))],
    };
  }

  drawChanges() {
    const entries = page.listing.history.filter((entry) => entry.flag === this.name).reverse();
    return {
      key: JSON.stringify(entries),
      draw: entries.length === 0 ? null : () => [
        make("h4", "", "Last changes"),
        make("ul", "", ...entries.slice(0, 5).map((entry) => make(
          "li", "",
          change(entry, `${this.name} change ${entry.when}`),
          make("p", "note", moment(entry.when), " by ", ...plain(entry.origin), entry.reason ? ": " : "", ...plain(reasonOf(entry.reason ?? ""))),
        ))),
      ],
    };
  }

  fits({ words, changed, kind, rejected }) {
    return (!changed || this.flag.is_changed)
      && (!rejected || this.flag.rejected.length > 0)
      && (kind === "" || this.flag.is_dynamic === (kind === "dynamic"))
      && words.every((word) => this.words.includes(word));
  }
}

// --- setting

let fields = 0;

function field(label, input, hint = "") {
  input.id = `field-${++fields}`;
  const element = make("div", "field", make("label", "", label), input);
  element.firstChild.htmlFor = input.id;
  if (hint) {
    const note = make("p", "note", hint);
    note.id = `${input.id}-hint`;
    input.setAttribute("aria-describedby", note.id);
    element.append(note);
  }
  return element;
}

function choice(options, selected) {
  const select = make("select", "");
  for (const [label, value] of options) select.append(new Option(label, value, false, String(value) === selected));
  return select;
}

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The form that sets the override of one flag, and drops it.
class SettingForm {
  constructor(row) {
    this.row = row;
    this.source = null; // the flag's text that the field was filled from
    this.prefilled = null; // the same as the browser gives it back, with its own line ends
    const { flag } = row;
    this.value = flag.type === "bool" ? choice([["true", "true"], ["false", "false"]], "") : make("textarea", "");
    this.value.spellcheck = false;
    this.reason = make("input", "");
    this.reason.maxLength = 900;
    this.reason.autocomplete = "off";
    this.limit = choice(TIME_LIMITS, TIME_LIMIT_DEFAULT);
    this.token = make("input", "");
    this.token.type = "password";
    this.token.autocomplete = "off";
    this.tokenField = field("Token", this.token, "Kept in this page's memory alone, for all flags. Leave it empty where none is needed.");
    this.forget = button("plain", "Forget the token", () => forgetToken());
    this.stale = make("p", "note warn");
    this.stale.hidden = true;
    this.submit = make("button", "primary", "Set");
    this.drop = button("secondary", "Drop override", () => this.send(null));
    this.result = make("p", "result");
    this.result.setAttribute("role", "alert");
    this.result.id = `result-${++fields}`;
    const hint = { bytes: "base64" }[flag.type] ?? (flag.is_secret ? "The present value is not shown" : [flag.range.replace(/^of /, ""), flag.choices].filter(Boolean).join("; "));
    const heading = make("h4", "", "Set");
    heading.id = `heading-${++fields}`;
    this.element = make(
      "form", "setting", heading,
      field("Value", this.value, hint), this.stale,
      make("div", "pair", field("Reason", this.reason), field("Time limit", this.limit)),
      this.tokenField,
      make("div", "buttons", this.submit, this.drop, this.forget),
      this.result,
    );
    this.element.setAttribute("aria-labelledby", heading.id);
    this.element.autocomplete = "off";
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(this.value.value);
    });
  }

  show(flag) {
    const text = flag.is_secret ? "" : flag.current_value;
    if (this.source !== text && (this.prefilled === null || this.value.value === this.prefilled)) this.prefill(text);
    this.stale.hidden = this.source === text;
    setText(this.stale, this.stale.hidden ? "" : `Meanwhile the value has become ${preview(text, true)}`);
    this.drop.hidden = overrideOf(flag) === undefined;
    this.showToken();
  }

  prefill(text) {
    this.source = text;
    this.value.value = text;
    this.prefilled = this.value.value;
    if (this.value.tagName === "TEXTAREA") this.value.rows = Math.min(16, Math.max(1, text.split("\n").length, Math.ceil(text.length / 70)));
  }

  showToken() {
    this.tokenField.hidden = page.token !== null;
    this.forget.hidden = !page.token;
  }

  async send(value) {
    if (this.busy) return;
    const token = page.token ?? this.token.value;
    const wanted = { name: this.row.name, value, reason: this.reason.value };
    if (value !== null && this.limit.value !== "") wanted.ttl_seconds = Number(this.limit.value);
    this.wait(true);
    try {
      const answer = await setFlag(wanted, token);
      this.accept(token, value, answer.flag);
    } catch (error) {
      this.refuse(error);
    } finally {
      this.wait(false);
    }
  }

  accept(token, value, flag) {
    page.token = token;
    this.token.value = "";
    this.reason.value = "";
    this.value.setAttribute("aria-invalid", "false");
    this.prefill(flag.is_secret ? "" : flag.current_value);
    this.say("good", value === null ? "Dropped. The layer below shows again." : "Set.");
    if (document.activeElement === this.drop) this.submit.focus(); // the button is about to go
    this.row.show(flag, JSON.stringify(flag));
    page.rows.forEach((row) => row.form?.showToken());
    poll.soon();
  }

  refuse(error) {
    this.value.setAttribute("aria-invalid", String(error.status === 422));
    if (error.status === 401) {
      forgetToken();
      this.token.focus();
    } else if (error.status === 422) {
      this.value.focus();
    }
    const said = error instanceof Refused ? error.message : "The server cannot be reached, so nothing is known to have changed.";
    this.say("bad", said);
  }

  say(tone, text) {
    this.result.className = `result ${tone}`;
    this.result.replaceChildren(...plain(text));
  }

  wait(busy) {
    this.busy = busy;
    this.element.setAttribute("aria-busy", String(busy));
    this.submit.setAttribute("aria-disabled", String(busy));
    if (busy) this.say("", "Sending");
  }
}

function forgetToken() {
  page.token = null;
  page.rows.forEach((row) => row.form?.showToken());
}

async function setFlag(wanted, token) {
  const headers = { "Content-Type": "application/json" };
  if (token !== "") headers.Authorization = `Bearer ${token}`;
  let request;
  try {
    request = new Request(page.listing.set_url, { method: "POST", headers, body: JSON.stringify(wanted), cache: "no-store" });
  } catch {
    throw new Refused(401, "A token has visible ASCII characters alone.");
  }
  const answer = await fetch(request, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.error ?? `The server answered ${answer.status}.`);
  if (!said.flag) throw new Refused(answer.status, "The answer is not one of dflag: is there a sign-in in between?");
  return said;
}

// --- the listing

function show(listing) {
  page.listing = listing;
  showHead(listing);
  showSources(listing.updater);
  showNotices(listing);
  const touched = showFlags(listing.flags);
  showHistory(listing.history);
  filter();
  if (touched.length > 0) news.add(touched);
}

function showHead(listing) {
  setText(at("meta"), [
    `revision ${listing.revision}`, `process ${listing.process}`, plural(listing.flag_count, "flag"), listing.frozen ? "static flags settled" : "",
  ].filter(Boolean).join(" · "));
  setText(at("checksums"), `checksum ${listing.checksum} · static ${listing.checksum_static} · dynamic ${listing.checksum_dynamic}`);
}

function showFlags(flags) {
  const list = at("flags");
  const gone = new Set(page.rows.keys());
  const touched = [];
  const isFirst = page.rows.size === 0;
  let place = isFirst ? null : list.firstElementChild;
  const fresh = document.createDocumentFragment();
  for (const flag of flags) {
    gone.delete(flag.name);
    let row = page.rows.get(flag.name);
    if (row === undefined) {
      row = new Row(flag.name);
      page.rows.set(flag.name, row);
    }
    if (row.show(flag, JSON.stringify(flag))) touched.push(flag);
    if (isFirst) fresh.append(row.element);
    else if (row.element === place) place = place.nextElementSibling;
    else list.insertBefore(row.element, place);
  }
  list.append(fresh);
  list.classList.toggle("many", flags.length > MANY);
  for (const name of gone) {
    page.rows.get(name).element.remove();
    page.rows.delete(name);
  }
  return touched;
}

const drawn = new Map(); // element: what it was drawn from

function drawOnce(element, data, draw) {
  const key = JSON.stringify(data);
  if (drawn.get(element) === key) return;
  drawn.set(element, key);
  fill(element, ...draw());
}

function showSources(updater) {
  at("sources-section").hidden = updater === null;
  if (updater === null) return;
  const failing = updater.sources.some((source) => !source.healthy);
  drawOnce(at("updater"), { ...updater, sources: failing }, () => [
    `Updater ${updater.state} · ${plural(updater.updates, "update")} · ${plural(updater.errors, "error")} · ${plural(updater.warnings, "warning")} · `,
    ...(updater.in_touch ? [failing ? "all were well within the last minute" : "all in touch"] : updater.last_success ? ["all well last ", moment(updater.last_success)] : ["never all well"]),
  ]);
  drawOnce(at("sources"), updater.sources, () => updater.sources.map(card));
}

function card(source) {
  const worries = [source.not_live, source.healthy && source.degraded].filter(Boolean);
  const [tone, word] = !source.healthy ? ["bad", "failing"] : worries.length > 0 ? ["warn", "limited"] : ["good", "healthy"];
  const contact = source.in_touch ? ["in touch"] : source.last_contact ? ["last contact ", moment(source.last_contact)] : ["no contact yet"];
  const element = make(
    "li", `source ${tone}`,
    make("h3", "", ...plain(source.name)),
    make("span", `badge ${tone}`, word),
    make(
      "p", "meta",
      source.watched === "not watched" ? "not watched" : `watched by ${source.watched}`, " · ", ...contact, " · ",
      ...(source.checksum ? ["revision ", code(source.checksum.slice(0, 12))] : ["no revision yet"]),
    ),
  );
  if (source.last_error) element.append(make("p", "error", ...plain(source.last_error)));
  for (const worry of worries) element.append(make("p", "worry", ...plain(worry)));
  return element;
}

function showNotices(listing) {
  const rejected = listing.flags.filter((flag) => flag.rejected.length > 0).length;
  const failing = listing.updater?.sources.filter((source) => !source.healthy).map((source) => source.name) ?? [];
  const { pending_restart: pending, unknown } = listing;
  const part = listing.flag_count - listing.flags.length;
  drawOnce(at("notices"), [rejected, failing, pending, unknown, part], () => {
    const found = [];
    if (failing.length > 0) found.push(notice("bad", `${plural(failing.length, "source")} cannot be read: `, ...list(failing), ". The last values stay."));
    if (rejected > 0) {
      const see = button("plain", rejected === 1 ? "Show it" : "Show them", () => press("rejected", true));
      see.dataset.key = "rejected";
      found.push(notice("bad", rejected === 1 ? "One flag holds a refused value; its last good one stays. " : `${rejected} flags hold refused values; their last good ones stay. `, see));
    }
    if (pending.length > 0) found.push(notice("warn", "A restart would change ", ...list(pending, true), "."));
    if (unknown.length > 0) found.push(notice("warn", "The sources have keys that no flag has: ", ...list(unknown), "."));
    if (part > 0) {
      const all = make("a", "", "Show all");
      all.href = "?";
      found.push(notice("", `The address leaves out ${plural(part, "flag")}. `, all));
    }
    return found;
  });
}

const notice = (tone, ...content) => make("p", `notice ${tone}`, ...content);

function list(names, areFlags = false) {
  const shown = names.slice(0, 20).flatMap((name, index) => [index ? ", " : "", areFlags ? link(name) : code(name)]);
  return names.length > 20 ? [...shown, ` and ${names.length - 20} more`] : shown;
}

function link(name) {
  const element = make("a", "", code(name));
  element.href = `#flag-${encodeURIComponent(name)}`;
  return element;
}

const entries = new Map(); // an entry's text: its element

function showHistory(history) {
  const place = at("history");
  const seen = new Set();
  let above = null;
  for (let index = history.length - 1; index >= 0; index--) { // newest first
    const key = JSON.stringify(history[index]);
    if (seen.has(key)) continue; // two that are alike to the millisecond
    seen.add(key);
    let element = entries.get(key);
    if (element === undefined) {
      element = entry(history[index]);
      entries.set(key, element);
      place.insertBefore(element, above === null ? place.firstChild : above.nextSibling);
    }
    above = element;
  }
  for (const [key, element] of entries) {
    if (seen.has(key)) continue;
    element.remove();
    entries.delete(key);
  }
  at("no-history").hidden = history.length > 0;
  const more = at("more-history");
  more.hidden = seen.size <= HISTORY_SHOWN;
  if (more.getAttribute("aria-expanded") === "false") setText(more, `Show all ${seen.size}`);
}

function entry(record) {
  return make(
    "li", "",
    make("span", "when", moment(record.when)),
    make("span", "flagname", link(record.flag)),
    change(record),
    make("span", "why", chip(record.origin), ...(record.reason ? [" ", ...plain(record.reason)] : [])),
  );
}

// --- filters

function press(name, on) {
  const { filter: wanted } = page;
  if (name === "dynamic" || name === "static") wanted.kind = on ? name : "";
  else wanted[name] = on;
  filter();
  setText(at("shown"), counted());
}

let shownCount = 0;

function filter() {
  const counts = { changed: 0, dynamic: 0, static: 0, rejected: 0 };
  shownCount = 0;
  for (const row of page.rows.values()) {
    const { flag } = row;
    counts.changed += flag.is_changed;
    counts[flag.is_dynamic ? "dynamic" : "static"] += 1;
    counts.rejected += flag.rejected.length > 0;
    const fits = row.fits(page.filter) || row.element.contains(document.activeElement); // nobody loses a form under the hands
    shownCount += fits;
    if (row.element.hidden === fits) row.element.hidden = !fits;
  }
  for (const toggle of document.querySelectorAll(".toggle")) {
    const name = toggle.dataset.filter;
    toggle.setAttribute("aria-pressed", String(page.filter.kind === name || page.filter[name] === true));
    setText(toggle.querySelector(".count"), String(counts[name]));
  }
  at("nothing").hidden = shownCount > 0 || page.rows.size === 0;
  if (isFiltered() || at("shown").textContent === "") setText(at("shown"), counted());
}

function isFiltered() {
  const { words, changed, kind, rejected } = page.filter;
  return words.length > 0 || changed || rejected || kind !== "";
}

function counted() {
  return isFiltered() ? `${shownCount} of ${page.rows.size} shown` : `${plural(page.rows.size, "flag")}`;
}

function search() {
  page.filter.words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  filter();
  setText(at("shown"), counted());
}

function clearFilters() {
  at("search").value = "";
  page.filter = { words: [], changed: false, kind: "", rejected: false };
  search();
  at("search").focus();
}

// Open the flag that the address names, even if a filter hides it.
function openNamed() {
  const row = [...page.rows.values()].find((candidate) => `#${candidate.element.id}` === location.hash);
  if (row === undefined) return;
  if (row.element.hidden) clearFilters();
  row.toggle(true);
  row.element.scrollIntoView({ block: "start" });
  row.button.focus({ preventScroll: true });
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing) {
    at("search").focus();
    at("search").select();
    event.preventDefault();
  } else if (event.key === "Escape" && event.target === at("search")) {
    clearFilters();
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (event.target === at("search") || event.target.matches("button.name"))) {
    const buttons = [...document.querySelectorAll(".flag:not([hidden]) button.name")];
    const next = buttons.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1);
    (buttons[next] ?? (next < 0 ? at("search") : null))?.focus();
    event.preventDefault();
  }
}

// --- telling a screen reader, in few words

const news = {
  waiting: new Map(),
  timer: null,
  last: 0,

  add(flags) {
    for (const flag of flags) this.waiting.set(flag.name, flag);
    this.timer ??= setTimeout(() => this.tell(), Math.max(500, this.last + NEWS_EVERY_MS - Date.now()));
  },

  tell() {
    const flags = [...this.waiting.values()];
    this.waiting.clear();
    this.timer = null;
    this.last = Date.now();
    const say = flags.length > 3
      ? `${flags.length} flags changed`
      : flags.map((flag) => `${flag.name} is now ${preview(flag.current_value, true).slice(0, 80) || "empty"}`).join("; ");
    setText(at("news"), say);
  },
};

// --- following

const poll = {
  timer: null,
  running: false,
  again: false,
  failures: 0,
  since: null,

  soon() {
    if (this.running) this.again = true;
    else this.run();
  },

  async run() {
    clearTimeout(this.timer);
    this.running = true;
    this.again = false;
    try {
      await ask();
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      this.since ??= new Date();
      reachable(error instanceof Refused ? error.message : "The server cannot be reached");
    }
    if (this.failures === 0) {
      this.since = null;
      reachable(null);
    }
    this.running = false;
    this.timer = setTimeout(() => this.run(), this.delay());
  },

  delay() {
    if (this.failures > 0) return Math.min(RETRY_MAX_MS, POLL_MS * 2 ** (this.failures - 1)) * (0.8 + 0.4 * Math.random());
    if (this.again) return 0;
    return document.hidden ? POLL_HIDDEN_MS : POLL_MS;
  },
};

async function ask() {
  const query = new URLSearchParams(location.search);
  query.set("format", "json");
  const headers = page.tag === null ? {} : { "If-None-Match": page.tag };
  const answer = await fetch(`?${query}`, { headers, cache: "no-store", signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  const date = Date.parse(answer.headers.get("Date") ?? "");
  if (!Number.isNaN(date)) {
    const skew = date + 500 - Date.now(); // a Date has whole seconds
    page.skew = Math.abs(skew) > 2000 ? skew : 0;
  }
  if (answer.status === 304) return;
  if (!answer.ok) throw new Refused(answer.status, `The server answers ${answer.status}`);
  const listing = await answer.json().catch(() => null);
  if (!Array.isArray(listing?.flags)) throw new Refused(answer.status, "The answer is no listing: is there a sign-in in between?");
  show(listing);
  page.tag = answer.headers.get("ETag");
  if (poll.since === null && at("link").dataset.state === "wait") openNamed();
}

function reachable(problem) {
  const isWell = problem === null;
  at("link").dataset.state = isWell ? "live" : "lost";
  setText(at("link-text"), isWell ? "Live" : "Not live");
  const what = isWell ? "" : `${problem}, since ${poll.since.toLocaleTimeString()}. ${page.listing ? "What is shown is from before. " : ""}Trying again by itself.`;
  if (drawn.get(at("outage")) === what) return;
  drawn.set(at("outage"), what);
  at("outage").replaceChildren(...(isWell ? [] : [notice("bad", what, " ", button("plain", "Try now", () => poll.soon()))]));
}

function start() {
  at("search").addEventListener("input", search);
  at("clear").addEventListener("click", clearFilters);
  for (const toggle of document.querySelectorAll(".toggle")) {
    toggle.addEventListener("click", () => press(toggle.dataset.filter, toggle.getAttribute("aria-pressed") === "false"));
  }
  at("more-history").addEventListener("click", (event) => {
    const open = at("history").classList.toggle("all");
    event.target.setAttribute("aria-expanded", String(open));
    setText(event.target, open ? "Show fewer" : `Show all ${entries.size}`);
  });
  document.addEventListener("keydown", keys);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) poll.soon();
  });
  window.addEventListener("online", () => poll.soon());
  window.addEventListener("hashchange", openNamed);
  setInterval(tick, 1000);
  poll.run();
}

start();
