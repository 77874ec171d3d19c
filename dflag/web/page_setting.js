// The form that sets the override of a flag, and drops it.

import { button, make, page, plain, preview, Refused, REQUEST_TIMEOUT_MS, setText } from "./page_base.js";
import { processes } from "./page_process.js";

const TIME_LIMITS = [["10 minutes", 600], ["1 hour", 3600], ["8 hours", 28800], ["1 day", 86400], ["no limit", ""]];
const TIME_LIMIT_DEFAULT = "3600";

export const overrideOf = (flag) => flag.layers.find((layer) => layer.origin === "override");

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

export class SettingForm {
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
    this.tokenField = field("Token", this.token, "Kept only in the memory of this page, for all flags. Leave it empty if none is needed.");
    this.forget = button("plain", "Forget the token", () => forgetToken());
    this.stale = make("p", "note warn");
    this.stale.hidden = true;
    this.scope = make("p", "note warn", "Several processes answer at this address. A setting reaches only the one that answers it.");
    this.submit = make("button", "primary", "Set");
    this.drop = button("secondary", "Drop override", () => this.send(null));
    this.result = make("p", "result");
    this.result.setAttribute("role", "alert");
    this.result.id = `result-${++fields}`;
    const hint = { bytes: "base64" }[flag.type] ?? (flag.is_secret ? "The current value is not shown" : [flag.range.replace(/^of /, ""), flag.choices].filter(Boolean).join("; "));
    const heading = make("h4", "", "Set");
    heading.id = `heading-${++fields}`;
    this.element = make(
      "form", "setting", heading,
      field("Value", this.value, hint), this.stale,
      make("div", "pair", field("Reason", this.reason), field("Time limit", this.limit)),
      this.tokenField, this.scope,
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
    setText(this.stale, this.stale.hidden ? "" : `The value has become ${preview(text, true)} since you opened this form.`);
    this.drop.hidden = overrideOf(flag) === undefined && !processes.several; // another process may have one
    this.showToken();
    this.showScope();
  }

  showScope() {
    this.scope.hidden = !processes.several;
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
      this.accept(token, value, answer);
    } catch (error) {
      this.refuse(error);
    } finally {
      this.wait(false);
    }
  }

  accept(token, value, answer) {
    const { flag } = answer;
    const process = processes.of(answer);
    const isShown = process === processes.shown;
    page.token = token;
    this.token.value = "";
    this.value.setAttribute("aria-invalid", "false");
    const done = value === null ? "Dropped" : "Set";
    const where = processes.several ? `${done} in ${processes.name(process)} only.` : `${done}.`;
    if (isShown) {
      this.reason.value = "";
      this.prefill(flag.is_secret ? "" : flag.current_value);
      this.say("good", value === null ? `${where} The layer below applies again.` : where);
      if (document.activeElement === this.drop) this.submit.focus(); // the button is about to go
      this.row.show(flag, JSON.stringify(flag));
    } else {
      this.say("warn", `${where} This page shows ${processes.name(processes.shown)}.`);
    }
    page.rows.forEach((row) => row.form?.showToken());
    page.soon();
  }

  refuse(error) {
    this.value.setAttribute("aria-invalid", String(error.status === 422));
    if (error.status === 401) {
      forgetToken();
      this.token.focus();
    } else if (error.status === 422) {
      this.value.focus();
    }
    const said = error instanceof Refused ? error.message : "The server cannot be reached. Whether the flag was set is not known.";
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
    throw new Refused(401, "A token may contain only visible ASCII characters.");
  }
  const answer = await fetch(request, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.error ?? `The server answered ${answer.status}.`);
  if (!said.flag) throw new Refused(answer.status, "The answer is not from dflag. A sign-in page or a proxy may have sent it.");
  return said;
}
