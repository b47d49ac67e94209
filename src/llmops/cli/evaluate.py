"""`llmops eval`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from llmops.cli.finishing import Outputs, Store, finish, prints_on_stderr, say_judging, show
from llmops.cli.outputs import Reports, check_output
from llmops.cli.terminal import AsJson, print_json, say
from llmops.errors import InputError

if TYPE_CHECKING:
    from llmops.evaluation import Evaluation, RunOptions
    from llmops.runs import Run


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
        str | None, typer.Option(help="Only suites whose files changed since this git revision.", metavar="REF")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Also run each prompt as of this git revision or label: the baseline.", metavar="REF"),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Compare with a saved run: its id, latest, or an exported file.", metavar="RUN"),
    ] = None,
    early_stop: Annotated[
        bool, typer.Option("--early-stop/--no-early-stop", help="End a comparison when its answer is clear.")
    ] = True,
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
    max_cost: Annotated[str | None, typer.Option(help="Stop before spending more dollars.", metavar="DOLLARS")] = None,
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

    for flag, ref in (("--changed", changed), ("--against", against), ("--baseline", baseline)):
        if ref is not None and not ref.strip():
            raise InputError(f"{flag} names nothing", hint="is the variable that holds it empty?")
    narrowing = {
        "--only": only, "--sample": sample, "--variant": variant, "--changed": changed, "--against": against,
        "--baseline": baseline, "--no-early-stop": not early_stop,
    }  # fmt: skip
    narrowed = next((flag for flag, value in narrowing.items() if value), "")
    _check_flags(record, replay, cache, refresh, resume, run, retry_errors, narrowed)
    for path in output or ():
        check_output(path)
    selection = Selection(tuple(only or ()), sample, seed, tuple(variant or ()))
    from llmops.usage.money import parse_dollars

    most = None if max_cost is None else parse_dollars(max_cost, where="--max-cost")
    options = RunOptions(
        selection, store or None, cache, refresh, record, replay, max_requests, max_tokens, most, None, retry_errors
    )
    with prints_on_stderr():
        if resume:
            evaluations = _resumed(suites or [], options, run, set_ or [])
        else:
            chosen = _chosen(suites or [], changed or "", set_ or [])
            evaluations = _fresh(chosen, options, set_ or [], Compared(against or "", baseline or "", early_stop))
    if dry_run:
        _dry_run(evaluations, as_json)
        return
    reports = Reports(output or [], named=len(suites or []) > 1)
    reports.check_names([evaluation.suite.name for evaluation in evaluations])
    finish(_run_all(evaluations, reports, quiet=quiet or as_json, as_json=as_json), as_json)


def _check_flags(
    record: Path | None,
    replay: Path | None,
    cache: bool,
    refresh: bool,
    resume: bool,
    run: str,
    retry_errors: bool,
    narrowed: str,
) -> None:
    if record is not None and replay is not None:
        raise InputError("--record and --replay can't go together", hint="record first, then replay")
    if replay is not None and refresh:
        raise InputError("--refresh asks again, --replay never asks", hint="give one of them")
    if refresh and not cache:
        raise InputError("--refresh keeps new answers, --no-cache keeps none", hint="give one of them")
    if resume and narrowed:
        hint = f"leave out {narrowed}: a resumed run keeps its cases and what it is compared with"
        raise InputError(f"{narrowed} and --resume can't go together", hint=hint)
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
    return chosen


class Compared(NamedTuple):
    """What the suites' variants are compared with, and whether a clear answer ends the run."""

    against: str
    baseline: str
    early_stop: bool


def _fresh(suites: list[Path], options: RunOptions, overrides: list[str], compared: Compared) -> list[Evaluation]:
    from llmops import sdk
    from llmops.evals.suite import load_suite
    from llmops.evaluation import Evaluation

    loaded = [load_suite(path, overrides=overrides) for path in suites]
    prepared = [
        sdk.compared_with(suite, compared.against, compared.baseline, compared.early_stop, store=options.store)
        for suite in loaded
    ]
    for note in dict.fromkeys(note for _, notes in prepared for note in notes):
        say(note)
    return [Evaluation(suite, options) for suite, _ in prepared]


def _resumed(suites: list[Path], options: RunOptions, reference: str, overrides: list[str]) -> list[Evaluation]:
    from llmops.resuming import resumable

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


def _run_all(evaluations: list[Evaluation], reports: Reports, *, quiet: bool, as_json: bool) -> list[Run]:
    from llmops.cli.progress import describe, shown

    for evaluation in evaluations:  # all of them, before any is paid for
        evaluation.check_ready()
    runs = []
    for evaluation in evaluations:
        with shown(evaluation.counters, quiet=quiet), prints_on_stderr():
            finished = evaluation.run()
        if not quiet and not sys.stderr.isatty():
            say(f"{evaluation.suite.name}: {describe(evaluation.counters)}")
        runs.append(finished)
        if not as_json:
            show(finished, evaluation)
            say_judging(evaluation)
        reports.write(finished)
        if finished.record.status == "interrupted":
            break
    return runs
