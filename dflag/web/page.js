// The page polls the listing about once a second and shows the changes. Three rules hold throughout: what the server
// sends enters the page only as text; only parts that differ are drawn again, so focus, scroll position and open
// details are kept; nothing is stored, so closing the page discards the token.

import { at, button, cut, page, plural, preview, Refused, REQUEST_TIMEOUT_MS, setText, tick } from "./page_base.js";
import { addHistory, showHistory } from "./page_history.js";
import { processes } from "./page_process.js";
import { addReads, showReads } from "./page_reads.js";
import { Row } from "./page_row.js";
import { addRules, drawOnce, foldRules, notice, showNotices, showSources } from "./page_status.js";
import { arrange, readAddress, showGroups, view, writeAddress } from "./page_view.js";

const POLL_MS = 1000;
const POLL_MISSED_MS = 250; // while processes other than the shown one answer
const POLL_HIDDEN_MS = 15000;
const RETRY_MAX_MS = 30000;
const NEWS_EVERY_MS = 5000; // a screen reader announces changes at most this often
const OF_LISTING = new Set(["type", "only_changed", "name"]); // the fields of the address by which the server filters
const MANY = 200; // with more flags than this, those outside the window are not laid out

// --- the listing

function show(listing, isSameProcess) {
  page.listing = listing;
  showHead(listing);
  showSources(listing.updater);
  showNotices(listing, press);
  const touched = showFlags(listing.flags, isSameProcess);
  showReads();
  showHistory(listing.history);
  filter();
  if (touched.length > 0) news.add(touched);
}

function showHead(listing) {
  setText(at("meta"), [
    `revision ${listing.revision}`, `process ${listing.process}`, plural(listing.flag_count, "flag"), listing.frozen ? "static flags are frozen" : "",
  ].filter(Boolean).join(" · "));
  setText(at("checksums"), `checksum ${listing.checksum} · static ${listing.checksum_static} · dynamic ${listing.checksum_dynamic}`);
}

function showFlags(flags, isSameProcess) {
  const gone = new Set(page.rows.keys());
  const touched = [];
  for (const flag of flags) {
    gone.delete(flag.name);
    let row = page.rows.get(flag.name);
    if (row === undefined) {
      row = new Row(flag.name);
      page.rows.set(flag.name, row);
    }
    if (row.show(flag, JSON.stringify(flag), isSameProcess)) touched.push(flag);
  }
  for (const name of gone) {
    page.rows.get(name).element.remove();
    page.rows.delete(name);
  }
  at("flags").classList.toggle("many", flags.length > MANY);
  arrange(at("flags"), filter);
  return touched;
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
    const fits = isFitting(row);
    const isShown = fits && !(row.group && view.closed.has(row.group.name));
    shownCount += fits;
    if (row.element.hidden === isShown) row.element.hidden = !isShown;
  }
  showGroups(isFitting);
  for (const toggle of document.querySelectorAll("[data-filter]")) {
    const name = toggle.dataset.filter;
    toggle.setAttribute("aria-pressed", String(page.filter.kind === name || page.filter[name] === true));
    setText(toggle.querySelector(".count"), String(counts[name]));
  }
  at("loading").hidden = page.rows.size > 0;
  if (page.rows.size === 0) setText(at("loading"), "There are no flags yet.");
  at("nothing").hidden = shownCount > 0 || page.rows.size === 0;
  if (isFiltered() || at("shown").textContent === "") setText(at("shown"), counted());
}

// A row that has the focus fits any filter, so a form does not disappear while someone fills it in.
function isFitting(row) {
  return row.fits(page.filter) || row.element.contains(document.activeElement);
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

// Change the order, the groups or the density of the flags, and write the choice to the address.
function changeView(changes) {
  Object.assign(view, changes);
  writeAddress();
  showView();
  arrange(at("flags"), filter);
  filter();
}

function showView() {
  at("sort").value = view.sort;
  at("group").value = view.group;
  at("dense").setAttribute("aria-pressed", String(view.dense));
  document.documentElement.classList.toggle("dense", view.dense);
  foldRules(view.dense);
}

// Open the flag that the address names, even if a filter hides it.
function openNamed() {
  const row = [...page.rows.values()].find((candidate) => `#${candidate.element.id}` === location.hash);
  if (row === undefined) return;
  if (row.group) view.closed.delete(row.group.name);
  filter();
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
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (event.target === at("search") || event.target.matches("button.name, .group-button"))) {
    const buttons = [...document.querySelectorAll(".flag:not([hidden]) button.name, .group:not([hidden]) .group-button")];
    const next = buttons.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1);
    (buttons[next] ?? (next < 0 ? at("search") : null))?.focus();
    event.preventDefault();
  }
}

// --- short announcements for screen readers

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

// --- polling

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
  const query = new URLSearchParams({ format: "json" });
  for (const [key, value] of new URLSearchParams(location.search)) if (OF_LISTING.has(key)) query.append(key, value);
  const tags = processes.tags();
  const headers = tags === "" ? {} : { "If-None-Match": tags };
  const answer = await fetch(`?${query}`, { headers, cache: "no-store", signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  const date = Date.parse(answer.headers.get("Date") ?? "");
  if (!Number.isNaN(date)) {
    const skew = date + 500 - Date.now(); // a Date header cuts off the milliseconds
    page.skew = Math.abs(skew) > 2000 ? skew : 0;
  }
  const tag = answer.headers.get("ETag");
  if (answer.status === 304) return answered(processes.unchanged(tag), false);
  if (!answer.ok) throw new Refused(answer.status, `The server answered with status ${answer.status}`);
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
  if (at("outage").dataset.what === what) return;
  at("outage").dataset.what = what;
  at("outage").replaceChildren(...(isWell ? [] : [notice("bad", what, " ", button("plain", "Try now", () => poll.soon()))]));
}

function start() {
  page.soon = () => poll.soon();
  at("search").addEventListener("input", search);
  at("clear").addEventListener("click", clearFilters);
  for (const toggle of document.querySelectorAll("[data-filter]")) {
    toggle.addEventListener("click", () => press(toggle.dataset.filter, toggle.getAttribute("aria-pressed") === "false"));
  }
  at("sort").addEventListener("change", (event) => changeView({ sort: event.target.value }));
  at("group").addEventListener("change", (event) => changeView({ group: event.target.value }));
  at("dense").addEventListener("click", () => changeView({ dense: !view.dense }));
  document.addEventListener("keydown", keys);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) poll.soon();
  });
  window.addEventListener("online", () => poll.soon());
  window.addEventListener("hashchange", openNamed);
  addReads();
  addHistory();
  addRules();
  readAddress();
  showView();
  setInterval(tick, 1000);
  poll.run();
}

start();
