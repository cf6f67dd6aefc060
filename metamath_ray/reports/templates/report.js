(() => {
  const items = JSON.parse(document.getElementById("samples-data").textContent);
  const form = document.getElementById("filters");
  const labels = Object.fromEntries([...form.elements.verdict.options].map((o) => [o.value, o.textContent]));

  function pairs(sample) {
    const dl = node("dl", "answers");
    dl.append(node("dt", "", "Expected"), node("dd", "", sample.expected || "–"));
    dl.append(node("dt", "", "Extracted"), node("dd", "", sample.extracted || "–"));
    if (sample.failure) dl.append(node("dt", "", "Failure"), node("dd", "", sample.failure));
    return dl;
  }

  function card(sample) {
    const head = node("header", "", node("b", "", sample.type), verdictOf(sample.verdict, labels));
    if (sample.selected) head.append(node("span", "quiet", "in the dataset"));
    const ids = node("p", "ids", "seed ", node("code", "", sample.seed_id), " · request ", node("code", "", sample.request_key));
    const left = node("div", "", node("h3", "", "Question"), node("p", "text", sample.question), pairs(sample));
    const right = node("div", "", node("h3", "", "Response"), node("p", "text", sample.response || "(empty)"));
    const article = node("article", "sample", head, node("div", "pair", left, right), ids);
    article.tabIndex = -1;
    return article;
  }

  addOptions(form.elements.type, distinct(items, (sample) => sample.type));
  browse({
    items, card, noun: "sample", list: document.getElementById("sample-list"),
    values: {
      type: (sample) => sample.type,
      verdict: (sample) => sample.verdict,
      selected: (sample) => sample.selected ? "yes" : "no",
    },
    texts: (s) => [s.question, s.response, s.expected, s.extracted, s.seed_id, s.request_key],
  });
})();
