const browser = (() => {
  const section = document.getElementById("cases");
  if (!section) return null; // a comparison of scores has no cases to read
  const data = JSON.parse(document.getElementById("data").textContent);
  const { metrics, variants, cases } = data;
  const CHUNK = 100;

  // What each case comes to: by variant, repeats averaged
  const leading = Math.max(0, metrics.findIndex((metric) => metric.name === data.leading));
  cases.forEach((item, rank) => {
    item.rank = rank;
    item.by = variants.map((_, v) => item.results.filter((r) => r.variant === v).sort((a, b) => a.repeat - b.repeat));
    item.scores = item.by.map((repeats) =>
      metrics.map((_, m) => mean(repeats.map((r) => (r.scores[m] ? r.scores[m][0] : null)).filter((x) => x !== null))));
    item.time = item.by.map((repeats) => mean(repeats.map((r) => r.latency).filter((x) => x !== null)));
    item.failed = item.by.map((repeats) => repeats.some((r) => r.error));
    const seen = item.scores.map((row) => row[leading]).filter((x) => x !== null && x !== undefined);
    item.gap = seen.length > 1 ? Math.max(...seen) - Math.min(...seen) : null;
    item.haystack = [item.id, item.question, item.expected, ...item.tags, ...item.results.map((r) => r.text)]
      .join("\n").toLowerCase();
  });
  const timed = cases.some((item) => item.time.some((x) => x !== null));
  const observed = metrics.map((metric, m) => {
    const values = cases.flatMap((item) => item.scores.map((row) => row[m])).filter((x) => x !== null);
    const low = metric.low ?? values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = metric.high ?? values.reduce((a, b) => Math.max(a, b), -Infinity);
    return [low, high];
  });
  const tint = (value, m) => {
    const [low, high] = observed[m];
    if (metrics[m].direction === "none" || !(high > low)) return "";
    let share = Math.min(Math.max((value - low) / (high - low), 0), 1);
    if (metrics[m].direction === "lower") share = 1 - share;
    const strength = Math.abs(share - 0.5) * 0.44;
    if (strength < 0.02) return "";
    return `rgb(var(--heat-${share < 0.5 ? "low" : "high"}) / ${strength.toFixed(3)})`;
  };

  // Filters and order
  const state = { text: "", tag: "", variant: "", change: "", errors: false, metric: "", below: "", sort: null, down: false, shown: CHUNK };
  const chosen = () => (state.variant === "" ? variants.map((_, i) => i) : [Number(state.variant)]);
  const changed = new Map(data.changes.map((change) => [change.key, new Map(change.cases.map((rank, i) => [rank, i]))]));
  const passes = (item) => {
    if (state.change && !changed.get(state.change).has(item.rank)) return false;
    if (state.text && !state.text.split(/\s+/).every((word) => item.haystack.includes(word))) return false;
    if (state.tag && !item.tags.includes(state.tag)) return false;
    const some = chosen().filter((v) => item.by[v].length);
    if (!some.length) return false;
    if (state.errors && !some.some((v) => item.failed[v])) return false;
    if (state.metric !== "" && state.below !== "" && Number.isFinite(Number(state.below))) {
      return some.some((v) => item.scores[v][state.metric] !== null && item.scores[v][state.metric] < Number(state.below));
    }
    return true;
  };
  const sortValue = (item) => {
    if (state.sort === "id" || state.sort === "gap") return item[state.sort];
    const [m, v] = state.sort.split(":");
    return m === "time" ? item.time[v] : item.scores[v][m];
  };
  const compare = (a, b) => {
    if (state.sort === null) {
      const order = changed.get(state.change); // worst or best first
      return order ? order.get(a.rank) - order.get(b.rank) : a.rank - b.rank;
    }
    const [x, y] = [sortValue(a), sortValue(b)];
    if (x === null || y === null) return (x === null) - (y === null) || a.rank - b.rank; // missing always last
    const order = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
    return (state.down ? -order : order) || a.rank - b.rank;
  };
  let visible = [];
  // The page's parts
  section.querySelector("noscript")?.remove();
  const status = make("p", { class: "status", role: "status", "aria-live": "polite" });
  const table = make("table", { class: "cases" });
  const more = make("button", { class: "more", type: "button", on: { click: () => { state.shown += CHUNK; draw(); } } });
  const option = (value, text) => make("option", { value, text });
  const select = (label, key, options, extra = {}, change = (value) => update(key, value)) =>
    make("label", extra, label, make("select", { "data-key": key, on: { change: (e) => change(e.target.value) } },
      ...options.map(([value, text]) => option(value, text))));
  // The select for narrow screens names a column and a direction in one value.
  const sortAsNamed = (value) => {
    [state.sort, state.down] = [value === "" ? null : value.replace(/:down$/, ""), value.endsWith(":down")];
    draw();
  };
  const update = (key, value) => {
    Object.assign(state, { [key]: value, shown: CHUNK });
    draw();
  };
  const sortOptions = () => [
    ["", "Most telling first"], ["id", "Case id"],
    ...(variants.length > 1 && metrics.length ? [["gap:down", `Gap in ${metrics[leading].name}`]] : []),
    ...metrics.flatMap((metric, m) => variants.flatMap((variant, v) => {
      const name = variants.length > 1 ? `${metric.name}, ${variant.name}` : metric.name;
      return [[`${m}:${v}`, `${name} ↑`], [`${m}:${v}:down`, `${name} ↓`]];
    })),
    ...(timed ? variants.map((variant, v) => [`time:${v}:down`, variants.length > 1 ? `Slowest, ${variant.name}` : "Slowest"]) : []),
  ];
  const tags = [...new Set(cases.flatMap((item) => item.tags))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const tools = make("form", { class: "tools", role: "search", on: { submit: (e) => e.preventDefault() } },
    make("label", { class: "grow" }, "Search", make("input", {
      type: "search", placeholder: "Question, expected, output or id", "data-key": "text",
      on: { input: (e) => update("text", e.target.value.trim().toLowerCase()) },
    })),
    data.changes.length ? select("Changed", "change",
      [["", "All cases"], ...data.changes.map((change) => [change.key, change.label])]) : null,
    tags.length ? select("Tag", "tag", [["", "All tags"], ...tags.map((tag) => [tag, tag])]) : null,
    variants.length > 1
      ? select("Variant", "variant", [["", "All variants"], ...variants.map((variant, i) => [String(i), variant.name])]) : null,
    metrics.length ? make("label", {}, "Score below", make("span", { class: "pair" },
      make("select", { "data-key": "metric", "aria-label": "Metric", on: { change: (e) => update("metric", e.target.value) } },
        option("", "Any score"), ...metrics.map((metric, m) => option(String(m), metric.name))),
      make("input", { type: "number", step: "any", placeholder: "0.5", "data-key": "below", "aria-label": "Threshold",
        on: { input: (e) => update("below", e.target.value) } }))) : null,
    select("Sort", "sort", sortOptions(), { class: "only-narrow" }, sortAsNamed),
    make("label", { class: "check" }, make("input", {
      type: "checkbox", "data-key": "errors", on: { change: (e) => update("errors", e.target.checked) },
    }), "Only errors"),
  );
  const sortBy = (key) => {
    if (state.sort === key) state.down = !state.down;
    else [state.sort, state.down] = [key, key === "gap"];
    draw();
    table.querySelector(`[data-sort="${key}"]`)?.focus();
  };
  const heading = (key, label, extra = {}, lead = null) => {
    const active = state.sort === key;
    return make("th", { scope: "col", "aria-sort": active ? (state.down ? "descending" : "ascending") : null, ...extra },
      make("button", { type: "button", "data-sort": key, on: { click: () => sortBy(key) } },
        lead, label, make("span", { "aria-hidden": "true", text: active ? (state.down ? "↓" : "↑") : "" })));
  };
  const head = () => {
    const shown = chosen();
    const grouped = shown.length > 1 && metrics.length > 0;
    const first = make("tr", {}, heading("id", "Case", grouped ? { rowspan: 2 } : {}));
    const second = grouped ? make("tr") : null;
    for (const [m, metric] of metrics.entries()) {
      if (!grouped) first.append(...shown.map((v) => heading(`${m}:${v}`, metric.name)));
      else {
        first.append(make("th", { scope: "colgroup", colspan: shown.length, text: metric.name }));
        second.append(...shown.map((v) => heading(`${m}:${v}`, variants[v].name, {}, swatch(v))));
      }
    }
    if (!metrics.length) first.append(...shown.map((v) => make("th", { scope: "col", text: variants[v].name })));
    if (grouped) first.append(heading("gap", "Gap", { rowspan: 2, title: `Between variants, in ${metrics[leading].name}` }));
    if (timed && grouped) {
      first.append(make("th", { scope: "colgroup", colspan: shown.length, text: "Time" }));
      second.append(...shown.map((v) => heading(`time:${v}`, variants[v].name, {}, swatch(v))));
    } else if (timed && shown.length === 1) first.append(heading(`time:${shown[0]}`, "Time"));
    return make("thead", {}, first, second);
  };
  const scoreCell = (item, m, v) => {
    const name = chosen().length > 1 ? `${metrics[m].name} · ${variants[v].name}` : metrics[m].name;
    const cell = make("td", { "data-label": name });
    const value = item.scores[v][m];
    if (value !== null) {
      const figure = make("span", { class: "cell", text: number(value) });
      figure.style.backgroundColor = tint(value, m);
      cell.append(figure);
    } else if (item.failed[v]) cell.append(make("span", { class: "cell error", text: "error" }));
    else {
      const why = item.by[v].map((r) => (r.scores[m] ? r.scores[m][1] : "")).find(Boolean);
      cell.append(make("span", { class: "cell missing", text: MISSING, title: why || "no score" }));
    }
    return cell;
  };
  const timeCell = (item, v) => make("td", { "data-label": chosen().length > 1 ? `Time · ${variants[v].name}` : "Time" },
    make("span", { class: "cell time", text: item.time[v] === null ? MISSING : seconds(item.time[v]) }));
  const row = (item) => {
    const shown = chosen();
    const cells = metrics.flatMap((_, m) => shown.map((v) => scoreCell(item, m, v)));
    if (!metrics.length) cells.push(...shown.map((v) => make("td", { "data-label": variants[v].name, text: item.failed[v] ? "error" : "ok" })));
    if (shown.length > 1 && metrics.length) cells.push(make("td", { "data-label": "Gap" }, make("span", { class: "cell", text: number(item.gap) })));
    if (timed && (metrics.length || shown.length === 1)) cells.push(...shown.map((v) => timeCell(item, v)));
    return make("tr", { on: { click: () => open(item) } },
      make("td", { class: "case" },
        make("button", { class: "open", type: "button", "data-id": item.id },
          make("b", { class: "mono", text: item.id }), ...item.tags.slice(0, 6).map((tag) => make("span", { class: "tag", text: tag })),
          make("span", { class: "ask", text: item.question.slice(0, 400) }))),
      ...cells);
  };
  const draw = () => {
    visible = cases.filter(passes).sort(compare);
    const some = visible.slice(0, state.shown);
    table.replaceChildren(head(), make("tbody", {}, ...some.map(row)));
    status.textContent = visible.length === cases.length
      ? `${cases.length.toLocaleString("en")} ${cases.length === 1 ? "case" : "cases"}`
      : `${visible.length.toLocaleString("en")} of ${cases.length.toLocaleString("en")} cases match`;
    if (state.sort === null) status.textContent += state.change ? ", biggest change first" : ", most telling first";
    more.hidden = some.length >= visible.length;
    more.textContent = `Show ${Math.min(CHUNK, visible.length - some.length)} more`;
  };

  // Reading one case
  const title = make("h2", { id: "case-title" });
  const place = make("span", { class: "place" });
  const reader = make("div", { class: "reader", tabindex: "0" });
  const step = (label, text, by) => make("button", { type: "button", "aria-label": label, text, on: { click: () => move(by) } });
  const [back, forth] = [step("Previous case", "←", -1), step("Next case", "→", 1)];
  const dialog = make("dialog", { "aria-labelledby": "case-title" },
    make("div", { class: "bar-top" }, title, place, back, forth,
      make("button", { type: "button", text: "Close", on: { click: () => dialog.close() } })), reader);
  let current = 0;
  const block = (name, ...children) => make("div", { class: "block" }, make("h4", { text: name }), ...children);
  const long = (text) => make("p", { class: text.length > 1500 ? "text long" : "text", text: text || "(empty)" });
  const passage = ([id, score, text, relevant], i) =>
    make("details", { class: relevant ? "passage relevant" : "passage", open: text.length < 400 },
      make("summary", {}, `${i + 1}. `, make("span", { class: "mono", text: id || "passage" }),
        score === null ? "" : ` · ${number(score)} `,
        relevant === null ? "" : make("span", { class: relevant ? "yes" : "no", text: relevant ? " ✓ relevant" : " not relevant" })),
      make("p", { class: "text", text }));
  const answer = (result) => {
    const chips = metrics.map((metric, m) => {
      const value = result.scores[m] ? result.scores[m][0] : null;
      const chip = make("span", { class: "chip" }, `${metric.name} `, make("b", { text: number(value) }), metric.unit && value !== null ? ` ${metric.unit}` : "");
      if (value !== null) chip.style.backgroundColor = tint(value, m);
      return chip;
    });
    const reasons = metrics.map((metric, m) => [metric.name, result.scores[m] ? result.scores[m][1] : ""]).filter(([, why]) => why);
    const measured = [
      result.latency !== null ? seconds(result.latency) : null,
      result.first_token !== null ? `first token after ${seconds(result.first_token)}` : null,
      result.tokens ? `${result.tokens[0].toLocaleString("en")} tokens in, ${result.tokens[1].toLocaleString("en")} out` : null,
      result.cost,
      result.cached ? "from the cache" : null,
    ].filter(Boolean);
    return make("div", { class: "repeat" },
      data.repeats > 1 ? make("h4", { text: `Repeat ${result.repeat + 1}` }) : null,
      make("div", { class: "chips" }, ...chips),
      result.error ? make("p", { class: "problem", text: result.error.filter(Boolean).join(": ") }) : null,
      result.text || !result.error ? long(result.text) : null,
      result.tools.length ? block("Tool calls", ...result.tools.map(([name, args]) => make("p", { class: "text mono", text: `${name} ${args}` }))) : null,
      reasons.length ? block("Reasons", make("ul", { class: "reasons" }, ...reasons.map(([name, why]) => make("li", { text: `${name}: ${why}` })))) : null,
      result.contexts.length ? block("Retrieved", ...result.contexts.map(passage),
        result.more_contexts ? make("p", { class: "quiet", text: `and ${result.more_contexts} more` }) : null,
        result.missed.length ? make("p", { class: "measured", text: `Relevant but not retrieved: ${result.missed.join(", ")}` }) : null) : null,
      measured.length ? make("p", { class: "measured", text: measured.join(" · ") }) : null);
  };
  const show = () => {
    const item = visible[current];
    title.textContent = item.id;
    place.textContent = `${(current + 1).toLocaleString("en")} of ${visible.length.toLocaleString("en")}`;
    back.disabled = current === 0;
    forth.disabled = current === visible.length - 1;
    const inputs = item.inputs.filter(([, text]) => text !== item.question);
    const facts = [...item.tags.map((tag) => make("span", { class: "tag", text: tag })),
      item.group !== null ? make("span", { class: "tag", text: `group ${item.group}` }) : null];
    reader.replaceChildren(
      make("div", { class: "asked" },
        make("div", { class: "panel" }, make("h4", { text: "Question" }), long(item.question),
          inputs.length && item.inputs.length > 1 ? block("Other inputs", ...inputs.map(([key, text]) => long(`${key}: ${text}`))) : null,
          facts.some(Boolean) ? make("div", { class: "block" }, ...facts) : null),
        item.expected !== null || item.relevant ? make("div", { class: "panel" },
          item.expected !== null ? make("h4", { text: "Expected" }) : null, item.expected !== null ? long(item.expected) : null,
          item.relevant ? block("Relevant passages", make("p", { class: "text mono",
            text: item.relevant.map(([id, grade]) => (grade === 1 ? id : `${id} (grade ${grade})`)).join(", ") || "none" })) : null) : null),
      make("div", { class: "answers" }, ...variants.map((variant, v) => (item.by[v].length
        ? make("article", { class: "panel" },
          make("h3", {}, swatch(v), variant.name, variant.baseline ? make("span", { class: "pill quiet", text: "baseline" }) : null),
          ...item.by[v].map(answer)) : null)).filter(Boolean)));
    reader.scrollTop = 0;
  };
  let opener = null; // what outside the table a case was opened from
  const open = (item, from = null) => {
    opener = from;
    current = visible.indexOf(item);
    show();
    document.body.classList.add("reading");
    if (!dialog.open) dialog.showModal();
    reader.focus();
  };
  const move = (by) => {
    if (!visible[current + by]) return;
    current += by;
    show();
  };
  dialog.addEventListener("keydown", (e) => {
    if (e.key === "ArrowLeft" || e.key === "k") move(-1);
    else if (e.key === "ArrowRight" || e.key === "j") move(1);
    else return;
    e.preventDefault();
  });
  dialog.addEventListener("click", (e) => { if (e.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    document.body.classList.remove("reading");
    const id = visible[current]?.id;
    (opener || [...table.querySelectorAll(".open")].find((button) => button.dataset.id === id))?.focus();
  });

  section.append(data.note ? make("p", { class: "quiet", text: data.note }) : "", tools, status,
    make("div", { class: "scroll" }, table), more);
  document.body.append(dialog);
  draw();
  return { data, cases, state, tools, update, open };
})();
