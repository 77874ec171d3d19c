// The button that starts counting the reads of flags for a minute, and the result.

import { at, clockText, page, plain, Refused, REQUEST_TIMEOUT_MS } from "./page_base.js";
import { processes } from "./page_process.js";

const OTHERS_MAX = 60; // how many answers of others in a row until the process that counts is considered gone

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

function summary(counts, counting) {
  const names = Object.keys(counts.reads);
  const unread = names.filter((name) => counts.reads[name] === 0);
  const read = `${names.length - unread.length} of ${names.length} flags were read`;
  const where = processes.several ? ` in ${processes.name(counting)}` : "";
  if (counts.seconds_left > 0) return `Counting reads${where}: ${read} so far, ${counts.seconds_left} s left.`;
  const since = `within a minute from ${clockText(counts.started_at)}${where}`;
  return unread.length === 0 ? `${read} ${since}.` : `${read} ${since}. Not read: ${unread.join(", ")}.`;
}

export function addReads() {
  const button = at("count-reads");
  const say = (text) => at("reads").replaceChildren(...plain(text));
  // Only one of the processes at this address counts; answers of the others say nothing about its result.
  const follow = (counts, counting = processes.of(counts), others = 0) => {
    const isOther = processes.of(counts).key !== counting.key;
    if (!isOther) say(summary(counts, counting));
    if (isOther ? others < OTHERS_MAX : counts.seconds_left > 0) {
      setTimeout(() => ask({}).then((next) => follow(next, counting, isOther ? others + 1 : 0)).catch(fail), 1000);
    } else {
      button.removeAttribute("aria-disabled");
      if (isOther) say(`Process ${counting.number} was counting and no longer answers.`);
    }
  };
  const fail = (error) => {
    button.removeAttribute("aria-disabled");
    say(error.status === 401 ? "Counting needs a token: set a flag first, and enter the token in its form." : error instanceof Refused ? error.message : "The server cannot be reached.");
  };
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    start().then((counts) => follow(counts)).catch(fail);
  });
}

export function showReads() {
  at("reads-section").hidden = page.listing.set_url === "";
}
