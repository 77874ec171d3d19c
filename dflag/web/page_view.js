// The order, the groups and the density of the flags. The choice is kept only in the address, so a link shows the same
// view and nothing is stored.

import { make, page, plural, setText } from "./page_base.js";

export const view = {
  sort: "name",
  group: "",
  dense: false,
  closed: new Set(), // names of the groups that are folded
};

const REST = { prefix: "Other flags", owner: "No owner" };

const byName = (one, other) => (one.name < other.name ? -1 : one.name > other.name ? 1 : 0);
const byText = (text) => (one, other) => text(one).localeCompare(text(other)) || byName(one, other);
const changedAt = (flag) => flag.last_change?.when ?? "";
const urgency = ({ rejected, callback_errors: failed, pending_restart: pending, origin, is_changed: changed }) => (
  rejected.length > 0 ? 0 : failed > 0 ? 1 : pending ? 2 : origin === "override" ? 3 : changed ? 4 : 5
);

const ORDERS = {
  "name": byName,
  "-name": (one, other) => byName(other, one),
  "changed": (one, other) => (changedAt(one) < changedAt(other) ? 1 : changedAt(one) > changedAt(other) ? -1 : byName(one, other)),
  "attention": (one, other) => urgency(one) - urgency(other) || byName(one, other),
  "origin": byText((flag) => flag.origin),
  "owner": byText((flag) => flag.owner ?? "\uffff"),
  "kind": byText((flag) => flag.type),
};

// The part of a name before its first dot or slash; without one, before its first underscore or dash.
function prefixOf(name) {
  const end = name.search(/[./]/);
  const cut = end > 0 ? end : name.search(/[_-]/);
  return cut > 0 ? name.slice(0, cut) : name;
}

function named(flags) {
  const groups = new Map();
  for (const flag of flags) {
    const name = view.group === "owner" ? flag.owner : prefixOf(flag.name);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(flag);
  }
  const rest = [];
  for (const [name, members] of groups) {
    if (name !== null && (view.group === "owner" || members.length > 1)) continue;
    rest.push(...members);
    groups.delete(name);
  }
  const sorted = [...groups].sort(([one], [other]) => one.localeCompare(other));
  return rest.length > 0 ? [...sorted, [REST[view.group], rest]] : sorted;
}

// A heading in the list, which folds the flags below it.
class Group {
  constructor(name, onToggle) {
    this.name = name;
    this.label = make("span", "group-name", name);
    this.count = make("span", "size");
    this.button = make("button", "group-button", this.label, this.count);
    this.button.type = "button";
    this.button.addEventListener("click", () => {
      if (!view.closed.delete(name)) view.closed.add(name);
      onToggle();
    });
    this.element = make("li", "group", this.button);
    this.members = [];
  }

  // Show how many flags of the group fit the filters, and hide the group if none does.
  show(fitting) {
    const refused = this.members.filter((row) => row.flag.rejected.length > 0).length;
    const changed = this.members.filter((row) => row.flag.is_changed).length;
    const parts = [fitting < this.members.length ? `${fitting} of ${plural(this.members.length, "flag")}` : plural(fitting, "flag")];
    if (changed > 0) parts.push(`${changed} changed`);
    if (refused > 0) parts.push(`${refused} rejected`);
    setText(this.count, parts.join(" · "));
    this.button.setAttribute("aria-expanded", String(!view.closed.has(this.name)));
    this.element.hidden = fitting === 0;
  }
}

const groups = new Map();

// Put the rows into the list in their order, below their groups; move only those that are out of place.
export function arrange(list, onToggle) {
  const rows = [...page.rows.values()];
  const order = ORDERS[view.sort];
  const flags = rows.map((row) => row.flag).sort(order);
  const wanted = [];
  const used = new Set();
  for (const row of rows) row.group = null;
  const shown = view.group === "" ? [[null, flags]] : named(flags);
  for (const [name, members] of shown) {
    const ofGroup = members.map((flag) => page.rows.get(flag.name));
    if (name !== null) {
      if (!groups.has(name)) groups.set(name, new Group(name, onToggle));
      const group = groups.get(name);
      group.members = ofGroup;
      for (const row of ofGroup) row.group = group;
      used.add(name);
      wanted.push(group.element);
    }
    for (const row of ofGroup) wanted.push(row.element);
  }
  for (const [name, group] of groups) {
    if (used.has(name)) continue;
    group.element.remove();
    groups.delete(name);
  }
  place(list, wanted);
}

function place(list, wanted) {
  if (list.children.length === 0) {
    list.append(...wanted);
    return;
  }
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  let next = list.firstElementChild;
  for (const element of wanted) {
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
  if (focused !== null && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

export function showGroups(fits) {
  for (const group of groups.values()) group.show(group.members.filter(fits).length);
}

// --- the address

export function readAddress() {
  const fields = new URLSearchParams(location.search);
  view.sort = fields.get("sort") in ORDERS ? fields.get("sort") : "name";
  view.group = fields.get("group") in REST ? fields.get("group") : "";
  view.dense = fields.get("view") === "dense";
}

export function writeAddress() {
  const fields = new URLSearchParams(location.search);
  const put = (key, value) => (value ? fields.set(key, value) : fields.delete(key));
  put("sort", view.sort === "name" ? "" : view.sort);
  put("group", view.group);
  put("view", view.dense ? "dense" : "");
  const query = fields.size > 0 ? `?${fields}` : location.pathname;
  history.replaceState(null, "", query + location.hash);
}
