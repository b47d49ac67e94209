"""What `llmops eval` and `llmops score` end with: the report, what to do next, and one exit code."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.terminal import out, print_json, say

if TYPE_CHECKING:
    from llmops.evaluation import Evaluation
    from llmops.runs import Run

Store = Annotated[str, typer.Option(help="Where runs are kept: a SQLite file or a PostgreSQL URL.", metavar="PATH|URL")]
Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        help="Also write a report; .html .md .json .xml (JUnit) .csv. Repeatable.",
        metavar="FILE",
    ),
]


@contextlib.contextmanager
def prints_on_stderr() -> Iterator[None]:
    """What a user's code prints goes to stderr: stdout holds results, perhaps as JSON. So do warnings of budgets."""
    from llmops.connecting import telling

    with contextlib.redirect_stdout(sys.stderr), telling(_warn):
        yield


def _warn(warning: object) -> None:
    say(f"warning: {warning}")


def show(run: Run, evaluation: Evaluation | None = None) -> None:
    from llmops.reports.terminal import print_report

    try:
        print_report(run.record, run.results, out(), aggregate=run.aggregate, saved=_elsewhere(evaluation))
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # `| head` (rich exits): the exit code still tells what the gates said
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if run.record.status in ("interrupted", "stopped") and evaluation is not None:
        say(f"{run.record.status}: finish it with  {_resume_command(run, evaluation)}")
    _say_what_failed(run, evaluation)


def _elsewhere(evaluation: Evaluation | None) -> str:
    """The store to name in commands: none when they find it by themselves from this folder."""
    from llmops.config import store_location
    from llmops.sdk import masked

    if evaluation is None or store_location(None) == evaluation.location:
        return ""
    return shlex.quote(masked(evaluation.location))


def _resume_command(run: Run, evaluation: Evaluation) -> str:
    words = ["llmops", "eval", str(evaluation.suite.path or ""), "--resume", "--run", run.record.id]
    if elsewhere := _elsewhere(evaluation):
        words += ["--store", elsewhere]
    return shlex.join(word for word in words if word)


def _say_what_failed(run: Run, evaluation: Evaluation | None) -> None:
    from llmops.reports.plain import printable
    from llmops.runs import too_many_errors

    for variant in too_many_errors(run.record, run.aggregate):
        share = run.aggregate.error_share(variant)
        last = evaluation.counters.last_error if evaluation is not None else ""
        because = f" ({printable(last, 200, one_line=True)})" if last else ""
        hint = 'a gate such as "errors <= 5%" says how many are acceptable'
        if variant in (run.record.config.get("counterparts") or {}):
            hint = "run again when its backend is well"
        say(f"{run.record.suite}, {variant}: {share:.0%} of the cases failed{because}, so this is no pass; {hint}")


def say_judging(evaluation: Evaluation) -> None:
    """What metrics spent on models: it isn't in any variant's cost."""
    from llmops.usage.money import dollars

    judging = evaluation.counters.judging
    if judging.requests:
        cost = "no price is known" if judging.cost is None else dollars(judging.cost)
        unpriced = f" and {judging.unpriced:,} without a price" if judging.unpriced and judging.cost is not None else ""
        what = "1 call" if judging.requests == 1 else f"{judging.requests:,} calls"
        say(f"judging: {what} to models, {cost}{unpriced}, counted apart from the variants")


def finish(runs: list[Run], as_json: bool) -> None:
    if as_json:
        print_json({"runs": [_machine(run) for run in runs], "exit_code": worst(runs)})
    raise typer.Exit(worst(runs))


def worst(runs: list[Run]) -> int:
    """One exit code for several runs: what failed first, then gates, then doubt."""
    codes = {run.exit_code for run in runs}
    return next((code for code in (130, 4, 2, 1, 3) if code in codes), 0)


def _machine(run: Run) -> dict[str, Any]:
    import json

    report: dict[str, Any] = json.loads(run.render("json"))
    return {**report, "exit_code": run.exit_code}
