"""`llmops report`: a saved run again, in any format."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops.cli.terminal import AsJson, out, say
from llmops.errors import InputError

if TYPE_CHECKING:
    from llmops.runs import Run

BY_SUFFIX = {
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".json": "json",
    ".xml": "junit",
    ".csv": "csv",
    ".txt": "terminal",
}


def report(
    run: Annotated[
        str, typer.Argument(help="A run's id or the start of it, latest, or an exported run file.")
    ] = "latest",
    as_format: Annotated[
        str | None,
        typer.Option("--as", metavar="FORMAT", help="terminal, markdown, html, json, junit or csv."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to a file; its suffix can say the format.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="The store to read: a file or a database URL.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a saved run again: on the terminal, for a pull request, as a page, or for machines."""
    from llmops.registry import resolve

    name = _format(as_format, to, as_json)
    resolve("reports", name)  # a wrong name is told before the store is opened
    if name == "html" and to is None and sys.stdout.isatty():
        raise InputError("an HTML report isn't for a terminal", hint="add --to report.html")
    if to is not None and (to.is_dir() or not to.parent.is_dir()):
        why = "is a folder" if to.is_dir() else f"there is no folder {to.parent}"
        raise InputError(f"can't write {to}: {why}", hint="name a file in a folder that exists")

    from llmops.sdk import open_run

    opened = open_run(run, store=store)
    if to is not None:
        write_atomically(to, lambda write: render_to(name, opened, write))
        say(f"wrote {to}")
    elif name == "terminal":
        from llmops.reports.terminal import print_report

        print_report(opened.record, opened.results, out())
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace", newline="")
        render_to(name, opened, sys.stdout.write)


def write_atomically(path: Path, fill: Callable[[Callable[[str], object]], None]) -> None:
    """Write a UTF-8 file so that it is either whole or not there; `fill` gets a function that takes text.

    A device or pipe, such as /dev/stdout, is written to as it is.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as device:
            fill(device.write)
        return
    path = path.resolve()
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            fill(file.write)
        mask = os.umask(0)
        os.umask(mask)
        Path(part).chmod(0o666 & ~mask)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _format(as_format: str | None, to: Path | None, as_json: bool) -> str:
    if as_json:
        if as_format not in (None, "json"):
            raise InputError(f"--json and --as {as_format} ask for different formats", hint="drop one")
        return "json"
    if as_format is not None:
        return as_format
    return BY_SUFFIX.get(to.suffix.lower(), "terminal") if to is not None else "terminal"


def render_to(name: str, run: Run, write: Callable[[str], object]) -> None:
    from llmops.reports.rendering import render

    render(name, run.record, run.results, write=write)
