"use strict";
// Texts of the model reach the page through textContent alone: markup in them is shown, never read.
(() => {
  const PAGE = 20;
  const { items, templates, labels, sides } = JSON.parse(document.getElementById("items-data").textContent);
  const form = document.getElementById("filters");
  const status = document.getElementById("status");
  const list = document.getElementById("item-list");
  const more = document.getElementById("more");
  const last = sides === 2 ? "_b" : ""; // the side whose verdicts the filters mean
  const haystacks = items.map((item) =>
    [item.question, item.completion, item.completion_b, item.expected, item.extracted_fixed, item.problem_id]
      .join("\n").toLowerCase());
  const values = {
    benchmark: (item) => item.benchmark,
    verdict_fixed: (item) => item["verdict_fixed" + last],
    verdict_paper: (item) => item["verdict_paper" + last],
    subject: (item) => item.subject || item.kind,
    level: (item) => item.level,
  };
  let matches = [];

  function node(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children); // strings become text nodes
    return made;
  }

  function verdict(name) {
    return node("span", "", node("i", "swatch v-" + name), labels[name] || name);
  }

  function graded(item, side) {
    const grid = node("div", "graded");
    for (const rules of ["fixed", "paper"]) {
      grid.append(node("span", "", rules), verdict(item["verdict_" + rules + side]),
        node("span", "", item["extracted_" + rules + side] || "–"));
    }
    return grid;
  }

  function completion(item, side, title) {
    const cut = item["finish_reason" + side] === "length" ? " (cut at the token limit)" : "";
    return node("div", "", node("h3", "", title + cut), node("p", "text", item["completion" + side] || "(empty)"), graded(item, side));
  }

  function card(item) {
    const head = node("header", "", node("b", "", item.benchmark), node("code", "", item.problem_id));
    for (const text of [item.subject, item.level, item.kind]) if (text) head.append(node("span", "quiet", text));
    const [before, after] = templates[item.template];
    const prompt = node("details", "", node("summary", "", "Whole prompt"), node("p", "text", before + item.question + after));
    const expected = node("dl", "answers", node("dt", "", "Expected"), node("dd", "", item.expected));
    const question = node("div", "", node("h3", "", "Question"), node("p", "text", item.question), expected, prompt);
    const parts = sides === 2
      ? [completion(item, "", "Completion of A"), completion(item, "_b", "Completion of B")]
      : [completion(item, "", "Completion")];
    const article = sides === 2
      ? node("article", "sample", head, question, node("div", "pair", ...parts))
      : node("article", "sample", head, node("div", "pair", question, ...parts));
    article.tabIndex = -1;
    return node("li", "", article);
  }

  function showMore(focus) {
    const shown = list.children.length;
    list.append(...matches.slice(shown, shown + PAGE).map((i) => card(items[i])));
    const now = list.children.length;
    status.textContent = matches.length
      ? `Showing ${now} of ${matches.length} that match, of ${items.length} items.`
      : items.length ? "No item matches. Widen the filters or the search." : "There are none.";
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

  for (const [name, of] of Object.entries(values)) {
    const select = form.elements[name];
    const found = [...new Set(items.map(of))].filter(Boolean).sort();
    for (const value of found) {
      const option = node("option", "", name.startsWith("verdict") ? labels[value] || value : value);
      option.value = value;
      select.append(option);
    }
    select.parentElement.hidden = found.length < 2;
  }
  let waiting = 0;
  form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => showMore(true));
  form.hidden = !items.length;
  filter();
})();
