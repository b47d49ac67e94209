"""`llmops cache info|why|clear`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmops.cli.terminal import AsJson, confirm, out, print_json, say
from llmops.errors import InputError

app = typer.Typer(no_args_is_help=True, help="The response cache: what it holds, and why a request missed it.")


@app.command()
def info(as_json: AsJson = False) -> None:
    """How many answers are kept, and where."""
    from llmops.caching import cache_info

    found = cache_info(Path.cwd())
    if as_json:
        print_json(found)
        return
    out().print(f"{found['answers']:,} answers, {found['bytes'] / 1e6:.1f} MB", markup=False)
    out().print(str(found["path"]), markup=False, soft_wrap=True)


@app.command()
def why(
    case: Annotated[str, typer.Argument(help="A case's id.", metavar="CASE")],
    suite: Annotated[Path, typer.Option(help="The suite that asks.", metavar="SUITE")],
    variant: Annotated[list[str] | None, typer.Option(help="Only this variant. Repeatable.", metavar="NAME")] = None,
    as_json: AsJson = False,
) -> None:
    """Whether each request of a case is in the cache and, if not, which field differs from one that is."""
    from llmops.caching import explain_case

    found = explain_case(suite, case, variants=tuple(variant or ()))
    if as_json:
        print_json({"case": case, "requests": found})
        return
    for entry in found:
        _print_entry(entry)


def _print_entry(entry: dict[str, Any]) -> None:
    from llmops.reports.plain import printable

    console = out()
    if entry["cached"]:
        console.print(f"{entry['variant']}: cached ({entry['key'][:12]})", markup=False)
    elif not entry["differences"]:
        console.print(f"{entry['variant']}: not cached; {entry['reason']}", markup=False)
    else:
        console.print(f"{entry['variant']}: not cached; differs from the answer kept {entry['kept']} in", markup=False)
        for difference in entry["differences"]:
            console.print(printable(f"  {difference['field']}", 200), markup=False)
            console.print(printable(f"    was  {difference['was']}", 400), markup=False, soft_wrap=True)
            console.print(printable(f"    is   {difference['now']}", 400), markup=False, soft_wrap=True)


@app.command()
def clear(
    older_than: Annotated[str, typer.Option(help="Only answers older than this: 12h, 30d.", metavar="AGE")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Forget kept answers."""
    from llmops.caching import clear_cache

    age = _seconds(older_than) if older_than else None
    if not yes:
        confirm("Forget kept answers? They will be paid for again", "forgetting kept answers")
    say(f"forgot {clear_cache(Path.cwd(), older_than_s=age):,} answers")


def _seconds(age: str) -> float:
    units = {"m": 60, "h": 3600, "d": 86400}
    if len(age) > 1 and age[:-1].isdigit() and age[-1] in units:
        return float(int(age[:-1]) * units[age[-1]])
    raise InputError(f"--older-than {age!r} isn't an age", hint="write 30m, 12h or 7d")
