// The button that has the reads of flags counted for a minute, and what came of it.

import { at, clockText, page, plain, Refused, REQUEST_TIMEOUT_MS } from "./page_base.js";

const url = () => page.listing.set_url.replace(/set$/, "reads");

async function ask(options) {
  const answer = await fetch(url(), { ...options, cache: "no-store", signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.error ?? `The server answered ${answer.status}.`);
  return said;
}

function start() {
  const headers = { "Content-Type": "application/json" };
  if (page.token) headers.Authorization = `Bearer ${page.token}`;
  return ask({ method: "POST", headers, body: "{}" });
}

function summary(counts) {
  const names = Object.keys(counts.reads);
  const unread = names.filter((name) => counts.reads[name] === 0);
  const read = `${names.length - unread.length} of ${names.length} flags were read`;
  if (counts.seconds_left > 0) return `Counting reads: ${read} so far, ${counts.seconds_left} s left.`;
  const since = `within a minute from ${clockText(counts.started_at)}`;
  return unread.length === 0 ? `${read} ${since}.` : `${read} ${since}. Not read: ${unread.join(", ")}.`;
}

export function addReads() {
  const button = at("count-reads");
  const say = (text) => at("reads").replaceChildren(...plain(text));
  const follow = async (counts) => {
    say(summary(counts));
    if (counts.seconds_left > 0) setTimeout(() => ask({}).then(follow, fail), 1000);
    else button.removeAttribute("aria-disabled");
  };
  const fail = (error) => {
    button.removeAttribute("aria-disabled");
    say(error.status === 401 ? "Set a flag first: its form asks for the token that this needs as well." : error instanceof Refused ? error.message : "The server cannot be reached.");
  };
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    start().then(follow, fail);
  });
}

export function showReads() {
  at("reads-section").hidden = page.listing.set_url === "";
}
