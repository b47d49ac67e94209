
// Lists of broken and fixed cases lead to the cases themselves.
if (browser) {
  const { data, cases, state, tools, update, open } = browser;
  const changes = new Map(data.changes.map((change) => [change.key, change]));
  const ids = new Map(cases.map((item) => [item.id, item]));
  const filter = (key) => {
    Object.assign(state, { text: "", tag: "", variant: "", errors: false, metric: "", below: "", sort: null, down: false });
    for (const field of tools.querySelectorAll("[data-key]")) {
      if (field.type === "checkbox") field.checked = false;
      else field.value = field.dataset.key === "change" ? key : "";
    }
    update("change", key);
  };
  const brief = (value) => (Number.isInteger(value) ? String(value) : number(value));
  const score = (item, v, m) => (v === null || m === null ? null : item.scores[v][m]);
  const entry = (item, { key, a, b, metric }) => {
    const [was, now] = [score(item, a, metric), score(item, b, metric)];
    const button = make("button", { class: "open", type: "button" },
      make("b", { class: "mono", text: item.id }),
      was === null && now === null ? null : make("span", { class: "scores", text: `${brief(was)} → ${brief(now)}` }),
      make("span", { class: "ask", text: item.question.slice(0, 300) }));
    button.addEventListener("click", () => {
      filter(key); // so that stepping stays among cases of this list
      open(item, button);
    });
    return button;
  };
  for (const list of document.querySelectorAll("ul[data-of]")) {
    const change = changes.get(list.dataset.of);
    for (const line of list.querySelectorAll("li[data-case]")) {
      const item = ids.get(line.dataset.case);
      if (change && item && change.cases.includes(item.rank)) line.replaceChildren(entry(item, change));
    }
  }
  for (const link of document.querySelectorAll("a[data-change]")) {
    if (changes.has(link.dataset.change)) link.addEventListener("click", () => filter(link.dataset.change));
  }
}
