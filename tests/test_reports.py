"""Statistics and the text formats: right numbers, flat memory, and nothing a hostile text can do."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
import statistics
import sys
import tracemalloc
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from llmops.aggregate import Aggregate
from llmops.cli import reports as cli
from llmops.columns import MAX_DISTINCT, OTHER
from llmops.errors import InputError, NotFoundError, StoreError
from llmops.process import this_process
from llmops.reports.completeness import incomplete
from llmops.reports.figures import number, seconds, share
from llmops.reports.machine import write_json
from llmops.reports.markdown import fence, marker
from llmops.reports.plain import printable, question
from llmops.reports.rendering import formats, render
from llmops.reports.selection import worth_reading
from llmops.reports.summary import summarize
from llmops.reports.tabular import cell
from llmops.reports.terminal import print_report
from llmops.stats.descriptive import mean, quantile
from llmops.types import (
    Case,
    Context,
    Failure,
    GateOutcome,
    MetricInfo,
    Output,
    Result,
    RunRecord,
    Score,
    Usage,
    VariantInfo,
)
from report_samples import HOSTILE, Stream, believable, hostile, record, result

ALL = ("terminal", "markdown", "html", "json", "junit", "csv")
F1 = (MetricInfo("f1"),)


def rendered(format: str, head: RunRecord, results: list[Result]) -> str:
    parts: list[str] = []
    render(format, head, results, write=parts.append)
    return "".join(parts)


def aggregated(results: list[Result], *metrics: str) -> Aggregate:
    aggregate = Aggregate(metrics)
    for item in results:
        aggregate.add(item)
    return aggregate


# Aggregate


@given(st.lists(st.floats(-1e6, 1e6), min_size=2), st.integers(1, 99))
def test_quantile_is_the_inclusive_method_of_the_standard_library(values: list[float], percent: int) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
    assert quantile(values, percent / 100) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_quantile_and_mean_of_nothing_are_errors() -> None:
    for attempt in (lambda: quantile([], 0.5), lambda: mean([]), lambda: quantile([1], 1.5)):
        with pytest.raises(ValueError):
            attempt()


def test_mean_of_huge_numbers_does_not_overflow() -> None:
    assert mean([1.7e308, 1.7e308]) == pytest.approx(1.7e308)


def test_repeats_are_averaged_per_case_before_anything_else() -> None:
    results = [result("a", repeat=i, f1=value) for i, value in enumerate((0.0, 0.5, 1.0))] + [result("b", f1=1.0)]
    aggregate = aggregated(results, "f1")
    assert list(aggregate.values("small", "f1")) == [0.5, 1.0]
    assert aggregate.cases("small") == 2
    assert aggregate.trials("small") == 4
    assert aggregate.value("f1", "small") == 0.75


def test_order_of_results_does_not_matter() -> None:
    _, results = believable(30, repeats=3)
    shuffled = results[:]
    random.Random(3).shuffle(shuffled)
    one, other = aggregated(results, "token_f1"), aggregated(shuffled, "token_f1")
    for variant in ("small", "large"):
        assert sorted(one.values(variant, "token_f1")) == pytest.approx(sorted(other.values(variant, "token_f1")))
        assert one.error_share(variant) == pytest.approx(other.error_share(variant))
        assert one.usage(variant) == other.usage(variant)
        assert one.tags == other.tags


def test_a_repeat_without_a_score_is_left_out_and_a_case_without_any_is_unscored_with_its_reason() -> None:
    no = Score.unscored("no expected answer")
    results = [result("a", f1=no), result("a", repeat=1, f1=1.0), result("b", f1=no), result("b", repeat=1, f1=no)]
    aggregate = aggregated([*results, result("c", f1=math.nan), result("d")], "f1")
    assert list(aggregate.values("small", "f1")) == [1.0]
    expected = {"no expected answer": 1, "the score isn't a finite number": 1, "no score": 1}
    assert aggregate.unscored("small", "f1") == expected


def test_ever_new_reasons_and_kinds_of_error_do_not_grow_without_end() -> None:
    results = [
        Result("v", Case(str(i)), Output(error=Failure(f"kind{i}", "")), 0, {"f1": Score.unscored(f"reason {i}")})
        for i in range(3 * MAX_DISTINCT)
    ]
    aggregate = aggregated(results, "f1")
    reasons = aggregate.unscored("v", "f1")
    assert sum(reasons.values()) == 3 * MAX_DISTINCT
    assert reasons[OTHER] == 2 * MAX_DISTINCT
    assert len(reasons) == MAX_DISTINCT + 1
    assert aggregate.error_kinds("v")["other"] == 2 * MAX_DISTINCT


def test_errors_count_trials_and_their_share_is_averaged_over_cases() -> None:
    failed = Output(error=Failure("timeout", "slow"), latency_s=30.0)
    results = [result("a"), Result("small", Case("a"), failed, 1), result("b"), result("c")]
    aggregate = aggregated(results, "f1")
    assert aggregate.errors("small") == 1
    assert aggregate.error_share("small") == pytest.approx(0.5 / 3)
    assert aggregate.error_kinds("small") == {"timeout": 1}
    assert not aggregate.latencies("small")  # a failed trial's time is not a latency


def test_tags_and_groups_select_cases() -> None:
    results = [
        Result(
            "v",
            Case(str(i), tags=("even",) * 2 if i % 2 == 0 else (), group=f"g{i % 3}"),
            Output(),
            0,
            {"f1": Score(i)},
        )
        for i in range(12)
    ]
    aggregate = aggregated(results, "f1")
    assert list(aggregate.values("v", "f1", tag="even")) == [0, 2, 4, 6, 8, 10]
    assert list(aggregate.values("v", "f1", group="g1")) == [1, 4, 7, 10]
    assert list(aggregate.values("v", "f1", tag="even", group="g1")) == [4, 10]
    assert aggregate.cases("v", tag="even") == 6
    assert aggregate.cases("v", tag="odd") == 0
    assert aggregate.value("f1", "v", tag="nowhere") is None
    assert aggregate.value("errors", "v", group="nowhere") is None


def test_cached_answers_cost_nothing_but_have_tokens() -> None:
    paid = Usage(100, 10, requests=1, certainty="exact")
    outputs = (Output(usage=paid), Output(usage=paid, cached=True), Output())
    aggregate = aggregated([Result("v", Case(str(i)), output) for i, output in enumerate(outputs)])
    assert aggregate.usage("v").total_tokens == 110
    assert aggregate.cached("v") == 1
    assert list(aggregate.tokens("v")) == [110.0, 110.0]  # the third case's tokens are unknown, not 0


def test_a_variant_that_saw_fewer_cases_is_aligned_with_the_others() -> None:
    aggregate = aggregated([result("a", f1=0.1), result("b", f1=0.2), result("b", "large", f1=0.9)], "f1")
    column = aggregate.column("large", "f1")
    assert math.isnan(column[0])
    assert aggregate.unscored("large", "unheard of") == {}
    assert not aggregate.values("nobody", "f1")
    assert column[1] == 0.9
    assert list(aggregate.error_counts("large")) == [0, 0]
    assert aggregate.cases("large") == 1


def test_values_by_name_and_a_mistyped_one() -> None:
    head, results = believable(40)
    summary = summarize(head, results)
    assert summary.value("latency_p95", "small") == summary.variants[0].latency_p95
    assert summary.value("latency_p50", "small") == summary.variants[0].latency_p50
    assert summary.value("tokens_per_case", "large") == summary.variants[1].tokens_per_case
    assert summary.value("cases", "large", tag="hard") == summary.aggregate.cases("large", tag="hard")
    with pytest.raises(NotFoundError, match="did you mean 'token_f1'"):
        summary.value("tokenf1", "small")


def test_long_ids_are_told_apart() -> None:
    aggregate = aggregated([result("x" * 100 + str(i), f1=1) for i in range(50)] + [result("\ud800" * 80, f1=1)], "f1")
    assert aggregate.cases("small") == 51
    assert aggregate.index("x" * 100 + "7") == 7
    assert aggregate.index("nobody") is None


# Summary


def test_summary_against_the_statistics_module() -> None:
    values = [0.1, 0.4, 0.4, 0.9, 1.0]
    results = [result(str(i), f1=value) for i, value in enumerate(values)]
    metric = summarize(record(metrics=F1, variants=("small",)), results).variants[0].metrics["f1"]
    assert metric.mean == pytest.approx(statistics.mean(values))
    assert metric.deviation == pytest.approx(statistics.stdev(values))
    assert (metric.minimum, metric.maximum, metric.scored, metric.unscored) == (0.1, 1.0, 5, 0)
    assert metric.histogram is not None
    assert sum(metric.histogram.counts) == 5
    assert metric.histogram.counts[19] == 1  # the last bin includes its end
    assert (metric.histogram.low, metric.histogram.high) == (0.0, 1.0)


def test_histograms_of_variants_share_one_range_even_without_a_declared_one() -> None:
    metrics = (MetricInfo("words", None, None, "none"),)
    results = [result("a", words=3.0), result("b", words=9.0), result("a", "large", words=30.0)]
    small, large = summarize(record(metrics=metrics), results).variants
    for variant in (small, large):
        histogram = variant.metrics["words"].histogram
        assert histogram is not None
        assert (histogram.low, histogram.high) == (3.0, 30.0)


def test_a_constant_and_an_out_of_range_score_still_make_a_histogram() -> None:
    metrics = (MetricInfo("words", None, None), MetricInfo("f1"))
    (variant,) = summarize(record(metrics=metrics, variants=("small",)), [result("a", words=7.0, f1=3.0)]).variants
    for name, span in (("words", (6.5, 7.5)), ("f1", (0.0, 3.0))):
        histogram = variant.metrics[name].histogram
        assert histogram is not None
        assert (histogram.low, histogram.high) == span
        assert sum(histogram.counts) == 1


def test_unknown_figures_are_none_and_never_zero() -> None:
    variant = summarize(record(metrics=F1, variants=("small",)), [result("a")]).variants[0]
    assert (variant.latency_mean, variant.latency_p95, variant.tokens_per_case) == (None, None, None)
    assert variant.metrics["f1"].mean is None
    assert variant.metrics["f1"].histogram is None


def test_tag_means() -> None:
    head, results = believable(50)
    metric = summarize(head, results).variants[0].metrics["token_f1"]
    hard = [r.scores["token_f1"].value for r in results if r.variant == "small" and "hard" in r.case.tags and r.scores]
    assert metric.by_tag["hard"] == (pytest.approx(statistics.mean(v for v in hard if v is not None)), len(hard))


def test_memory_stays_flat() -> None:
    cases = 20_000  # a fifth of a hundred thousand, within a fifth of 60 MB

    def make() -> Iterator[Result]:
        for i in range(cases):
            for variant in ("small", "large"):
                yield result(f"case-{i:08d}", variant, token_f1=i / cases, **{"recall@5": 0.5, "length": 7.0})

    tracemalloc.start()
    try:
        summary = summarize(record(), Stream(make))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert summary.cases == cases
    assert peak < 12e6


# Which cases to read


def test_the_biggest_gap_between_variants_comes_first_then_the_worst() -> None:
    pairs = {"same": (0.1, 0.1), "gap": (0.9, 0.2), "perfect": (1.0, 1.0), "small gap": (0.5, 0.6)}
    results = [result(i, v, f1=x) for i, both in pairs.items() for v, x in zip(("small", "large"), both, strict=True)]
    summary = summarize(record(metrics=F1), results)
    assert [view.case.id for view in worth_reading(summary, results, 5)] == ["gap", "small gap", "same"]


def test_lower_is_worse_unless_lower_is_better() -> None:
    metrics = (MetricInfo("distance", 0, None, "lower"),)
    results = [result(str(i), distance=float(i)) for i in range(6)]
    summary = summarize(record(metrics=metrics, variants=("small",)), results)
    assert [view.case.id for view in worth_reading(summary, results, 3)] == ["5", "4", "3"]


def test_failed_cases_are_among_those_worth_reading_but_do_not_fill_them() -> None:
    results = [result(f"bad{i}", f1=0.1) for i in range(10)]
    results += [Result("small", Case(f"err{i}"), Output(error=Failure("timeout", ""))) for i in range(10)]
    summary = summarize(record(metrics=F1, variants=("small",)), results)
    kinds = [view.case.id[:3] for view in worth_reading(summary, results, 5)]
    assert sorted(kinds) == ["bad", "bad", "bad", "err", "err"]


# Plain text


@given(st.text() | st.sampled_from(HOSTILE))
def test_printable_text_drives_nothing(text: str) -> None:
    safe = printable(text)
    assert not [c for c in safe if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0]
    assert not set(safe) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    safe.encode()
    assert printable(safe) == safe


def test_ansi_sequences_go_whole_and_plain_text_stays() -> None:
    assert printable("\x1b[1;31mred\x1b[0m \x1b]0;title\x07end") == "red end"
    assert printable("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\") == "link"
    assert printable("a\u200bb\tc\r\nd\re") == "a\u200bb\tc\nd\ne"
    assert printable("one\n two", one_line=True) == "one two"
    assert printable("abcdef", 4) == "abc…"
    assert printable("\x1b[31m" * 5000 + "end", 10).endswith("…")


def test_stripping_is_linear_on_hostile_text() -> None:
    assert printable("\x1b]" * 500_000) == ""  # quadratic scanning would take hours


def test_question_is_the_input_that_reads_like_one() -> None:
    assert question(Case("a", {"k": 3, "query": "why?"})) == "why?"
    assert question(Case("a", {"anything": [1]})) == "[1]"
    assert question(Case("a", {"x": 1, "y": "b"})) == "x: 1\ny: b"


def test_figures() -> None:
    assert [number(v) for v in (None, math.nan, 0.0, 0.5, 12.345, 1234.5, 42.0, 1e-9)] == [
        "–", "–", "0.000", "0.500", "12.35", "1,234" if round(1234.5) == 1234 else "1,235", "42", "1e-09",
    ]  # fmt: skip
    assert [seconds(v) for v in (None, 0.0123, 0.4, 1.5, 200)] == ["–", "12.3 ms", "400 ms", "1.50 s", "200 s"]
    assert [share(v) for v in (0.0, 0.01, 0.0166, 1.0, 0.00004)] == ["0%", "1%", "1.7%", "100%", "0.004%"]


# Every format


@pytest.mark.parametrize("format", ALL)
def test_every_format_renders_ordinary_hostile_and_empty_runs(format: str) -> None:
    for head, results in (believable(12, repeats=2), hostile(), (record(variants=(), metrics=()), [])):
        text = rendered(format, head, results)
        assert text.endswith("\n")
        text.encode()  # no half surrogate pairs


@pytest.mark.parametrize("format", ["terminal", "markdown", "html"])
def test_reports_for_people_hold_no_terminal_sequences_nor_direction_overrides(format: str) -> None:
    text = rendered(format, *hostile())
    assert not {c for c in text if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0}
    assert not set(text) & set("\u202e\u2066\u2069\u2028")


def test_unknown_format_names_the_closest() -> None:
    assert set(formats()) >= set(ALL)
    with pytest.raises(NotFoundError, match="did you mean 'markdown'"):
        render("markdwn", record(), [], write=print)


# Terminal


def printed(width: int, head: RunRecord, results: list[Result], **options: object) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)  # type: ignore[arg-type]
    print_report(head, results, console, saved=".llmops/llmops.db")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_terminal_report_says_it_all() -> None:
    head, results = believable(60)
    note = VariantInfo("small", "prompt", {}, "extractive backend: picks sentences, no model")
    text = printed(
        100,
        RunRecord(**{**{f: getattr(head, f) for f in head.__slots__}, "variants": (note, head.variants[1])}),
        results,
    )
    for expected in (
        "docs-qa", "data/docs_qa.jsonl", "60 cases", "token_f1 ↑", "small (baseline)", "rate_limited",
        "cases unscored: no relevant ids", "Cases worth reading", "expected", "✓", "✗ fail  token_f1 >= 0.6", "1.7%",
        "picks sentences", f"llmops report {head.id} --to report.html --store .llmops/llmops.db",
    ):  # fmt: skip
        assert expected in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_terminal_report_fits_and_hides_no_number(width: int) -> None:
    head, results = believable(60)
    text = printed(width, head, results)
    assert all(len(line) <= width for line in text.splitlines() if not line.startswith(("Run ", "Next: ")))
    summary = summarize(head, results)
    for variant in summary.variants:
        assert number(variant.metrics["token_f1"].mean) in text
        assert seconds(variant.latency_p95) in text


def test_terminal_report_never_reads_markup() -> None:
    text = printed(100, *hostile(), force_terminal=True, color_system="truecolor")
    assert "[bold red]markup[/bold red]" in text
    assert "\x1b]" not in text  # no titles, no links


# Runs that didn't finish

GATE = GateOutcome("f1 >= 0.5", "small", "undecided", None, "the run was stopped")


def part_of_a_run(**changes: object) -> tuple[RunRecord, list[Result]]:
    """12 of 200 answers: all of them of the first of two variants."""
    changes = {"status": "stopped", "cases": 100, "gates": (GATE,), "note": "the token budget is spent", **changes}
    return record(metrics=F1, **changes), [result(f"c{i}", f1=1.0) for i in range(12)]


@pytest.mark.parametrize("format", ["terminal", "markdown", "html"])
def test_an_unfinished_run_says_so_before_any_figure(format: str) -> None:
    text = rendered(format, *part_of_a_run())
    text = text.partition("<body>")[2] or text
    place = text.index("stopped after 12 of 200 answers: the token budget is spent")
    assert "incomplete" in text[:place].lower()
    assert place < text.index("1.000")
    assert text.count("the token budget is spent") == 1
    assert "✓ pass" not in text
    assert "incomplete" not in rendered(format, *part_of_a_run(status="finished")).partition("<body>")[2].lower()


def test_junit_of_an_unfinished_run_has_an_error_for_what_each_variant_lacks() -> None:
    root = ElementTree.fromstring(rendered("junit", *part_of_a_run()))
    errors = {str(case.get("classname")): case.find("error") for case in root.iter("testcase")}
    errors = {name: error for name, error in errors.items() if error is not None}
    assert {name: error.get("message") for name, error in errors.items() if error is not None} == {
        "docs-qa.small": "12 of 100 answers: the run was stopped: the token budget is spent",
        "docs-qa.large": "0 of 100 answers: the run was stopped: the token budget is spent",
    }
    assert root.get("errors") == "2"
    for suite in root:
        assert suite.get("tests") == str(len(suite)), suite.get("name")
        assert suite.get("errors") == str(len(list(suite.iter("error"))))
    assert root.get("tests") == str(len(list(root.iter("testcase"))))


def test_junit_of_an_unfinished_run_is_an_error_where_a_variant_lacks_answers_or_none_does() -> None:
    head, results = part_of_a_run(cases=12, status="interrupted")
    names = [c.get("classname") for c in ElementTree.fromstring(rendered("junit", head, results)).iter("testcase")]
    assert "docs-qa.small" in names
    root = ElementTree.fromstring(rendered("junit", head, results))
    assert [c.get("classname") for c in root.iter("testcase") if c.find("error") is not None] == ["docs-qa.large"]
    both = results + [result(f"c{i}", "large", f1=1.0) for i in range(12)]
    assert ElementTree.fromstring(rendered("junit", head, both)).get("errors") == "2"


@pytest.mark.parametrize(
    ("status", "mark", "said"),
    [
        ("interrupted", None, "interrupted after 12 of 200 answers"),
        ("failed", None, "failed after 12 of 200 answers"),
        ("running", None, "still running, 12 of 200 answers so far"),
        ("running", {"host": "elsewhere", "pid": 1, "started": "1"}, "still running, 12 of 200 answers so far"),
        ("running", {**this_process(), "started": "1"}, "died after 12 of 200 answers"),
        ("running", this_process(), "still running, 12 of 200 answers so far"),
    ],
)
def test_how_a_run_ended_is_told_apart(status: str, mark: object, said: str) -> None:
    head, _ = part_of_a_run(status=status, note="", environment={"process": mark})
    assert incomplete(head, 12) == said


def test_a_note_of_a_finished_run_is_still_shown() -> None:
    head = record(note="scored again")
    assert "scored again" in printed(80, head, [result("a")])
    assert "scored again" in rendered("markdown", head, [result("a")])
    assert "INCOMPLETE" not in printed(80, head, [result("a")])


# The table of figures


def means_of(text: str) -> dict[str, list[str]]:
    """The rows of metrics: name and what stands in each column."""
    rows = [line.split("↑") for line in text.splitlines() if "↑" in line]
    return {name.strip(): re.split(r" {2,}", values.strip()) for name, values in rows}


def many_metrics() -> tuple[RunRecord, list[Result]]:
    infos = tuple(MetricInfo(name) for name in ("token_f1", "recall@5", "mrr", "abstention", "numbers_kept"))
    scores = {"token_f1": (0.4, 0.5), "recall@5": (0.9, 0.8), "mrr": (0.7, 0.7), "abstention": (0.1, 0.2)}
    results = [
        Result(name, Case("a"), Output("x"), 0, {k: Score(v[place]) for k, v in scores.items()})
        for place, name in enumerate(("small", "large"))
    ]
    return record(metrics=infos, cases=1), results


@pytest.mark.parametrize("width", [60, 100])
def test_values_to_compare_stand_side_by_side_with_the_better_one_marked(width: int) -> None:
    text = printed(width, *many_metrics())
    assert means_of(text) == {
        "token_f1": ["0.400", "* 0.500"],
        "recall@5": ["* 0.900", "0.800"],
        "mrr": ["0.700", "0.700"],
        "abstention": ["0.100", "* 0.200"],
        "numbers_kept": ["–", "–"],
    }
    assert "* the better mean" in text


def test_lower_is_marked_where_lower_is_better_and_one_variant_has_no_better() -> None:
    head = record(metrics=(MetricInfo("toxicity", direction="lower"),))
    results = [result("a", toxicity=0.2), result("a", "large", toxicity=0.1)]
    assert "* 0.100" in printed(100, head, results)
    assert "* 0.200" not in printed(100, head, results)
    alone = printed(100, record(metrics=F1, variants=("small",)), [result("a", f1=0.2)])
    assert "*" not in alone


def test_many_variants_are_rows() -> None:
    names = tuple(f"variant-{i}" for i in range(9))
    text = printed(100, record(metrics=F1, variants=names), [result("a", name, f1=0.5) for name in names])
    assert [line.split()[0] for line in text.splitlines() if line.startswith("variant-")][:9] == list(names)


def test_no_cases_are_shown_when_none_are_asked_for() -> None:
    console = Console(file=io.StringIO(), width=80)
    print_report(*believable(10), console, limit_cases=0)
    assert isinstance(console.file, io.StringIO)
    assert "Cases worth reading" not in console.file.getvalue()


# Markdown


def tokens_of(text: str) -> list[object]:
    from markdown_it import MarkdownIt

    found: list[object] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        found += [token, *(token.children or [])]
    return found


OURS = re.compile(
    r"<!-- llmops:[\w./-]* -->\n?|<details>\n<summary><code>[^<>]*</code> \([^<>]*\)</summary>\n?|</details>\n?"
)


def is_inert(text: str) -> bool:
    for token in tokens_of(text):
        kind, content = token.type, token.content  # type: ignore[attr-defined]
        if kind in ("html_inline", "link_open", "image", "blockquote_open", "hr", "code_block"):
            return False
        if kind == "html_block" and not OURS.fullmatch(content):
            return False
        if kind == "text" and ("@" in content or "://" in content or "pwned" in content):
            return False
    return True


def test_markdown_of_a_hostile_run_is_inert() -> None:
    text = rendered("markdown", *hostile())
    assert is_inert(text)
    assert "@" in text  # it is there, in code


FRAGMENTS = (
    "\n", "\n\n", "```", "~~~", "`", "|", "\\", "<b>", "</details>", "<!--", "-->", "[a](b)", "![a](b)", "@x",
    "# ", "- ", "http://a.b", "&lt;", "    ", "---", "> ", "x", "/close", "</code>", "pwned",
)  # fmt: skip


@pytest.mark.parametrize("text", ["a\n```\n<b>@x</b>", "````\n[a](b)\n````", "~~~\n# x", "```\n\n```text", *HOSTILE])
def test_a_fence_cannot_be_closed_from_within(text: str) -> None:
    assert [token.type for token in tokens_of(fence(text, 1000))] == ["fence"]  # type: ignore[attr-defined]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join) | st.sampled_from(HOSTILE))
def test_markdown_is_inert_for_any_text(text: str) -> None:
    head = record(metrics=F1, suite=text, variants=("v",), gates=(GateOutcome(text, text, "fail", 1, text),))
    case = Case(text, {"question": text}, text, relevant={text: 1})
    failed = Output(text, (Context(text, text),), error=Failure(text, text))
    results = [
        Result("v", case, Output(text, (Context(text, text),)), 0, {"f1": Score(0.2)}),
        Result(text, case, failed),
    ]
    page = rendered("markdown", head, results)
    assert is_inert(page)
    rows = [token for token in tokens_of(page) if token.type == "tr_open"]  # type: ignore[attr-defined]
    variants = len({"v", text})
    assert len(rows) == 1 + variants + 2
    cells = [token for token in tokens_of(page) if token.type == "td_open"]  # type: ignore[attr-defined]
    assert len(cells) == variants * 6 + 5


def test_markdown_stays_below_the_size_of_a_comment() -> None:
    big = "x`|<" * 50_000
    names = tuple(f"{i}{big}" for i in range(60))
    metrics = tuple(MetricInfo(f"{i}{big}") for i in range(30))
    results = [
        Result(name, Case(f"{c}{big}", {"question": big}, big, tags=(big,)),
               Output(big, (Context(big, big),) * 30), 0, {m.name: Score(i / 60, big) for m in metrics[:3]})
        for c in range(3) for i, name in enumerate(names)
    ]  # fmt: skip
    gates = tuple(GateOutcome(big, name, "fail", 0.1, big) for name in names)
    assert len(rendered("markdown", record(metrics=metrics, variants=names, gates=gates), results)) < 60_000


def test_marker_is_stable_and_cannot_end_its_comment() -> None:
    assert rendered("markdown", *believable(5)).startswith("<!-- llmops:docs-qa -->\n")
    assert marker("a-->--<b>") == "<!-- llmops:a-_-_b_ -->"


# JSON


def test_json_report_holds_run_summary_and_gates() -> None:
    head, results = believable(20)
    report = json.loads(rendered("json", head, results), parse_constant=pytest.fail)
    assert report["format"] == 1
    assert report["run"]["suite"] == "docs-qa"
    assert report["gates"][0] == {
        "rule": "token_f1 >= 0.6", "variant": "small", "outcome": "fail", "value": 0.561, "detail": "60 cases",
        "strict": True,
    }  # fmt: skip
    small = report["variants"][0]
    assert (small["name"], small["baseline"], small["cases"]) == ("small", True, 20)
    assert len(small["metrics"]["token_f1"]["histogram"]["counts"]) == 20
    assert "results" not in report


def test_json_report_with_results_keeps_every_text_exactly() -> None:
    for head, results in (hostile(), (record(), [])):
        parts: list[str] = []
        write_json(head, results, parts.append, with_results=True)
        "".join(parts).encode()
        report = json.loads("".join(parts))
        assert [row["output"]["text"] for row in report["results"]] == [r.output.text for r in results]


def test_json_report_survives_values_json_has_no_words_for() -> None:
    inputs = {"nan": math.nan, "set": {1}, "object": object(), "huge": 10**5000}
    deep: list[object] = []
    for _ in range(500):
        deep = [deep]
    odd = Result("small", Case("a", {**inputs, "deep": deep}), Output(metadata={"inf": math.inf}))
    parts: list[str] = []
    write_json(record(), [odd], parts.append, with_results=True)
    row = json.loads("".join(parts), parse_constant=pytest.fail)["results"][0]
    assert row["case"]["inputs"]["nan"] is None
    assert row["output"]["metadata"]["inf"] is None


# JUnit


def test_junit_counts_and_names() -> None:
    head, results = believable(30)
    root = ElementTree.fromstring(rendered("junit", head, results))
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == ["docs-qa.small", "docs-qa.large", "docs-qa.gates"]
    small = suites["docs-qa.small"]
    assert [case.get("name") for case in small] == [r.case.id for r in results if r.variant == "small"]
    failed = [r.case.id for r in results if r.variant == "small" and r.output.error]
    assert [case.get("name") for case in small if case.find("error") is not None] == failed
    assert small.get("errors") == str(len(failed))
    gates = suites["docs-qa.gates"]
    assert [child.tag for case in gates for child in case] == ["failure", "skipped"]
    assert root.get("tests") == str(len(list(root.iter("testcase"))))
    assert root.get("failures") == "1"


def test_junit_writes_a_repeated_case_once_and_as_an_error_if_any_repeat_failed() -> None:
    failed = Output(error=Failure("timeout", "too slow"))
    results = [
        result("a", f1=0.0),
        Result("small", Case("a"), failed, 1),
        result("a", repeat=2, f1=1.0),
        result("b", f1=1.0),
    ]
    root = ElementTree.fromstring(rendered("junit", record(metrics=F1, variants=("small",)), results))
    cases = list(root.iter("testcase"))
    assert sorted(str(case.get("name")) for case in cases) == ["a", "b"]
    (error,) = root.iter("error")
    assert (error.get("type"), error.get("message")) == ("timeout", "too slow")
    assert {p.get("value") for p in root.iter("property")} == {"0.5", "1"}


@given(st.text())
def test_junit_is_valid_xml_for_any_text(text: str) -> None:
    output = Output(text, error=Failure(text, text))
    root = ElementTree.fromstring(rendered("junit", record(suite=text), [Result(text, Case(text), output)]).encode())
    assert len(list(root.iter("error"))) == 1


# CSV


def test_csv_has_a_row_a_trial_and_a_column_a_metric() -> None:
    head, results = believable(10, repeats=2)
    rows = list(csv.DictReader(io.StringIO(rendered("csv", head, results), newline="")))
    assert len(rows) == 40
    first, expected = rows[0], results[0]
    assert (first["variant"], first["case"], first["repeat"]) == ("small", "q000", "0")
    assert float(first["token_f1"]) == expected.scores["token_f1"].value
    assert first["output"] == expected.output.text


def test_csv_cells_cannot_start_a_formula_but_numbers_stay_numbers() -> None:
    for text in ("=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1", "＝1", "-5"):
        assert cell(text) == f"'{text}"
    assert cell("a=1") == "a=1"
    head = record(metrics=(MetricInfo("=delta", None, None),), variants=("small",))
    text = rendered("csv", head, [Result("small", Case("-1", expected=-5), Output("=A1"), 0, {"=delta": Score(-0.5)})])
    row = next(csv.DictReader(io.StringIO(text, newline="")))
    assert (row["case"], row["output"], row["expected"], row["'=delta"]) == ("'-1", "'=A1", "-5", "-0.5")


def test_csv_of_hostile_texts_reads_back_as_as_many_rows() -> None:
    head, results = hostile()
    rows = list(csv.reader(io.StringIO(rendered("csv", head, results), newline="")))
    assert len(rows) == len(results) + 1
    assert len({len(row) for row in rows}) == 1
    assert not [c for row in rows for c in row if c.lstrip(" ").startswith(("=", "+", "@", "\t", "\r", "\n"))]


def test_csv_keeps_text_but_what_drives_a_terminal() -> None:
    said = "\x1b[31mred\x1b[0m\x00\x07 \u202eleft\u202c 👩\u200d👧\r\nnext\tend"
    rows = csv.DictReader(io.StringIO(rendered("csv", record(), [Result("v", Case("a"), Output(said))]), newline=""))
    assert next(rows)["output"] == "red \u202eleft\u202c 👩\u200d👧\r\nnext\tend"
    assert cell("\x1b[0m=1+1") == "'=1+1"


# The command


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    head, results = believable(12)
    sdk = types.ModuleType("llmops.sdk")
    sdk.open_run = lambda reference, store=None: types.SimpleNamespace(record=head, results=results)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llmops.sdk", sdk)
    monkeypatch.delitem(sys.modules, "llmops.sdk.open_run", raising=False)
    app = typer.Typer()
    app.command()(cli.report)
    return app


def test_report_command_prints_and_writes(app: typer.Typer, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["latest"])
    assert shown.exit_code == 0
    assert "Cases worth reading" in shown.stdout
    assert json.loads(CliRunner().invoke(app, ["latest", "--json"]).stdout)["format"] == 1
    page = tmp_path / "report.html"
    page.write_text("old")
    written = CliRunner().invoke(app, ["latest", "--to", str(page)])  # the suffix says the format
    assert written.exit_code == 0, written.output
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["latest", "--as", "htlm"], "did you mean 'html'"),
        (["latest", "--as", "csv", "--json"], "drop one"),
        (["latest", "--to", "missing/report.html"], "no folder missing"),
        (["latest", "--to", "folder.md"], "is a folder"),
        (["latest", "--to", "report.pdf"], "no report ends in '.pdf'; end it in one of .html, .htm, .md"),
        (["latest", "--to", "report"], "no report ends in 'nothing'"),
        (["latest", "--to", "report.html", "--as", "csv"], "--as csv and --to report.html"),
        (["latest", "--to", "report.html", "--json"], "--json and --to report.html"),
    ],
)
def test_report_command_refuses(
    app: typer.Typer, arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.md").mkdir()
    outcome = CliRunner().invoke(app, arguments)
    assert isinstance(outcome.exception, InputError)
    assert said in str(outcome.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.md"]


def test_as_says_the_format_where_a_suffix_says_nothing(app: typer.Typer, tmp_path: Path) -> None:
    target = tmp_path / "report.log"
    assert CliRunner().invoke(app, ["latest", "--to", str(target), "--as", "csv"]).exit_code == 0
    assert target.read_text("utf-8").startswith("variant,case,")


def test_html_is_not_poured_onto_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(InputError, match=r"--to report\.html"):
        cli.report("latest", as_format="html")


def test_a_report_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    def fill(write: object) -> None:
        write("half")  # type: ignore[operator]
        raise OSError(28, "No space left on device")

    target = tmp_path / "report.md"
    target.write_text("whole")
    with pytest.raises(StoreError, match="no space left on device") as caught:
        cli.write_atomically(target, fill)
    assert (str(target) in str(caught.value), bool(caught.value.hint)) == (True, True)
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_may_not_be_written_to_is_named_by_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(prefix: str, suffix: str, dir: Path) -> tuple[int, str]:
        raise PermissionError(13, "Permission denied", str(dir / f"{prefix}x{suffix}"))

    monkeypatch.setattr(cli.tempfile, "mkstemp", refuse)
    with pytest.raises(InputError) as caught:
        cli.write_atomically(tmp_path / "report.md", print)
    expected = f"can't write {tmp_path / 'report.md'}: permission denied; name a file in a folder you may write to"
    assert str(caught.value) == expected


def test_a_report_may_have_the_longest_name_a_folder_holds(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 252 + ".md")
    cli.write_atomically(target, lambda write: write("whole"))
    assert target.read_text() == "whole"


def test_the_time_to_the_first_token_is_told_where_answers_were_streamed():
    rows = [result(f"c{i}", variant, token_f1=0.5) for i in range(3) for variant in ("small", "large")]
    assert "first token" not in rendered("terminal", record(), rows)
    streamed = [
        replace(row, output=replace(row.output, latency_s=1.0, metadata={"first_token_s": 0.1 * (i // 2 + 1)}))
        if row.variant == "small"
        else row
        for i, row in enumerate(rows)
    ]
    small, large = summarize(record(), streamed).variants
    assert (small.first_token_p50, round(small.first_token_p95, 3)) == (0.2, 0.29)
    assert large.first_token_p50 is None
    terminal, markdown = (rendered(format, record(), streamed) for format in ("terminal", "markdown"))
    assert "first token p50" in terminal and "200 ms" in terminal
    assert "| first token p50 | first token p95 |" in markdown and "| 200 ms | 290 ms |" in markdown
    assert "<small>p95 290 ms</small>" in rendered("html", record(), streamed)
