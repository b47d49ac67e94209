"""`llmops plan`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.terminal import AsJson, out, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmops.evals.sizing import MetricPlan, Way
    from llmops.planning import Plan
    from llmops.types import MetricInfo


def plan(
    suite: Annotated[Path, typer.Argument(help="The suite file.", metavar="SUITE")],
    drop: Annotated[
        str,
        typer.Option(
            help="The drop to notice: 3 or 3% for 3 points of 100, 0.2units in the metric's own unit; "
            "without it, the suite's margin.",
            metavar="DROP",
        ),
    ] = "",
    metric: Annotated[str, typer.Option(help="Only this metric.", metavar="NAME")] = "",
    case_cost: Annotated[
        float | None,
        typer.Option(help="What one more case costs you, in answers: weighs cases against repeats.", min=0),
    ] = None,
    store: Annotated[
        str, typer.Option(help="Where past runs are: a SQLite file or a PostgreSQL URL.", metavar="PATH|URL")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """How many cases it takes to notice a drop, what the suite's dataset shows, and the cheapest ways to get there."""
    from llmops.errors import InputError
    from llmops.planning import plan_suite

    if case_cost is not None and not math.isfinite(case_cost):
        raise InputError("--case-cost is a number of answers")
    made = plan_suite(suite, drop=drop, metric=metric, store=store, case_cost=case_cost)
    if as_json:
        print_json(_machine(made))
        return
    console = out()
    for line in lines(made):
        console.print(line, markup=False)


def lines(made: Plan) -> Iterator[str]:
    """The plan in words."""
    from llmops.reports.figures import plural
    from llmops.reports.plain import printable

    grouped = f" in {plural(made.groups, 'group')}" if made.groups is not None else ""
    repeated = f", {made.repeats} answers each" if made.repeats > 1 else ""
    dataset = printable(made.dataset, 80, one_line=True)
    suite = printable(made.suite, 200, one_line=True)
    yield f"{suite}: {plural(made.cases, 'question')} of {dataset}{grouped}{repeated}"
    for metric in made.metrics:
        yield ""
        yield from _metric(metric, made)
    yield ""
    sure, chance = 1 - made.settings.alpha, made.settings.power
    yield f"Answers are those of both variants. Reliably: {chance:.0%} of the time, at {sure:.0%} confidence."
    for name, why in made.left_out:
        yield f"Left out: {printable(name, 60, one_line=True)} ({printable(why, 200, one_line=True)})"
    for note in made.notes:
        yield printable(note, 300, one_line=True)


def _metric(metric: MetricPlan, made: Plan) -> Iterator[str]:
    from llmops.reports.plain import printable

    yield printable(metric.info.name, 60, one_line=True)
    needs = f"To reliably notice a {_sized(metric.drop, metric.info)} you need about {_about(metric.needed)} questions"
    has = f"you have {made.cases:,}, which {_can(metric)}"
    yield f"  {needs}; {has}." if metric.enough else f"  {needs} ({has})."
    yield f"  {_basis(metric)}"
    for note in metric.notes:
        yield f"  {note[0].upper()}{note[1:]}."
    if metric.ways:
        yield "  Cheaper still:" if metric.enough else "  Cheapest ways:"
    for number, way in enumerate(metric.ways, 1):
        yield f"  {number}. {_way(way, metric, made)}"


def _can(metric: MetricPlan) -> str:
    return "are too few for any verdict" if metric.mde is None else f"can notice {_amount(metric.mde, metric.info)}"


def _way(way: Way, metric: MetricPlan, made: Plan) -> str:
    cost = f"{_about(way.answers)} answers a run"
    more = way.cases - made.cases
    added = f"{_about(more)} more questions ({_about(way.cases)} in all)"
    each = "every question" if way.cases == made.cases else "each"
    if way.kind == "more cases":
        return f"{added}: {cost}"
    if way.kind == "early stopping":
        begin = added if more > 0 else f"{_about(way.cases)} questions"
        setting = "" if made.settings.early_stop else " (comparison: {early_stop: true})"
        seen = f"about {_about(metric.sequential[1])} asked on average, {cost}"
        return f"{begin}, stopping when the answer is clear{setting}: {seen}"
    if way.kind == "repeats":
        return f"no new questions, but {way.repeats} answers to {each}: {cost}"
    if way.kind == "cases and repeats":
        return f"{added} with {way.repeats} answers to {each}: {cost}, best at what a question costs you"
    return f"accept a bigger {_word(metric.info)}: these questions notice {_amount(way.drop, metric.info)}"


def _basis(metric: MetricPlan) -> str:
    """What the figure rests on."""
    from llmops.reports.figures import plural

    spread = metric.spread
    if spread.discordance is not None:
        varies = f"{_percent(spread.discordance)} of the questions pass with one variant only"
    else:
        varies = f"differences between variants spread by {_deviation(metric)} (standard deviation)"
    if not spread.pairs:
        return f"No past run shows two variants that differ, so this assumes that {varies}."
    return f"As in {plural(spread.runs, 'past run')} ({spread.pairs:,} pairs of answers), {varies}."


def _deviation(metric: MetricPlan) -> str:
    from llmops.evals.spread import range_of

    within = metric.spread.within or 0.0
    return _amount(math.sqrt(metric.spread.between + within) * (range_of(metric.info) or 1.0), metric.info)


def _sized(drop: float, info: MetricInfo) -> str:
    """`3-point drop`, or `0.2 drop (5 points of 100)` where the metric's range isn't that of a share."""
    from llmops.evals.spread import range_of

    span = range_of(info)
    if span is None:
        return f"{_own(drop, info)} {_word(info)}"
    points = f"{_figure(100 * drop / span)}-point {_word(info)}"
    return points if span == 1 else f"{points} ({_own(drop, info)})"


def _amount(value: float, info: MetricInfo) -> str:
    from llmops.evals.spread import range_of

    span = range_of(info)
    if span is None:
        return _own(value, info)
    figure = _figure(100 * value / span)
    points = f"{figure} point{'' if figure == '1' else 's'}"
    return points if span == 1 else f"{points} ({_own(value, info)})"


def _own(value: float, info: MetricInfo) -> str:
    from llmops.reports.figures import number, seconds
    from llmops.reports.plain import printable

    if info.unit == "s":
        return seconds(value)
    return number(value, printable(info.unit, 20, one_line=True))


def _word(info: MetricInfo) -> str:
    return "rise" if info.direction == "lower" else "drop"


def _figure(points: float) -> str:
    """Two significant digits, more for large figures."""
    return f"{points:.0f}" if points >= 9.95 else f"{points:.2g}"


def _percent(share: float) -> str:
    return f"{_figure(100 * share)}%"


def _about(count: int) -> str:
    """Three significant digits: a plan is no more exact than that."""
    return f"{round(count, 3 - len(str(count))) if count > 999 else count:,}"


def _machine(made: Plan) -> dict[str, Any]:
    return {
        "suite": made.suite,
        "dataset": made.dataset,
        "cases": made.cases,
        "groups": made.groups,
        "repeats": made.repeats,
        "alpha": made.settings.alpha,
        "power": made.settings.power,
        "metrics": {metric.info.name: _one(metric) for metric in made.metrics},
        "left_out": dict(made.left_out),
        "notes": list(made.notes),
    }


def _one(metric: MetricPlan) -> dict[str, Any]:
    from dataclasses import asdict

    spread = metric.spread
    return {
        "drop": metric.drop,
        "n_needed": metric.needed,
        "mde": metric.mde,
        "enough": metric.enough,
        "kind": "binary" if spread.binary else "score",
        "basis": "past runs" if spread.pairs else "default",
        "spread": asdict(spread),
        "sequential": {"cap": metric.sequential[0], "expected": metric.sequential[1]},
        "ways": [asdict(way) for way in metric.ways],
        "notes": list(metric.notes),
    }
