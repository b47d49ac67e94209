"""`llmops eval` and `llmops score`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.reports import BY_SUFFIX, render_to, write_atomically
from llmops.cli.terminal import AsJson, err, out, print_json, say
from llmops.errors import EXIT_INTERRUPTED, InputError

if TYPE_CHECKING:
    from llmops.evaluation import Evaluation, RunOptions
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


def evaluate(
    suites: Annotated[
        list[Path] | None, typer.Argument(help="Suite files.", metavar="SUITE...", show_default=False)
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only cases with tag:NAME, group:NAME or id:NAME; ! before it excludes."),
    ] = None,
    sample: Annotated[int | None, typer.Option(help="A random choice of this many cases.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Which random choice --sample makes.")] = 0,
    variant: Annotated[list[str] | None, typer.Option(help="Only this variant. Repeatable.", metavar="NAME")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key of the suite.", metavar="KEY=VALUE")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be called; call nothing.")] = False,
    changed: Annotated[
        str, typer.Option(help="Only suites whose files changed since this git revision.", metavar="REF")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Finish the latest run that didn't end.")] = False,
    run: Annotated[str, typer.Option(help="With --resume: which run.", metavar="RUN")] = "",
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="With --resume: run failed cases again.")
    ] = False,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Reuse answers to identical requests.")] = True,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask again, and keep the new answers.")] = False,
    record: Annotated[Path | None, typer.Option(help="Keep requests and answers as files.", metavar="DIR")] = None,
    replay: Annotated[Path | None, typer.Option(help="Answer from recorded files only.", metavar="DIR")] = None,
    max_requests: Annotated[int | None, typer.Option(help="Stop before sending more requests.", min=0)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop before using more tokens.", min=0)] = None,
    output: Outputs = None,
    store: Store = "",
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of suite files, for editors.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run suites: score every variant on every case, check the gates, save the run.

    Exit codes: 0 pass, 1 a gate failed, 2 bad input, 3 can't tell, 4 a backend or the store failed.
    """
    if schema:
        from llmops.evals.suite_schema import json_schema

        print_json(json_schema())
        return
    from llmops.assembly import Selection
    from llmops.evaluation import RunOptions

    _check_flags(record, replay, cache, refresh, resume, run, retry_errors)
    for path in output or ():
        report_format(path)
    selection = Selection(tuple(only or ()), sample, seed, tuple(variant or ()))
    options = RunOptions(
        selection, store or None, cache, refresh, record, replay, max_requests, max_tokens, None, retry_errors
    )
    if resume:
        evaluations = _resumed(suites or [], options, run, set_ or [])
    else:
        evaluations = _fresh(_chosen(suites or [], changed, set_ or []), options, set_ or [])
    if dry_run:
        _dry_run(evaluations, as_json)
        return
    _finish(_run_all(evaluations, quiet=quiet or as_json, as_json=as_json), output or [], as_json)


def score(
    run: Annotated[str, typer.Argument(help="A run: id, start of an id, latest, or an exported file.", metavar="RUN")],
    suite: Annotated[Path, typer.Option(help="The suite whose metrics and gates to use.", metavar="SUITE")],
    output: Outputs = None,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Score a saved run again with a suite's metrics, without asking any model."""
    from llmops import sdk

    scored = sdk.score_run(run, suite, store=store or None)
    _finish([scored], output or [], as_json, show=True)


def report_format(path: Path) -> str:
    """The report a file's suffix stands for."""
    name = BY_SUFFIX.get(path.suffix.lower())
    if name is None:
        hint = f"end it in one of {', '.join(BY_SUFFIX)}"
        raise InputError(f"--output {path}: no report ends in {path.suffix or 'nothing'!r}", hint=hint)
    return name


def _check_flags(
    record: Path | None,
    replay: Path | None,
    cache: bool,
    refresh: bool,
    resume: bool,
    run: str,
    retry_errors: bool,
) -> None:
    if record is not None and replay is not None:
        raise InputError("--record and --replay can't go together", hint="record first, then replay")
    if refresh and not cache:
        raise InputError("--refresh keeps new answers, --no-cache keeps none", hint="give one of them")
    if (run or retry_errors) and not resume:
        raise InputError(f"{'--run' if run else '--retry-errors'} goes with --resume")


def _chosen(suites: list[Path], changed: str, overrides: list[str]) -> list[Path]:
    if not suites:
        raise InputError("which suite?", hint="llmops eval evals/NAME.yaml")
    if not changed:
        return suites
    from llmops.cli.affected import affected

    chosen = affected(suites, changed, overrides)
    if not chosen:
        say("nothing to run")
        raise typer.Exit(0)
    return chosen


def _fresh(suites: list[Path], options: RunOptions, overrides: list[str]) -> list[Evaluation]:
    from llmops.evals.suite import load_suite
    from llmops.evaluation import Evaluation

    return [Evaluation(load_suite(path, overrides=overrides), options) for path in suites]


def _resumed(suites: list[Path], options: RunOptions, reference: str, overrides: list[str]) -> list[Evaluation]:
    from llmops.evaluation import resumable

    if len(suites) > 1:
        raise InputError("--resume finishes one run", hint="name one suite, or --run RUN")
    return [resumable(suites[0] if suites else None, options, reference, overrides)]


def _dry_run(evaluations: list[Evaluation], as_json: bool) -> None:
    from llmops.estimating import estimate

    plans = [estimate(evaluation.assembly) for evaluation in evaluations]
    if as_json:
        print_json({"suites": plans})
        return
    for plan in plans:
        typer.echo(f"{plan['suite']}: {plan['cases']:,} cases of {plan['dataset']}, {plan['repeats']} answer(s) each")
        for entry in plan["variants"]:
            typer.echo(f"  {entry['variant']}: {entry['summary']}")


def _run_all(evaluations: list[Evaluation], *, quiet: bool, as_json: bool) -> list[Run]:
    from llmops.cli.progress import describe, shown

    runs = []
    for evaluation in evaluations:
        with shown(evaluation.counters, quiet=quiet):
            finished = evaluation.run()
        if not quiet and not sys.stderr.isatty():
            say(f"{evaluation.suite.name}: {describe(evaluation.counters)}")
        runs.append(finished)
        if not as_json:
            _show(finished)
        if finished.record.status == "interrupted":
            break
    return runs


def _show(run: Run) -> None:
    from llmops.reports.terminal import print_report

    print_report(run.record, run.results, out(), aggregate=run.aggregate)
    record = run.record
    if record.status in ("interrupted", "stopped"):
        path = record.config.get("path") or ""
        err().print(
            f"{record.status}: finish it with  llmops eval {path} --resume --run {record.id}",
            markup=False,
            soft_wrap=True,
        )
    from llmops.runs import too_many_errors

    for variant in too_many_errors(record, run.aggregate):
        share = run.aggregate.error_share(variant)
        hint = 'say how many are acceptable with a gate such as "errors <= 5%"'
        err().print(f"{variant}: {share:.0%} of the cases failed, so this is no pass; {hint}", markup=False)


def _finish(runs: list[Run], outputs: list[Path], as_json: bool, *, show: bool = False) -> None:
    for path in outputs:
        for number, run in enumerate(runs):
            target = path if number == 0 else path.with_name(f"{path.stem}-{run.record.suite}{path.suffix}")
            _write(target, run)
    if as_json:
        print_json({"runs": [_machine(run) for run in runs], "exit_code": worst(runs)})
    elif show:
        for run in runs:
            _show(run)
    sys.stdout.flush()
    if any(run.record.status == "interrupted" for run in runs):
        sys.stderr.flush()
        os._exit(EXIT_INTERRUPTED)  # everything is saved; a thread still inside a user's pipeline isn't waited for
    raise typer.Exit(worst(runs))


def worst(runs: list[Run]) -> int:
    """One exit code for several runs: what failed first, then gates, then doubt."""
    codes = {run.exit_code for run in runs}
    return next((code for code in (130, 4, 2, 1, 3) if code in codes), 0)


def _machine(run: Run) -> dict[str, Any]:
    import json

    report: dict[str, Any] = json.loads(run.render("json"))
    return {**report, "exit_code": run.exit_code}


def _write(path: Path, run: Run) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda write: render_to(report_format(path), run, write))
    say(f"wrote {path}")
