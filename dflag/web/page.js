"use strict";

// Values go into the page as text alone, so that none can become markup.
function cell(text, name) {
  const element = document.createElement("td");
  element.textContent = text;
  element.className = name;
  return element;
}

async function load() {
  const query = new URLSearchParams(location.search);
  query.set("format", "json");
  const answer = await fetch("?" + query);
  const listing = await answer.json();
  document.getElementById("state").textContent = `Revision ${listing.revision}, ${listing.flag_count} flags`;
  const rows = listing.flags.map((flag) => {
    const row = document.createElement("tr");
    row.append(
      cell(flag.name, "name"),
      cell(flag.current_value, "value"),
      cell(flag.default_value, "value"),
      cell(flag.origin, "origin"),
      cell(flag.description, "help"),
    );
    return row;
  });
  document.getElementById("flags").replaceChildren(...rows);
}

load().catch((error) => {
  document.getElementById("state").textContent = String(error);
});
