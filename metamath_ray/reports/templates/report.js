"use strict";
// Texts of the teacher reach the page through textContent alone: markup in them is shown, never read.
(() => {
  const PAGE = 20;
  const samples = JSON.parse(document.getElementById("samples-data").textContent);
  const form = document.getElementById("filters");
  const status = document.getElementById("status");
  const list = document.getElementById("sample-list");
  const more = document.getElementById("more");
  const labels = Object.fromEntries([...form.elements.verdict.options].map((o) => [o.value, o.textContent]));
  const haystacks = samples.map((s) =>
    [s.question, s.response, s.expected, s.extracted, s.seed_id, s.request_key].join("\n").toLowerCase());
  let matches = [];

  function node(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children); // strings become text nodes
    return made;
  }

  function pairs(sample) {
    const dl = node("dl", "answers");
    dl.append(node("dt", "", "Expected"), node("dd", "", sample.expected || "–"));
    dl.append(node("dt", "", "Extracted"), node("dd", "", sample.extracted || "–"));
    if (sample.failure) dl.append(node("dt", "", "Failure"), node("dd", "", sample.failure));
    return dl;
  }

  function card(sample) {
    const verdict = node("span", "", node("i", "swatch v-" + sample.verdict), labels[sample.verdict] || sample.verdict);
    const head = node("header", "", node("b", "", sample.type), verdict);
    if (sample.selected) head.append(node("span", "quiet", "in the dataset"));
    const ids = node("p", "ids", "seed ", node("code", "", sample.seed_id), " · request ", node("code", "", sample.request_key));
    const left = node("div", "", node("h3", "", "Question"), node("p", "text", sample.question), pairs(sample));
    const right = node("div", "", node("h3", "", "Response"), node("p", "text", sample.response || "(empty)"));
    const article = node("article", "sample", head, node("div", "pair", left, right), ids);
    article.tabIndex = -1;
    return node("li", "", article);
  }

  function showMore(focus) {
    const shown = list.children.length;
    list.append(...matches.slice(shown, shown + PAGE).map((i) => card(samples[i])));
    const now = list.children.length;
    status.textContent = matches.length
      ? `Showing ${now} of ${matches.length} that match, of ${samples.length} samples.`
      : "No sample matches. Widen the filters or the search.";
    more.hidden = now >= matches.length;
    if (focus && list.children[shown]) list.children[shown].firstChild.focus();
  }

  function filter() {
    const { type, verdict, selected, text } = form.elements;
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    matches = [...samples.keys()].filter((i) =>
      (!type.value || samples[i].type === type.value)
      && (!verdict.value || samples[i].verdict === verdict.value)
      && (!selected.value || samples[i].selected === (selected.value === "yes"))
      && words.every((word) => haystacks[i].includes(word)));
    list.replaceChildren();
    showMore(false);
  }

  for (const type of [...new Set(samples.map((s) => s.type))].sort()) {
    const option = node("option", "", type);
    option.value = type;
    form.elements.type.append(option);
  }
  let waiting = 0;
  form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => showMore(true));
  form.hidden = false;
  filter();
})();
