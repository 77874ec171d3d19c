// The page asks for the listing about once a second and shows what is new in it. Three rules hold throughout:
// what the server sends goes into the page as text alone; only what differs is drawn again, so that focus, scroll
// and open details stay; nothing is stored, so a token is gone with the page.

import {
  at, button, code, cut, fill, make, moment, page, plain, plural, preview, Refused, REQUEST_TIMEOUT_MS, setText, tick,
} from "./page_base.js";
import { processes } from "./page_process.js";
import { addReads, showReads } from "./page_reads.js";
import { change, chip, Row } from "./page_row.js";

const POLL_MS = 1000;
const POLL_MISSED_MS = 250; // while other processes answer than the one that is shown
const POLL_HIDDEN_MS = 15000;
const RETRY_MAX_MS = 30000;
const NEWS_EVERY_MS = 5000; // a screen reader announces changes no more often
const MANY = 200; // from here on, lines out of sight are not laid out
const HISTORY_SHOWN = 15;

// --- the listing

function show(listing, isSameProcess) {
  page.listing = listing;
  showHead(listing);
  showSources(listing.updater);
  showNotices(listing);
  const touched = showFlags(listing.flags, isSameProcess);
  showReads();
  showHistory(listing.history);
  filter();
  if (touched.length > 0) news.add(touched);
}

function showHead(listing) {
  setText(at("meta"), [
    `revision ${listing.revision}`, `process ${listing.process}`, plural(listing.flag_count, "flag"), listing.frozen ? "static flags frozen" : "",
  ].filter(Boolean).join(" · "));
  setText(at("checksums"), `checksum ${listing.checksum} · static ${listing.checksum_static} · dynamic ${listing.checksum_dynamic}`);
}

function showFlags(flags, isSameProcess) {
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
    if (row.show(flag, JSON.stringify(flag), isSameProcess)) touched.push(flag);
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
    ...(updater.in_touch ? [failing ? "all sources were read within the last minutes" : "all sources respond"] : updater.last_success ? ["all sources last read ", moment(updater.last_success)] : ["the sources were never all read"]),
  ]);
  drawOnce(at("sources"), updater.sources, () => updater.sources.map(card));
  drawOnce(at("rules"), updater.rules, () => updater.rules.map(ruleCard));
}

const RULE_TONES = { refused: "bad", reverted: "bad", "in force": "good", done: "good", baking: "warn" };

function ruleCard(rule) {
  const tone = RULE_TONES[rule.state] ?? "";
  const next = rule.next_change ? [" · next change ", moment(rule.next_change)] : [];
  const element = make(
    "li", `source ${tone}`,
    make("h3", "", ...plain(rule.name)),
    make("span", `badge ${tone}`, rule.state),
    make("p", "meta", "rule of ", ...plain(rule.source), ...next),
  );
  if (rule.problem) element.append(make("p", "error", ...plain(rule.problem)));
  if (rule.needs.length > 0) element.append(make("p", "worry", "needs facts that are not known: ", ...list(rule.needs)));
  return element;
}

function card(source) {
  const worries = [source.not_live, source.healthy && source.degraded].filter(Boolean);
  const [tone, word] = !source.healthy ? ["bad", "failing"] : worries.length > 0 ? ["warn", "limited"] : ["good", "healthy"];
  const contact = source.in_touch ? ["responds"] : source.last_contact ? ["last contact ", moment(source.last_contact)] : ["no contact yet"];
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

function showProcesses() {
  const { shown, before, several } = processes;
  const others = processes.others();
  drawOnce(at("processes"), [shown.key, before?.key, others.map((process) => [process.key, process.listing !== null])], () => {
    for (const row of page.rows.values()) row.form?.show(row.flag);
    if (several) {
      const choices = others.filter((process) => process.listing !== null).flatMap(
        (process) => [" ", button("plain", `Show ${processes.name(process)}`, () => choose(process))],
      );
      return [notice(
        "warn", `${plural(others.length + 1, "process", "processes")} answered at this address within the last minute, each with its own values. `,
        `This page shows ${processes.name(shown)}. An override is set in one process only. To change a value in all of them, change it in its source.`,
        ...choices,
      )];
    }
    return before === null ? [] : [notice("warn", `Process ${before.number} no longer answers. This page now shows ${processes.name(shown)}.`)];
  });
}

function choose(process) {
  processes.choose(process);
  show(process.listing, false);
  showProcesses();
}

function showNotices(listing) {
  const rejected = listing.flags.filter((flag) => flag.rejected.length > 0).length;
  const failing = listing.updater?.sources.filter((source) => !source.healthy).map((source) => source.name) ?? [];
  const { pending_restart: pending, unknown } = listing;
  const part = listing.flag_count - listing.flags.length;
  drawOnce(at("notices"), [rejected, failing, pending, unknown, part], () => {
    const found = [];
    if (failing.length > 0) found.push(notice("bad", `${plural(failing.length, "source")} cannot be read: `, ...list(failing), ". The flags keep their last good values."));
    if (rejected > 0) {
      const see = button("plain", rejected === 1 ? "Show it" : "Show them", () => press("rejected", true));
      see.dataset.key = "rejected";
      found.push(notice("bad", rejected === 1 ? "1 flag has a refused value and keeps its last good one. " : `${rejected} flags have refused values and keep their last good ones. `, see));
    }
    if (pending.length > 0) found.push(notice("warn", "A restart would change ", ...list(pending, true), "."));
    if (unknown.length > 0) found.push(notice("warn", "The sources have keys that match no flag: ", ...list(unknown), "."));
    if (part > 0) {
      const all = make("a", "", "Show all");
      all.href = "?";
      found.push(notice("", `The filter in the address hides ${plural(part, "flag")}. `, all));
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

// --- what a screen reader announces, in few words

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
      : flags.map((flag) => `${flag.name} is now ${cut(preview(flag.current_value, true), 80) || "empty"}`).join("; ");
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
    if (processes.missed > 0 && !document.hidden) return POLL_MISSED_MS;
    return document.hidden ? POLL_HIDDEN_MS : POLL_MS;
  },
};

async function ask() {
  const query = new URLSearchParams(location.search);
  query.set("format", "json");
  const tags = processes.tags();
  const headers = tags === "" ? {} : { "If-None-Match": tags };
  const answer = await fetch(`?${query}`, { headers, cache: "no-store", signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  const date = Date.parse(answer.headers.get("Date") ?? "");
  if (!Number.isNaN(date)) {
    const skew = date + 500 - Date.now(); // a Date has whole seconds
    page.skew = Math.abs(skew) > 2000 ? skew : 0;
  }
  const tag = answer.headers.get("ETag");
  if (answer.status === 304) return answered(processes.unchanged(tag), false);
  if (!answer.ok) throw new Refused(answer.status, `The server answers ${answer.status}`);
  const listing = await answer.json().catch(() => null);
  if (!Array.isArray(listing?.flags)) throw new Refused(answer.status, "The answer is not a listing. A sign-in page or a proxy may have sent it");
  const process = processes.of(listing);
  process.listing = listing;
  process.tag = tag?.replace(/^W\//, "") ?? null;
  answered(process, true);
  if (poll.since === null && at("link").dataset.state === "wait") openNamed();
}

function answered(process, isNew) {
  const isOther = processes.heard(process);
  if (isOther || (isNew && process === processes.shown)) show(processes.shown.listing, !isOther);
  showProcesses();
}

function reachable(problem) {
  const isWell = problem === null;
  at("link").dataset.state = isWell ? "live" : "lost";
  setText(at("link-text"), isWell ? "Live" : "Not live");
  const what = isWell ? "" : `${problem}, since ${poll.since.toLocaleTimeString()}. ${page.listing ? "The page shows the last values that it received, and keeps trying." : "The page keeps trying."}`;
  if (drawn.get(at("outage")) === what) return;
  drawn.set(at("outage"), what);
  at("outage").replaceChildren(...(isWell ? [] : [notice("bad", what, " ", button("plain", "Try now", () => poll.soon()))]));
}

function start() {
  page.soon = () => poll.soon();
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
  addReads();
  setInterval(tick, 1000);
  poll.run();
}

start();
