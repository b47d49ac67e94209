"""The pull-request report of a comparison: understood in ten seconds, inert, and below the size of a comment."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comparison_samples import NEW_PROMPT, OLD_PROMPT, hostile_comparison, pull_request, score_files
from llmops.reports.changes import changes
from llmops.reports.comparison_markdown import overall
from llmops.reports.markup import pre, prose, wrapped
from llmops.reports.rendering import render
from llmops.types import (
    Case,
    Comparison,
    GateOutcome,
    MetricComparison,
    MetricInfo,
    Output,
    Result,
    RunRecord,
    Score,
    SliceComparison,
    Usage,
    VariantInfo,
)
from llmops.usage.spending import RunSpending, Spending
from report_samples import HOSTILE, record

FRAGMENTS = (
    "\n", "\n\n", "```", "~~~", "`", "|", "\\", "<b>", "</pre>", "</td></tr></table>", "</details>", "<!--", "-->",
    "[a](b)", "![a](b)", "@x", "# ", "- ", "http://a.b", "&lt;", "&#10;", "    ", "\t", "---", "> ", "x", "/close",
    "</code>", "pwned", "www.a.b", "{% if %}", "_x_", "**", "GH-1", "\u202e", "\x1b[2J", "\ud800",
)  # fmt: skip
OURS = {"details", "summary", "pre", "del", "ins", "table", "tr", "th", "td", "b", "code", "p"}


def markdown(head: RunRecord, results: list[Result]) -> str:
    written: list[str] = []
    render("markdown", head, results, write=written.append)
    return "".join(written)


def tokens_of(text: str) -> list[object]:
    from markdown_it import MarkdownIt

    found: list[object] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        found += [token, *(token.children or [])]
    return found


class _Checked(HTMLParser):
    """Knows whether all tags of an HTML block are ours and balanced, and where text stands that isn't in code."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.inert = True

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        allowed = {("align", "left"), ("valign", "top"), ("colspan", "2")}
        self.inert &= tag in OURS and set(attributes) <= allowed
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.inert &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"code", "pre"} & set(self.open):
            self.inert &= not re.search("@|://|www|#", data)


def is_inert(text: str) -> bool:
    """No HTML but ours, and nothing untrusted outside of code."""
    page = _Checked()
    for token in tokens_of(text):
        kind, content = token.type, token.content  # type: ignore[attr-defined]
        if kind in ("html_inline", "link_open", "image", "blockquote_open", "hr", "code_block", "em_open"):
            return False
        if kind == "html_block" and not content.startswith("<!-- llmops:"):
            page.feed(content)
        if kind == "text" and re.search("@|://|www", content):
            return False
    page.close()
    return page.inert and not page.open


def test_verdicts_come_first_worst_first_then_what_changed() -> None:
    text = markdown(*pull_request())
    lines = [line for line in text.splitlines() if line]
    assert lines[0] == "<!-- llmops:docs-qa -->"
    assert lines[1] == "### ❌ Got worse · `docs-qa` on `data/docs_qa.jsonl`"
    assert lines[2] == "**`answer` against `answer@main`** · 200 paired cases"
    assert re.match(r"- ❌ \*\*Pass fell [\d.]+ points \([\d.]+ % → [\d.]+ %\)\.\*\* \d+ answers broke", lines[3])
    marks = [line[2] for line in lines if line.startswith("- ") and line[2] in "❌⚪✅"]
    assert marks == sorted(marks, key="❌⚪✅".index)
    summaries = re.findall(r"<summary>(.*)</summary>", text)
    assert [summary.split()[0] for summary in summaries] == ["What", "18", "17", "All", "Slices", "Figures"]
    assert "2 messages of the prompt" in summaries[0]
    assert "<code>parameters.temperature</code>" in summaries[0]
    assert summaries[1] == "18 cases broke: the worst 5"
    assert "stand out" in summaries[4]
    assert re.search(r"✅ Tokens per case down \d+ tokens", text)
    assert "4 guard metrics, Holm" in text
    assert is_inert(text)
    assert len(text) < 60_000


def test_a_broken_case_shows_both_answers_side_by_side() -> None:
    text = markdown(*pull_request())
    table = next(line for line in text.splitlines() if line.startswith("<table>") and "<code>pass</code>" in line)
    assert re.search(r"<code>answer@main</code> 1</th>.*<code>answer</code> 0</th>", table)
    assert table.count("<pre>") == 3  # the question and two answers
    assert "hours [2]." in table
    assert "I believe" in table


def test_words_that_changed_are_marked_and_the_rest_is_kept() -> None:
    text = markdown(*pull_request())
    assert "<del>answer </del><ins>are a friendly expert who answers </ins>" in text.replace("\n", "")
    assert "questions about the Aurora speaker" in text
    assert "Message 3, `assistant` (added)" in text
    body = "\n".join(re.findall(r"<pre>([^<](?:.|\n)*?)</pre>", text.split("18 cases broke")[0]))
    assert max(map(len, re.sub("<[^>]*>", "", html.unescape(body)).splitlines())) <= 96


def test_changes_are_settings_by_dotted_path_and_messages_by_words() -> None:
    given = {
        "model": "m1",
        "parameters": {"temperature": 0, "stop": None},
        "prompt_text": OLD_PROMPT,
        "content_id": "1",
    }
    old = VariantInfo("a", "prompt", given)
    changed = {"model": "m2", "parameters": {"temperature": 0.5}, "prompt_text": NEW_PROMPT, "content_id": "2"}
    new = VariantInfo("b", "prompt", changed)
    found = changes(old, new)
    assert [(one.name, one.before, one.after) for one in found.settings] == [
        ("model", "m1", "m2"), ("parameters.temperature", "0", "0.5"), ("parameters.stop", "", None),
    ]  # fmt: skip
    assert [(one.kind, one.role) for one in found.messages] == [("changed", "system"), ("added", "assistant")]
    assert found.summary == "2 messages of the prompt, model, parameters.temperature, parameters.stop"
    assert not changes(old, old)
    python = changes(old, VariantInfo("c", "python", {"function": "app:main"}))
    assert {"kind", "function", "content_id"} <= {one.name for one in python.settings}
    assert not python.messages


@pytest.mark.parametrize("shape", ["text", [1, 2], [["system"]], [None], {"a": 1}, [[1, {"a": 2}]]])
def test_prompts_of_another_shape_are_passed_over(shape: object) -> None:
    infos = [VariantInfo(name, "prompt", {"prompt_text": shape}) for name in "ab"]
    assert not changes(*infos)
    changes(infos[0], VariantInfo("b", "prompt", {"prompt_text": NEW_PROMPT}))


def test_score_files_have_verdicts_and_ids_without_answers() -> None:
    text = markdown(*score_files())
    assert "**`branch.jsonl` against `main.jsonl`** · 200 paired cases" in text
    assert "Not compared: 2 cases only in `main.jsonl` (`q900`, …)." in text
    assert "<p><code>q003</code> <code>" in text
    assert "<table>" not in text
    assert "variant |" not in text
    assert is_inert(text)


def verdict(name: str, how: str, **more: object) -> MetricComparison:
    made = MetricComparison(
        MetricInfo(name), "binary", 50, 0.8, 0.7, -0.1, (-0.2, -0.01), 0.03, -0.2, "Tango", how, 0.05, guard=True  # type: ignore[arg-type]
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "gates", "said"),
    [
        (["equivalent", "regressed"], [], "❌ Got worse"),
        (["equivalent", "inconclusive"], [], "⚪ Can't tell yet"),
        (["equivalent", "improved"], [], "✅ Better, and nothing got worse"),
        (["equivalent"], [], "✅ No meaningful drop"),
        (["improved"], ["fail"], "❌ A gate failed"),
        ([], [], ""),
    ],
)
def test_the_whole_in_some_words(verdicts: list[str], gates: list[str], said: str) -> None:
    metrics = tuple(verdict(f"m{i}", how) for i, how in enumerate(verdicts))
    outcomes = tuple(GateOutcome("errors <= 5%", "b", how, 0.2) for how in gates)  # type: ignore[arg-type]
    assert overall(record(comparisons=(Comparison("a", "b", 50, metrics),), gates=outcomes)) == said


def test_an_unfinished_run_claims_no_verdict_in_its_heading() -> None:
    head, results = pull_request(50)
    text = markdown(replace(head, status="interrupted"), results[:40])
    assert text.splitlines()[1].startswith("### `docs-qa`")
    assert text.index("**Incomplete:**") < text.index("**`answer` against")


def test_footer_counts_cache_and_tokens() -> None:
    usage = Usage(90, 10, requests=1, certainty="exact")
    outputs = [("a", True, Usage()), ("b", False, usage)]
    results = [
        Result(name, Case(f"q{i}"), Output("x", usage=usage, cached=cached), 0, {"m": Score(1)})
        for i in range(4) for name, cached, _ in outputs
    ]  # fmt: skip
    made = Comparison(
        "a", "b", 4, (verdict("m", "inconclusive", n=4, groups=3),), pooled=2, notes=("judge agreement 91 %",)
    )
    text = markdown(record(metrics=(MetricInfo("m"),), variants=("a", "b"), comparisons=(made,)), results)
    assert "95 % intervals, paired by case; Tango; 3 groups; 2 runs pooled; judge agreement 91 %." in text
    assert "4 of 8 answers came from the cache. 400 tokens spent, about 400 saved." in text
    config = {"spent": RunSpending(Spending(usage)).as_data()}
    told = record(metrics=(MetricInfo("m"),), variants=("a", "b"), comparisons=(made,), config=config)
    text = markdown(told, results)
    assert "4 of 8 answers came from the cache.\n" in text and "tokens spent" not in text, "the run says it once"
    assert "- 1 request, 90 tokens in, 10 out." in text


def test_several_candidates_have_all_verdicts_before_any_detail() -> None:
    head, results = pull_request(60)
    [made] = head.comparisons
    text = markdown(replace(head, comparisons=(made, replace(made, candidate="third"))), results)
    assert text.index("**`third` against") < text.index("<details>")
    assert "#### `third` against `answer@main`" in text
    many = tuple(replace(made, candidate=f"c{i}") for i in range(30))
    assert "22 more comparisons." in markdown(replace(head, comparisons=many), results)


def test_a_hostile_comparison_is_inert() -> None:
    text = markdown(*hostile_comparison())
    assert is_inert(text)
    assert "@" in text  # it is there, in code


def attack(text: str, other: str) -> tuple[RunRecord, list[Result]]:
    """A comparison in which every text is `text` or `other`."""
    metric = replace(verdict(text, "regressed", broke=(text,), fixed=(other,), why=(text,), method=text),
                     info=MetricInfo(text, unit=text))  # fmt: skip
    slices = (SliceComparison(text, text, 5, 0.1, 0.2, 0.1, (0, 1), 0.1, True),)
    made = Comparison(
        text, "v", 3, (metric, verdict(other, "inconclusive", why=(text,))), slices, (text,), (text,), notes=(text,)
    )
    infos = tuple(
        VariantInfo(name, text, {text: name, "d": {text: {text: i}}, "prompt_text": [[text, one], ["user", two]]}, text)
        for i, (name, one, two) in enumerate(((text, text, other), ("v", other, text)))
    )
    head = replace(record(metrics=(MetricInfo(text),), suite=text, comparisons=(made,)), variants=infos, note=text)
    results = [
        Result(name, Case(key, {"question": text}), Output(answer), 0, {text: Score(0.5)})
        for key in (text, other) for name, answer in ((text, other), ("v", text))
    ]  # fmt: skip
    return head, results


hostile_texts = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join) | st.sampled_from(HOSTILE)


@settings(max_examples=100, deadline=None)
@given(hostile_texts, hostile_texts)
def test_a_comparison_is_inert_for_any_text(text: str, other: str) -> None:
    page = markdown(*attack(text, other))
    assert is_inert(page)
    page.encode()


@settings(max_examples=12, deadline=None)
@given(hostile_texts.filter(bool), st.sampled_from(["<", "&'", "x ", "\n", "日", "`|"]), st.sampled_from([1, 3, 12]))
def test_a_giant_comparison_stays_below_the_size_of_a_comment(text: str, sign: str, many: int) -> None:
    big = text + sign * 30_000
    head, results = attack(big, sign * 30_000 + text)
    [made] = head.comparisons
    metrics = tuple(
        replace(made.metrics[i % 2], info=MetricInfo(f"{i}{big}"), broke=(big,) * 200, why=(big,) * 20)
        for i in range(3 * many)
    )
    slices = tuple(replace(made.slices[0], tag=f"{i}{big}", metric=metrics[0].metric) for i in range(10 * many))
    giant = replace(made, metrics=metrics, slices=slices, only_a=(big,) * 90, notes=(big,) * 90)
    details = {"prompt_text": [["user", big]] * 5} | {f"{i}{sign * 200}": big for i in range(3 * many)}
    others = tuple(VariantInfo(f"w{i}{big}", "prompt", details) for i in range(many))
    comparisons = (giant, *(replace(giant, candidate=other.name) for other in others))
    gates = tuple(GateOutcome(big, big, "fail", 0.1, big) for _ in range(many))
    page = markdown(replace(head, comparisons=comparisons, variants=(*head.variants, *others), gates=gates), results)
    assert len(page) < 60_000
    assert is_inert(page)
    assert page.index("❌ **") < 4000


# Pieces


@given(
    st.lists(st.sampled_from(["word", " ", "\n", "x" * 30, "  ", "a"]), max_size=30).map("".join), st.integers(1, 40)
)
def test_wrapped_text_is_the_same_text_in_narrow_lines(text: str, columns: int) -> None:
    made = wrapped(text, columns)
    assert "".join(made.split()) == "".join(text.split())
    assert (
        max(map(len, (line.rstrip() for line in made.split("\n")))) <= columns
        or text.isspace()
        or "  " in text
        or " " in text
    )
    assert all(len(line.strip()) <= columns for line in made.split("\n"))


@given(hostile_texts)
def test_a_block_in_a_table_is_one_line_of_escaped_text(text: str) -> None:
    made = pre(text, 500, 40)
    assert "\n" not in made
    assert not re.search(r"[<>]", made.removeprefix("<pre>").removesuffix("</pre>"))


@pytest.mark.parametrize(
    "text", ["too few cases, 8 of 20", "judge agreement with people 91 % (86–95 %, 120 labels)", "p = 0.03"]
)
def test_plain_prose_stays_plain(text: str) -> None:
    assert prose(text) == text


@pytest.mark.parametrize(
    "text", ["@team", "see #4", "http://a.b", "www.a.b", "a.example", "*x*", "<b>", "_x_", "- x", "GH-4", "a|b", "%5"]
)
def test_anything_else_stands_in_code(text: str) -> None:
    assert prose(text).startswith("`")
