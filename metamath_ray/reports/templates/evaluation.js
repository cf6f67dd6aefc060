(() => {
  const { items, templates, labels, sides } = JSON.parse(document.getElementById("items-data").textContent);
  const form = document.getElementById("filters");
  const last = sides === 2 ? "_b" : ""; // the side whose verdicts the filters mean
  const values = {
    benchmark: (item) => item.benchmark,
    verdict_fixed: (item) => item["verdict_fixed" + last],
    verdict_paper: (item) => item["verdict_paper" + last],
    subject: (item) => item.subject || item.kind,
    level: (item) => item.level,
  };

  function graded(item, side) {
    const grid = node("div", "graded");
    for (const rules of ["fixed", "paper"]) {
      grid.append(node("span", "", rules), verdictOf(item["verdict_" + rules + side], labels),
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
    return article;
  }

  for (const [name, of] of Object.entries(values)) {
    const select = form.elements[name];
    const found = distinct(items, of);
    addOptions(select, found, name.startsWith("verdict") ? labels : {});
    select.parentElement.hidden = found.length < 2;
  }
  browse({
    items, values, card, noun: "item", list: document.getElementById("item-list"),
    texts: (item) =>
      [item.question, item.completion, item.completion_b, item.expected, item.extracted_fixed, item.problem_id],
  });
})();
