// The sections above the flags: notices, sources and rules.

import { at, badge, button, clock, code, cut, due, fill, flagLink, make, moment, page, plain, plural, preview, setText } from "./page_base.js";

const RULES_SHOWN = 8;
const GIVEN_SHOWN = 20;
const MAX_RULES = 500; // nobody reads a longer list, and drawing it would be slow

const drawn = new Map(); // element: the data that it shows, as text

export function drawOnce(element, data, draw) {
  const key = JSON.stringify(data);
  if (drawn.get(element) === key) return;
  drawn.set(element, key);
  fill(element, ...draw());
}

export const notice = (tone, ...content) => make("p", `notice ${tone}`, ...content);

export function nameList(names, areFlags = false) {
  const shown = names.slice(0, 20).flatMap((name, index) => [index ? ", " : "", areFlags ? flagLink(name) : code(name)]);
  return names.length > 20 ? [...shown, ` and ${names.length - 20} more`] : shown;
}

export function showNotices(listing, press) {
  const rejected = listing.flags.filter((flag) => flag.rejected.length > 0).length;
  const failing = listing.updater?.sources.filter((source) => !source.healthy).map((source) => source.name) ?? [];
  const { pending_restart: pending, unknown } = listing;
  const part = listing.flag_count - listing.flags.length;
  drawOnce(at("notices"), [rejected, failing, pending, unknown, part], () => {
    const found = [];
    if (failing.length > 0) found.push(notice("bad", `${plural(failing.length, "source")} cannot be read: `, ...nameList(failing), ". The flags keep their last good values."));
    if (rejected > 0) {
      const see = button("plain", rejected === 1 ? "Show it" : "Show them", () => press("rejected", true));
      see.dataset.key = "rejected";
      found.push(notice("bad", rejected === 1 ? "1 flag has a refused value and keeps its last good one. " : `${rejected} flags have refused values and keep their last good ones. `, see));
    }
    if (pending.length > 0) found.push(notice("warn", "A restart would change ", ...nameList(pending, true), "."));
    if (unknown.length > 0) found.push(notice("warn", "The sources have keys that match no flag: ", ...nameList(unknown), "."));
    if (part > 0) {
      const all = make("a", "", "Show all");
      all.href = "?";
      found.push(notice("", `The filter in the address hides ${plural(part, "flag")}. `, all));
    }
    return found;
  });
}

export function showSources(updater) {
  at("sources-section").hidden = updater === null;
  at("rules-section").hidden = (updater?.rules.length ?? 0) === 0;
  if (updater === null) return;
  const failing = updater.sources.some((source) => !source.healthy);
  drawOnce(at("updater"), { ...updater, sources: failing, rules: null }, () => [
    `Updater ${updater.state} · ${plural(updater.updates, "update")}, ${plural(updater.errors, "error")} and ${plural(updater.warnings, "warning")} since `,
    clock(updater.counting_since), " · ",
    ...(updater.in_touch ? [failing ? "all sources were read in the last few minutes" : "all sources respond"] : updater.last_success ? ["all sources last read ", moment(updater.last_success)] : ["some sources have never been read"]),
  ]);
  drawOnce(at("sources"), updater.sources, () => updater.sources.map(sourceCard));
  showRules(updater.rules);
}

function sourceCard(source) {
  const worries = [source.not_live, source.healthy && source.degraded].filter(Boolean);
  const [tone, word] = !source.healthy ? ["bad", "failing"] : worries.length > 0 ? ["warn", "limited"] : ["good", "healthy"];
  const contact = source.in_touch ? ["responds"] : source.last_contact ? ["last contact ", moment(source.last_contact)] : ["no contact yet"];
  const element = make(
    "li", `source ${tone}`,
    make("h3", "", ...plain(source.name)),
    badge(word, tone),
    make(
      "p", "meta",
      source.watched === "not watched" ? "not watched" : `watched by ${source.watched}`, " · ", ...contact, " · ",
      source.reconnects > 0 ? `${plural(source.reconnects, "reconnect")} of this watch · ` : "",
      ...(source.checksum ? ["checksum ", code(source.checksum.slice(0, 12))] : ["nothing applied yet"]),
    ),
  );
  if (source.last_error) element.append(make("p", "error", ...plain(source.last_error)));
  for (const worry of worries) element.append(make("p", "worry", ...plain(worry)));
  return element;
}

// Fold the rules: only their heading with the counts remains. The dense view does this to make room for flags.
export function foldRules(isFolded) {
  at("rules-list").hidden = isFolded;
  at("fold-rules").setAttribute("aria-expanded", String(!isFolded));
  setText(at("fold-rules"), isFolded ? "Show" : "Hide");
}

export function addRules() {
  at("fold-rules").addEventListener("click", () => foldRules(!at("rules-list").hidden));
  at("more-rules").addEventListener("click", () => {
    showsAllRules = !showsAllRules;
    showRules(page.listing.updater.rules);
  });
}

// --- rules

const RULE_TONES = { refused: "bad", reverted: "bad", "in force": "good", done: "good", baking: "warn", waiting: "note" };
const RULE_WORDS = { done: "in force everywhere", elsewhere: "not for this process" };

// How texts refer to a rule. A rule without a name is already called "rule 3", by its place in the list.
export const calledRule = (name) => (/^rule \d+$/.test(name) ? name : `rule ${name}`);

export const ruleBadge = (rule) => badge(RULE_WORDS[rule.state] ?? rule.state, RULE_TONES[rule.state] ?? "");

export function ruleOf(flag) {
  const winner = flag.layers.find((layer) => layer.origin === flag.origin);
  const rules = page.listing.updater?.rules ?? [];
  return winner?.rule ? rules.find((rule) => rule.name === winner.rule && rule.source === winner.origin) ?? { name: winner.rule } : null;
}

// The flags that a rule sets, each with its value.
function settings(gives) {
  const shown = gives.slice(0, GIVEN_SHOWN).flatMap(({ flag, text }, index) => [index ? ", " : "", flagLink(flag), " = ", code(cut(preview(text, true), 80))]);
  return gives.length > GIVEN_SHOWN ? [...shown, ` and ${gives.length - GIVEN_SHOWN} more`] : shown;
}

let showsAllRules = false;

function showRules(rules) {
  const shown = rules.slice(0, showsAllRules ? MAX_RULES : RULES_SHOWN);
  drawOnce(at("rules"), shown, () => shown.map(ruleRow));
  const more = at("more-rules");
  more.hidden = rules.length <= RULES_SHOWN;
  more.setAttribute("aria-expanded", String(showsAllRules));
  setText(more, showsAllRules ? "Show fewer" : rules.length > MAX_RULES ? `Show the first ${MAX_RULES} of ${rules.length}` : `Show all ${rules.length}`);
  const count = (...states) => rules.filter((rule) => states.includes(rule.state)).length;
  const parts = [[count("in force", "baking", "done"), "in force"], [count("waiting"), "waiting"], [count("refused", "reverted"), "refused or reverted"]];
  drawOnce(at("rules-meta"), parts, () => [parts.filter(([number]) => number > 0).map(([number, word]) => `${number} ${word}`).join(" · ")]);
}

export function share(rule) {
  if (rule.share_percent === null || rule.share_percent === undefined) return null;
  const bar = make("progress", "share-bar");
  bar.max = 100;
  bar.value = rule.share_percent;
  bar.setAttribute("aria-label", "Current share");
  return make("span", "share", bar, make("span", "share-text", `${rule.share_percent} %`));
}

export const audience = (rule) => rule.audience || (rule.state === "refused" ? "" : "everybody");

export const nextChange = (rule) => (rule.next_change ? [due(rule.next_change), " at ", clock(rule.next_change)] : []);

function ruleRow(rule) {
  const cell = (label, ...content) => (content.length === 0 ? make("p", "cell none") : make("p", "cell", make("span", "label", label), ...content));
  const shared = share(rule);
  const element = make(
    "li", "rule",
    make("p", "rule-state", ruleBadge(rule)),
    make("div", "rule-name", make("h3", "", ...plain(rule.name)), make("p", "meta", ...plain(rule.source))),
    cell("For", ...plain(audience(rule)).filter(Boolean)),
    cell("Current share", ...(shared === null ? [] : [shared])),
    cell("Next change", ...nextChange(rule)),
    cell("Gives", ...settings(rule.gives ?? [])), // a process with an older dflag at the same address does not send it
  );
  if (rule.problem) element.append(make("p", "error", ...plain(rule.problem)));
  if (rule.needs.length > 0) element.append(make("p", "worry", "needs unknown facts: ", ...nameList(rule.needs)));
  return element;
}
