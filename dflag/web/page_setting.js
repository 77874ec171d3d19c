// The form that sets or drops the override of a flag. The user enters a value and a reason, then confirms the change.

import { button, clock, make, page, plain, plural, pretty, preview, Refused, REQUEST_TIMEOUT_MS, setText } from "./page_base.js";
import { difference } from "./page_diff.js";
import { choice, labelled, valueField } from "./page_fields.js";
import { processes } from "./page_process.js";

const TIME_LIMITS = [["10 minutes", 600], ["1 hour", 3600], ["8 hours", 28800], ["1 day", 86400], ["no limit", ""]];
const TIME_LIMIT_DEFAULT = "3600";
const CHECK_AFTER_MS = 350; // the pause in typing after which the server checks the value

export const overrideOf = (flag) => flag.layers.find((layer) => layer.origin === "override");

// The initial text of the field; JSON keeps the order in which its keys were written.
const draftOf = (flag) => (flag.is_secret ? "" : flag.field.draft ?? flag.current_value);

let headings = 0;

export class SettingForm {
  constructor(row) {
    this.row = row;
    this.source = null; // the text of the flag with which the field was filled
    this.prefilled = null; // the same text as the browser returns it, with its own line breaks
    this.asked = null; // the setting to confirm
    this.refusedToken = null; // the last token that the server refused
    this.checking = null; // aborts the server's check of the typed value
    const { flag } = row;
    this.field = valueField(flag);
    this.reason = make("input", "");
    this.reason.maxLength = 900;
    this.reason.autocomplete = "off";
    this.limit = choice(TIME_LIMITS, TIME_LIMIT_DEFAULT);
    this.token = make("input", "");
    this.token.type = "password";
    this.token.autocomplete = "off";
    this.tokenField = labelled("Token", this.token, "Kept only in the memory of this page, for all flags. Leave it empty if none is needed.");
    this.forget = button("plain", "Forget the token", () => forgetToken());
    this.verdict = make("p", "verdict");
    this.verdict.id = `verdict-${++headings}`;
    this.verdict.setAttribute("role", "status");
    this.field.input.setAttribute("aria-describedby", [this.field.input.getAttribute("aria-describedby"), this.verdict.id].filter(Boolean).join(" "));
    this.stale = make("p", "note warn");
    this.stale.hidden = true;
    this.hides = make("p", "note warn");
    this.scope = make("p", "scope");
    this.drop = button("secondary", "Drop override", () => this.review(null));
    this.result = make("p", "result");
    this.result.setAttribute("role", "alert");
    this.result.id = `result-${headings}`;
    this.editing = make(
      "div", "editing",
      this.field.element, this.verdict, this.stale, this.hides,
      make("div", "pair", labelled("Reason", this.reason), labelled("Time limit", this.limit)),
      this.tokenField,
      make("div", "buttons", make("button", "primary", "Review"), this.drop, this.forget),
    );
    this.reviewing = this.editing.querySelector("button.primary");
    this.change = make("div", "block");
    this.where = make("span", "where");
    this.confirm = make("button", "primary", "Set");
    this.confirming = make(
      "div", "confirming", this.change,
      make("div", "buttons", this.confirm, button("secondary", "Back", () => this.back()), this.where),
    );
    this.confirming.hidden = true;
    const heading = make("h4", "", "Override");
    heading.id = `heading-${headings}`;
    this.element = make("form", "setting", make("div", "setting-title", heading, this.scope), this.editing, this.confirming, this.result);
    this.element.setAttribute("aria-labelledby", heading.id);
    this.element.autocomplete = "off";
    this.element.noValidate = true; // the page shows its own messages and the server's, not the browser's
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.asked === null) this.review(this.field.read());
      else this.send();
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.asked !== null) this.back();
    });
    this.field.input.addEventListener("input", () => this.check());
  }

  show(flag) {
    const text = draftOf(flag);
    if (this.source !== text && this.asked === null && (this.prefilled === null || this.field.read() === this.prefilled)) this.prefill(text);
    this.stale.hidden = this.source === text;
    setText(this.stale, this.stale.hidden ? "" : `The value changed to ${preview(flag.current_value, true)} after you opened this form.`);
    this.drop.hidden = overrideOf(flag) === undefined && !processes.several; // another process may have one
    if (this.asked !== null) this.showChange();
    this.showToken();
    this.showScope();
    this.showHidden(flag);
  }

  // Say which values an override would hide.
  showHidden({ by, keyed }) {
    const rules = new Set((keyed ?? []).map(({ source, rule }) => JSON.stringify([source, rule])));
    const text = rules.size === 0 ? "" : `An override hides the values of every ${by} (${plural(rules.size, "rule")}).`;
    this.hides.hidden = text === "";
    this.hides.replaceChildren(...plain(text));
  }

  showScope() {
    setText(this.scope, processes.several
      ? "Several processes answer at this address. A change reaches only the process that answers."
      : `in process ${page.listing.process} only`);
    this.scope.classList.toggle("warn", processes.several);
    setText(this.where, processes.several ? "only in the process that answers" : `in process ${page.listing.process} only`);
  }

  prefill(text) {
    this.source = text;
    this.field.write(text);
    this.prefilled = this.field.read();
    this.showVerdict(null);
  }

  showToken() {
    this.tokenField.hidden = page.token !== null;
    this.forget.hidden = !page.token;
  }

  // --- checks while typing

  // Show what is wrong with the value: the page's own check at once, the server's check after a pause in typing.
  check() {
    clearTimeout(this.timer);
    this.checking?.abort();
    const fault = this.field.fault();
    if (fault !== null) return this.showVerdict("bad", fault.message);
    const token = page.token ?? this.token.value;
    const mayAsk = page.token !== null || (token !== "" && token !== this.refusedToken); // or each keystroke would be refused
    if (!mayAsk || this.field.read() === this.prefilled) return this.showVerdict(null);
    this.showVerdict("", "Checking");
    this.timer = setTimeout(() => this.ask(this.field.read(), token), CHECK_AFTER_MS);
  }

  async ask(value, token) {
    this.checking = new AbortController();
    const { signal } = this.checking;
    try {
      await setFlag({ name: this.row.name, value, dry_run: true }, token, signal);
      if (!signal.aborted) this.showVerdict("good", "The flag accepts this value");
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) this.refusedToken = token;
      if (error.status === 422) this.showVerdict("bad", error.message);
      else this.showVerdict(null);
    }
  }

  showVerdict(tone, text = "") {
    this.verdict.className = `verdict ${tone ?? ""}`;
    this.verdict.replaceChildren(...plain(text));
    this.field.input.setAttribute("aria-invalid", String(tone === "bad"));
  }

  // --- the confirmation

  // Have the server check the whole setting, and show what it would change.
  async review(value) {
    const wanted = { name: this.row.name, value, reason: this.reason.value };
    if (value !== null && this.limit.value !== "") wanted.ttl_seconds = Number(this.limit.value);
    await this.busily("Checking", async () => {
      const token = page.token ?? this.token.value;
      const answer = await setFlag({ ...wanted, dry_run: true }, token);
      this.keep(token);
      this.asked = { wanted, candidate: answer.candidate };
      this.editing.hidden = true;
      this.confirming.hidden = false;
      setText(this.confirm, value === null ? "Drop" : "Set");
      this.showChange();
      this.say("", "");
      this.confirm.focus();
    });
  }

  showChange() {
    const { flag } = this.row;
    const { wanted, candidate } = this.asked;
    const isDrop = wanted.value === null;
    const text = flag.is_json && !flag.is_secret ? pretty(candidate) : candidate;
    const isSame = text === flag.current_value && !flag.is_secret;
    const until = wanted.ttl_seconds === undefined ? [] : [" until ", clock(new Date(Date.now() + 1000 * wanted.ttl_seconds).toISOString())];
    const what = isDrop ? "Drop the override of " : "Set ";
    const key = JSON.stringify([flag.current_value, this.asked]);
    if (this.change.dataset.key === key) return;
    this.change.dataset.key = key;
    this.change.replaceChildren(
      make("p", "question", what, make("strong", "", ...plain(flag.name)), ...until, "?"),
      flag.is_secret ? make("p", "note", "The values of a secret are not shown.") : difference(flag.current_value, text),
      isSame ? make("p", "note", isDrop ? "The value stays the same." : "The value stays the same, and the override keeps it from following its source.") : "",
      wanted.reason ? make("p", "note", "Reason: ", ...plain(wanted.reason)) : "",
    );
  }

  back(focus = true) {
    this.asked = null;
    this.change.dataset.key = "";
    this.confirming.hidden = true;
    this.editing.hidden = false;
    if (focus) this.field.input.focus();
    this.show(this.row.flag);
  }

  async send() {
    const { wanted } = this.asked;
    await this.busily("Sending", async () => {
      const answer = await setFlag(wanted, page.token ?? "");
      this.back(false);
      this.accept(wanted.value, answer);
    });
  }

  accept(value, answer) {
    const { flag } = answer;
    const process = processes.of(answer);
    const done = value === null ? "Dropped" : "Set";
    const where = processes.several ? `${done} in ${processes.name(process)} only.` : `${done}.`;
    if (process === processes.shown) {
      this.reason.value = "";
      this.prefill(draftOf(flag));
      this.say("good", value === null ? `${where} The layer below applies again.` : where);
      this.row.show(flag, JSON.stringify(flag));
    } else {
      this.say("warn", `${where} This page shows ${processes.name(processes.shown)}.`);
    }
    this.reviewing.focus({ preventScroll: true });
    page.soon();
  }

  keep(token) {
    page.token = token;
    this.token.value = "";
    page.rows.forEach((row) => row.form?.showToken());
  }

  refuse(error) {
    const wasSent = this.asked !== null;
    if (wasSent) this.back(false);
    if (error.status === 401) {
      forgetToken();
      this.token.focus();
    } else if (error.status === 422) {
      this.field.input.setAttribute("aria-invalid", "true");
      this.field.input.focus();
    }
    const unreachable = `The server cannot be reached. ${wasSent ? "The flag may or may not have been set." : "Nothing was set."}`;
    this.say("bad", error instanceof Refused ? error.message : unreachable);
  }

  say(tone, text) {
    this.result.className = `result ${tone}`;
    this.result.replaceChildren(...plain(text));
  }

  async busily(word, action) {
    if (this.busy) return;
    this.checking?.abort();
    clearTimeout(this.timer);
    this.wait(true);
    this.say("", word);
    try {
      await action();
    } catch (error) {
      this.refuse(error);
    } finally {
      this.wait(false);
    }
  }

  wait(busy) {
    this.busy = busy;
    this.element.setAttribute("aria-busy", String(busy));
    for (const each of this.element.querySelectorAll("button.primary")) each.setAttribute("aria-disabled", String(busy));
  }
}

function forgetToken() {
  page.token = null;
  page.rows.forEach((row) => row.form?.showToken());
}

async function setFlag(wanted, token, signal = null) {
  const headers = { "Content-Type": "application/json" };
  if (token !== "") headers.Authorization = `Bearer ${token}`;
  let request;
  try {
    request = new Request(page.listing.set_url, { method: "POST", headers, body: JSON.stringify(wanted), cache: "no-store" });
  } catch {
    throw new Refused(401, "A token may contain only visible ASCII characters.");
  }
  const answer = await fetch(request, { signal: signal ?? AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.error ?? `The server answered ${answer.status}.`);
  if (!said.flag) throw new Refused(answer.status, "The answer is not from dflag. A sign-in page or a proxy may have sent it.");
  return said;
}
