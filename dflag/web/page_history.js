// The last changes, the newest first; changes of one revision are grouped.

import { at, chip, clock, flagLink, make, moment, page, plain, plural, setText } from "./page_base.js";
import { textChange } from "./page_diff.js";

const REVISIONS_SHOWN = 15;

const drawn = new Map(); // the changes of a revision as text: their element

export function showHistory(history) {
  at("history-section").hidden = false;
  const wanted = revisions(history).map((changes) => {
    const key = JSON.stringify(changes);
    return [key, drawn.get(key) ?? draw(changes)];
  });
  drawn.clear();
  for (const [key, element] of wanted) drawn.set(key, element);
  const place = at("history");
  if (place.children.length !== drawn.size || wanted.some(([, element], index) => place.children[index] !== element)) {
    const focused = document.activeElement;
    place.replaceChildren(...drawn.values());
    if (place.contains(focused)) focused.focus({ preventScroll: true });
  }
  at("no-history").hidden = history.length > 0;
  at("history-find").hidden = history.length === 0;
  filter();
}

function revisions(history) {
  const found = [];
  for (const change of history) {
    const last = found.at(-1);
    if (last !== undefined && last[0].revision === change.revision) last.push(change);
    else found.push([change]);
  }
  return found.reverse();
}

function draw(changes) {
  const { when, revision } = changes[0];
  const element = make(
    "li", "revision",
    make("div", "when", clock(when), moment(when), make("span", "number", `revision ${revision}`)),
    make("ol", "changes", ...changes.map(entry)),
  );
  element.lastChild.setAttribute("role", "list");
  return element;
}

function entry(change) {
  const element = make(
    "li", "entry",
    make("span", "flagname", flagLink(change.flag)),
    textChange(change),
    make("span", "why", chip(change.origin), ...(change.reason ? [" ", ...plain(change.reason)] : [])),
  );
  element.dataset.words = `${change.flag}\n${change.old}\n${change.new}\n${change.origin}\n${change.reason ?? ""}`.toLowerCase();
  return element;
}

function filter() {
  const words = at("history-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let changes = 0;
  let fitting = 0;
  for (const revision of at("history").children) {
    let shown = 0;
    for (const change of revision.lastChild.children) {
      change.hidden = !words.every((word) => change.dataset.words.includes(word));
      shown += !change.hidden;
      changes += 1;
    }
    revision.hidden = shown === 0;
    fitting += shown;
  }
  const isFiltered = words.length > 0;
  at("history").classList.toggle("filtered", isFiltered);
  const limit = page.listing?.history.length >= 100 ? ", as many as are kept" : "";
  setText(at("history-count"), changes === 0 ? "" : isFiltered ? `${fitting} of ${plural(changes, "change")}` : `${plural(changes, "change")}${limit}`);
  const more = at("more-history");
  more.hidden = isFiltered || drawn.size <= REVISIONS_SHOWN;
  if (more.getAttribute("aria-expanded") === "false") setText(more, `Show all ${drawn.size} revisions`);
}

export function addHistory() {
  at("history-filter").addEventListener("input", filter);
  at("more-history").addEventListener("click", (event) => {
    const open = at("history").classList.toggle("all");
    event.target.setAttribute("aria-expanded", String(open));
    setText(event.target, open ? "Show fewer" : `Show all ${drawn.size} revisions`);
  });
}
