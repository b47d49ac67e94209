"""`llmops report`: a saved run again, in any format."""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from llmops.cli.terminal import AsJson, out, say
from llmops.errors import InputError, LlmopsError, StoreError

if TYPE_CHECKING:
    from llmops.types import Results, RunRecord

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
        str, typer.Argument(help="A run's id or the start of it, latest, or an exported run file.", metavar="RUN")
    ] = "latest",
    as_format: Annotated[
        str | None,
        typer.Option("--as", metavar="FORMAT", help="terminal, markdown, html, json, junit, csv or github."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to a file; its suffix can say the format.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="The store to read: a file or a database URL.", metavar="PATH|URL")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a saved run again: on the terminal, for a pull request, as a page, or for machines."""
    from llmops.registry import resolve

    name = _format(as_format, to, as_json)
    resolve("reports", name)  # a wrong name is told before the store is opened
    if name == "html" and to is None and sys.stdout.isatty():
        raise InputError("an HTML report isn't for a terminal", hint="add --to report.html")
    if to is not None:
        _check_place(to)

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
            sys.stdout.reconfigure(errors="backslashreplace", newline="")  # rows of CSV bring their own line ends
        render_to(name, opened, sys.stdout.write)


def write_atomically(path: Path, fill: Callable[[Callable[[str], object]], None]) -> None:
    """Write a UTF-8 file so that it is either whole or not there; `fill` gets a function that takes text.

    A device or pipe, such as /dev/stdout, is written to as it is. Raises `InputError` for a place that can't be
    written to, `StoreError` when the disk is full or fails.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as device:
                fill(device.write)
        else:
            _replace(path.resolve(), fill)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable(error, path) from error


def _replace(path: Path, fill: Callable[[Callable[[str], object]], None]) -> None:
    handle, part = tempfile.mkstemp(prefix=".llmops-", suffix=".part", dir=path.parent)
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


def _check_place(path: Path) -> None:
    try:
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as error:
        raise _unwritable(error, path) from None
    if is_folder or not has_folder:
        why = "is a folder" if is_folder else f"there is no folder {path.parent}"
        raise InputError(f"can't write {path}: {why}", hint="name a file in a folder that exists")


def _unwritable(error: OSError, path: Path) -> LlmopsError:
    reason = (error.strerror or type(error).__name__).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return StoreError(
            f"can't write {path}: {reason}", hint="nothing was changed; make room, or choose another disk"
        )
    return InputError(f"can't write {path}: {reason}", hint="name a file in a folder you may write to")


def _format(as_format: str | None, to: Path | None, as_json: bool) -> str:
    """The format asked for, by option or suffix. Raises `InputError` when they disagree or the suffix says nothing."""
    if as_json and as_format not in (None, "json"):
        raise InputError(f"--json and --as {as_format} ask for different formats", hint="drop one")
    asked = "json" if as_json else as_format
    if to is None:
        return asked or "terminal"
    by_suffix = BY_SUFFIX.get(to.suffix.lower())
    if asked is None and by_suffix is None:
        hint = f"end it in one of {', '.join(BY_SUFFIX)}, or add --as FORMAT"
        raise InputError(f"--to {to}: no report ends in {to.suffix or 'nothing'!r}", hint=hint)
    if asked in BY_SUFFIX.values() and by_suffix not in (None, asked):
        option = "--json" if as_json else f"--as {asked}"
        raise InputError(
            f"{option} and --to {to} ask for different formats", hint="drop the option, or end it otherwise"
        )
    return asked or str(by_suffix)


class Shown(Protocol):
    """What a report is made of: a run, or a comparison of two."""

    @property
    def record(self) -> RunRecord: ...

    @property
    def results(self) -> Results: ...


def render_to(name: str, run: Shown, write: Callable[[str], object]) -> None:
    from llmops.reports.rendering import render

    render(name, run.record, run.results, write=write)
