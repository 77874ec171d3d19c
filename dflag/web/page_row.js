// One flag of the list.

import { badge, button, chip, clock, code, copyButton, cut, fill, full, make, moment, now, page, plain, plural, pretty, preview, unseen } from "./page_base.js";
import { difference, textChange } from "./page_diff.js";
import { isSwitch } from "./page_fields.js";
import { overrideOf, SettingForm } from "./page_setting.js";
import { audience, calledRule, nextChange, ruleBadge, ruleOf, share } from "./page_status.js";

const KEYED_SHOWN = 200; // nobody reads a longer list, and drawing it would be slow
const MARKED_MS = 4000; // how long a new value stays marked; page.css fades it in that time

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

const isForAll = ({ keys, share_percent: percent }) => keys === null && percent === null;

// The keys to which a rule gives a value.
function keysOf({ keys, key_count: count, share_percent: percent }, by, isSecret) {
  const drawn = percent === null ? [] : [`${percent} %, drawn by share`];
  if (isSecret) return ["Keys of a secret flag are not shown"];
  if (keys === null) return drawn.length > 0 ? drawn : ["any ", ...plain(by)];
  const names = keys.flatMap((key, index) => [index ? ", " : "", code(key)]);
  const rest = count > keys.length ? [` and ${(count - keys.length).toLocaleString("en")} more`] : [];
  return [...names, ...rest, ...drawn.map((text) => `: ${text}`)];
}

const reasonOf = (reason) => reason.replace(/ \(until [-0-9T:Z]+\)$/, ""); // the countdown shows the time
// One flag: a line of the list, and the details that open under it.
export class Row {
  constructor(name) {
    this.name = name;
    this.flag = null;
    this.text = "";
    this.open = false;
    this.blocks = null;
    this.form = null;
    this.group = null; // the group of the list that contains it
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

  // Show the current state of a flag; return whether its value changed. A switch to another process is no change.
  show(flag, text, isSameProcess = true) {
    const before = isSameProcess ? this.flag : null;
    if (text === this.text) {
      if (this.open) this.showBlocks(); // the history is not part of the flag, and may arrive later
      return false;
    }
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
    for (const [label, tone, fits] of BADGES) if (fits(flag)) badges.append(badge(label, tone));
    if (flag.owner !== null) badges.append(make("span", "kind owner", ...plain(flag.owner)));
    this.about.replaceChildren(badges, make("p", "help", ...plain(flag.description)));
    const look = isSwitch(flag.field.options) ? `now switch ${flag.current_value}` : "now";
    this.value.replaceChildren(unseen("Value: "), code(preview(flag.current_value, flag.is_json), look), this.comparison());
    this.from.replaceChildren(...this.provenance());
  }

  comparison() {
    if (this.flag.origin === "default") return "";
    if (!this.flag.is_changed) return make("span", "comparison", "same as the default");
    if (this.flag.is_secret || this.flag.is_json) return make("span", "comparison", "differs from the default");
    return make("span", "comparison", "default ", code(cut(preview(this.flag.default_value, true), 80)));
  }

  provenance() {
    const found = [unseen("From: "), chip(this.flag.origin)];
    const override = overrideOf(this.flag);
    const rule = this.flag.layers.find((layer) => layer.origin === this.flag.origin)?.rule;
    if (rule) found.push(make("span", "reason", ...plain(preview(calledRule(rule), true))));
    if (override?.reason) found.push(make("span", "reason", ...plain(preview(reasonOf(override.reason), true))));
    if (override?.expires_at) found.push(moment(override.expires_at, "left"));
    else if (this.flag.last_change) found.push(moment(this.flag.last_change.when));
    return found;
  }

  mark() {
    this.element.classList.remove("touched");
    void this.element.offsetWidth; // reading the width restarts the animation
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
    this.showBlocks();
    this.showForm();
  }

  showBlocks() {
    if (this.blocks === null) {
      const columns = [make("div", "column"), make("div", "column")];
      const left = [this.drawRejected, this.drawPending, this.drawDifference, this.drawLayers];
      const right = [this.drawFacts, this.drawKeyed, this.drawRule, this.drawChanges];
      this.blocks = [...left, ...right].map((draw, index) => {
        const element = make("div", "block");
        columns[index < left.length ? 0 : 1].append(element);
        return { element, draw, key: null };
      });
      this.more.append(this.copies(), ...columns);
    }
    for (const block of this.blocks) {
      const content = block.draw.call(this);
      if (content.key === block.key) continue;
      block.key = content.key;
      block.element.hidden = content.draw === null;
      fill(block.element, ...(content.draw === null ? [] : content.draw()));
    }
  }

  copies() {
    const copyable = [["name", () => this.name], ["link", () => new URL(`#${this.element.id}`, location.href).href]];
    if (!this.flag.is_secret) copyable.splice(1, 0, ["value", () => this.flag.current_value]);
    return make("p", "copies", ...copyable.map(([what, text]) => {
      const element = copyButton(`Copy ${what}`, text);
      element.lastChild.className = "";
      return element;
    }));
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

  // The blocks of the details. Each returns a key of the data that it shows, and a function that draws it, or null to
  // hide the block.

  drawRejected() {
    const { rejected, rejected_texts: texts, current_value: current } = this.flag;
    return {
      key: JSON.stringify([rejected, texts, current]),
      draw: rejected.length === 0 ? null : () => [
        make("h4", "bad", "Rejected. The last good value stays in effect"),
        make("ul", "", ...rejected.map((found, index) => make(
          "li", "",
          make("p", "", chip(found.where), found.key === this.name ? "" : " key ", found.key === this.name ? "" : code(found.key)),
          full(found.message, `${this.name} rejected ${index}`),
          texts[index] === null || found.key !== this.name ? "" : difference(current, texts[index]),
        ))),
      ],
    };
  }

  drawPending() {
    const { pending_value: pending, current_value: current, is_secret: secret } = this.flag;
    return {
      key: JSON.stringify([pending, current]),
      draw: pending === null ? null : () => [
        make("h4", "warn", "After a restart"),
        secret ? make("p", "note", "The value will change. It is secret and not shown.") : difference(current, pending),
      ],
    };
  }

  drawDifference() {
    const { is_changed: changed, default_value: before, current_value: current, is_secret: secret } = this.flag;
    return {
      key: JSON.stringify([changed, before, current]),
      draw: !changed || secret ? null : () => [make("h4", "", "Changed from the default"), difference(before, current)],
    };
  }

  drawLayers() {
    const { layers, origin, is_json: isJson, is_secret: secret } = this.flag;
    return {
      key: JSON.stringify([layers, origin]),
      draw: () => [make("h4", "", layers.length > 1 ? "Layers, the highest first" : "Value"), make("ol", "ladder", ...layers.map((layer, index) => {
        const item = make("li", index === 0 ? "winner" : "hidden-layer", make("p", "", chip(layer.origin), index === 0 && layers.length > 1 ? make("span", "note", "in effect") : ""));
        const text = isJson && !secret ? pretty(layer.text) : layer.text;
        item.append(make("div", "copied", full(text, `${this.name} layer ${layer.origin}`), secret ? "" : copyButton(`Copy the value of ${layer.origin}`, () => text)));
        if (layer.rule) item.append(make("p", "note", "by the ", ...plain(calledRule(layer.rule))));
        if (layer.reason) item.append(make("p", "note", ...plain(reasonOf(layer.reason))));
        if (layer.expires_at) item.append(make("p", "note", moment(layer.expires_at, "left"), " until ", clock(layer.expires_at)));
        return item;
      }))],
    };
  }

  drawRule() {
    const rule = ruleOf(this.flag);
    return {
      key: JSON.stringify(rule),
      draw: rule?.state === undefined ? null : () => {
        const facts = [["Rule", plain(rule.name)], ["State", [ruleBadge(rule)]], ["For", plain(audience(rule))]];
        const shared = share(rule);
        if (shared !== null) facts.push(["Current share", [shared]]);
        if (rule.next_change) facts.push(["Next change", nextChange(rule)]);
        return [make("h4", "", "The rule that sets its value"), make("dl", "", ...facts.map(([term, parts]) => make("div", "", make("dt", "", term), make("dd", "", ...parts))))];
      },
    };
  }

  drawKeyed() {
    const { by, keyed, is_json: isJson, is_secret: secret } = this.flag;
    return {
      key: JSON.stringify([by, keyed, isJson, secret]),
      draw: !keyed?.length ? null : () => [
        make("h4", "", "Values by ", ...plain(by), keyed.some((given) => given.adds) ? ", of all matching rules together" : ", of the first matching rule"),
        make("ol", "keyed", ...keyed.slice(0, KEYED_SHOWN).map((given, index) => make(
          "li", "",
          make("p", "", ...keysOf(given, by, secret)),
          full(isJson && !secret ? pretty(given.text) : given.text, `${this.name} keyed ${index}`),
          make("p", "note", "set by ", ...plain(given.rule), " of ", ...plain(given.source)),
        ))),
        keyed.length > KEYED_SHOWN ? make("p", "note", `and ${plural(keyed.length - KEYED_SHOWN, "more rule")}`) : "",
        secret || keyed.some(isForAll) ? "" : make("p", "note", "All other keys have the value of the flag."),
      ],
    };
  }

  drawFacts() {
    const flag = this.flag;
    const found = [
      ["Kind", `${flag.type}, ${flag.is_dynamic ? "dynamic" : "static"}${flag.is_secret ? ", secret" : ""}`],
      ["Help", flag.description],
      ["Range", flag.range.replace(/^of /, "")],
      ["Choices", flag.choices],
      ["Keyed by", flag.by],
      ["Owner", flag.owner],
      ["Deprecated", flag.deprecated],
      ["Expires", flag.expires && `${flag.expires}${isExpired(flag) ? " (in the past)" : ""}`],
      ["Restart", flag.pending_restart && "a restart would change its value"],
      ["Callbacks", flag.callback_errors > 0 && `${plural(flag.callback_errors, "call")} failed since the program started; see the log`],
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
    const changed = ({ old, new: now }) => (this.flag.is_json ? difference(pretty(old), pretty(now)) : textChange({ old, new: now }));
    return {
      key: JSON.stringify(entries),
      draw: entries.length === 0 ? null : () => [
        make("h4", "", "Last changes"),
        make("ul", "", ...entries.slice(0, 5).map((entry) => make(
          "li", "",
          changed(entry),
          make("p", "note", clock(entry.when), ", ", moment(entry.when), " by ", ...plain(entry.origin), entry.reason ? ": " : "", ...plain(reasonOf(entry.reason ?? ""))),
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
