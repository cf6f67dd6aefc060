"use strict";
// A list of items with filters and a search. Texts of a model reach the page through textContent alone: markup in them
// is shown, never read.
const PAGE = 20;

function node(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children); // strings become text nodes
  return made;
}

function verdictOf(name, labels) {
  return node("span", "", node("i", "swatch v-" + name), labels[name] || name);
}

function addOptions(select, values, labels = {}) {
  for (const value of values) {
    const option = node("option", "", labels[value] || value);
    option.value = value;
    select.append(option);
  }
}

function distinct(items, of) {
  return [...new Set(items.map(of))].filter(Boolean).sort();
}

// `values` says by the name of each select what an item has there; `texts` what the search looks in.
function browse({ items, list, noun, values, texts, card }) {
  const form = document.getElementById("filters");
  const status = document.getElementById("status");
  const more = document.getElementById("more");
  const haystacks = items.map((item) => texts(item).join("\n").toLowerCase());
  let matches = [];

  function showMore(focus) {
    const shown = list.children.length;
    list.append(...matches.slice(shown, shown + PAGE).map((i) => node("li", "", card(items[i]))));
    const now = list.children.length;
    status.textContent = matches.length
      ? `Showing ${now} of ${matches.length} that match, of ${items.length} ${noun}s.`
      : items.length ? `No ${noun} matches. Widen the filters or the search.` : "There are none.";
    more.hidden = now >= matches.length;
    if (focus && list.children[shown]) list.children[shown].firstChild.focus();
  }

  function filter() {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    matches = [...items.keys()].filter((i) =>
      Object.entries(values).every(([name, of]) => !form.elements[name].value || of(items[i]) === form.elements[name].value)
      && words.every((word) => haystacks[i].includes(word)));
    list.replaceChildren();
    showMore(false);
  }

  let waiting = 0;
  form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => showMore(true));
  form.hidden = !items.length;
  filter();
}
