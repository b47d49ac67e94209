"""`llmops prompt release|promote|rollback|route`: versions and labels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.prompt import Name, store
from llmops.cli.terminal import AsJson, harmless, print_json, say
from llmops.errors import InputError, LlmopsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmops.promotion import Move
    from llmops.runs import Run

By = Annotated[str, typer.Option(help="Who moves it; by default git's user name.", metavar="NAME")]
Reason = Annotated[str, typer.Option(help="Why, for the label's line.", metavar="TEXT")]
Runs = Annotated[str, typer.Option(help="Where runs are kept: a SQLite file or a PostgreSQL URL.", metavar="PATH|URL")]


def release(
    names: Annotated[list[str] | None, typer.Argument(help="Prompts and skills.", metavar="NAME...")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every prompt and skill that has changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Freeze working prompts as their next version. Unchanged ones stay as they are."""
    from llmops.prompts.releasing import releasable, release_one

    found = store()
    if bool(names) == everything:
        raise InputError("which prompts?", hint="llmops prompt release NAME, or --all")
    rows: list[dict[str, Any]] = []
    failed: list[LlmopsError] = []
    for name in releasable(found) if everything else names or []:
        try:
            made, new = release_one(found, name)
        except InputError as error:
            if not everything and len(names or []) == 1:
                raise
            failed.append(error)
            continue
        rows.append({"name": name, "version": made.version, "released": new, "content_id": made.content_id})
    if as_json:
        print_json({"releases": rows, "failed": [str(error) for error in failed]})
    else:
        _print_releases(rows, quiet=everything)
    for problem in failed:
        say(str(problem))
    if failed:
        raise typer.Exit(failed[0].exit_code)


def echo(line: str) -> None:
    typer.echo(harmless(line))


def _print_releases(rows: list[dict[str, Any]], *, quiet: bool) -> None:
    for row in rows:
        if row["released"]:
            echo(f"{row['name']}: released version {row['version']} (content {row['content_id'][:12]})")
        elif not quiet:
            echo(f"{row['name']}: nothing that decides a request changed since version {row['version']}")
    unchanged = sum(not row["released"] for row in rows)
    if quiet:
        echo(f"{len(rows) - unchanged} released, {unchanged} unchanged")


def promote(
    name: Name,
    to: Annotated[str, typer.Option("--to", help="The label to move, such as production.", metavar="LABEL")],
    version: Annotated[int | None, typer.Option(help="Which version; the newest by default.", metavar="N")] = None,
    run: Annotated[str, typer.Option(help="The run that justifies it: an id or an exported file.", metavar="RUN")] = "",
    by: By = "",
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="Even if a caller of the label breaks.")] = False,
    runs: Annotated[
        str, typer.Option("--store", help="Where runs are kept: a SQLite file or a PostgreSQL URL.", metavar="PATH|URL")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Point a label at a version, and write down who, when, and the run that justifies it.

    Labels under require_evidence in llmops.yaml move only with a run that passed and compared exactly this content
    with exactly what the label holds. Without --run, the newest saved run that does is taken.
    """
    from llmops.config import load_config
    from llmops.promotion import Promoter

    config = load_config()
    promoter = Promoter(config, by)
    name, version = _with_version(name, version)
    chosen = _run(run, runs) if run else None
    if chosen is None and promoter.needs_evidence(name, to, version):
        chosen = promoter.search(_saved(runs), name, to, version)
    _print_move(promoter.promote(name, to, version, chosen, reason, force=force), as_json)


def _run(reference: str, location: str) -> Run:
    from llmops import sdk

    return sdk.open_run(reference, store=location or None)


def _with_version(name: str, version: int | None) -> tuple[str, int | None]:
    """`docs/answer@2` is version 2 of `docs/answer`."""
    from llmops.prompts.references import parse_reference

    wanted = parse_reference(name)
    if not wanted.version and not wanted.revision:
        return name, version
    if wanted.number is None or wanted.revision or version not in (None, wanted.number):
        raise InputError(f"{name!r:.80}: which version?", hint="write the name, and --version N")
    return wanted.name, wanted.number


def _saved(location: str) -> Iterator[Run]:
    """Saved runs, newest first."""
    from llmops import sdk

    for record in sdk.list_runs(limit=1000, store=location or None):
        yield sdk.open_run(record.id, store=location or None)


def rollback(
    name: Name,
    label: Annotated[str, typer.Option("--label", help="Which label.", metavar="LABEL")] = "production",
    by: By = "",
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Point a label back at the version it held before."""
    from llmops.config import load_config
    from llmops.promotion import Promoter

    _print_move(Promoter(load_config(), by).rollback(name, label, reason), as_json)


def route(
    name: Name,
    shares: Annotated[
        list[str], typer.Argument(help="Percent of traffic by label or version.", metavar="LABEL=PERCENT...")
    ],
    to: Annotated[str, typer.Option("--to", help="The label that becomes the route.", metavar="LABEL")],
    by: By = "",
    force: Annotated[bool, typer.Option("--force", help="Even if a caller of the label breaks.")] = False,
    as_json: AsJson = False,
) -> None:
    """Share a label's traffic between versions: one key always gets the same one."""
    from llmops.config import load_config
    from llmops.promotion import Promoter

    parsed: dict[str, float] = {}
    for text in shares:
        target, equals, share = text.partition("=")
        try:
            number = float(share.removesuffix("%"))
        except ValueError:
            number = math.nan
        if not equals or not target or not 0 <= number <= 100:
            raise InputError(f"{text!r:.60} is no LABEL=PERCENT", hint="such as production=90 staging=10")
        if target in parsed:
            raise InputError(f"{target!r:.60} is given twice", hint="give each label or version one share")
        parsed[target] = int(number) if number == int(number) else number
    _print_move(Promoter(load_config(), by).route(name, to, parsed, force=force), as_json)


def _print_move(move: Move, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "prompt": move.prompt, "label": move.label, "old": move.old, "new": move.new, "changed": move.changed,
                **move.facts, "notes": list(move.notes),
            }
        )  # fmt: skip
        return
    if not move.changed:
        echo(f"{move.prompt}: {move.label} holds version {move.new} already")
    elif move.new is None:
        shares = ", ".join(f"{target} {share:g} %" for target, share in move.facts["route"].items())
        echo(f"{move.prompt}: {move.label} → {shares}")
    else:
        came = f" (was {move.old})" if move.old else ""
        proof = f", run {move.facts['run']}: {move.facts['verdict']}" if "run" in move.facts else ""
        echo(f"{move.prompt}: {move.label} → version {move.new}{came}{proof}")
    for note in move.notes:
        say(note)
