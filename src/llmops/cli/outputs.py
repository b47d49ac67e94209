"""The report files that `--output` asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.cli.reports import BY_SUFFIX, render_to, write_atomically
from llmops.cli.terminal import say
from llmops.errors import InputError

if TYPE_CHECKING:
    from llmops.cli.reports import Shown
    from llmops.runs import Run


def report_format(path: Path) -> str:
    """The report a file's suffix stands for."""
    name = BY_SUFFIX.get(path.suffix.lower())
    if name is None:
        hint = f"end it in one of {', '.join(BY_SUFFIX)}"
        raise InputError(f"--output {path}: no report ends in {path.suffix or 'nothing'!r}", hint=hint)
    return name


def check_output(path: Path) -> None:
    """Raises `InputError` for a report that could not be written: better now than after a run was paid for."""
    report_format(path)
    folder = next(parent for parent in path.resolve().parents if parent.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"--output {path} can't be written", hint=f"look at the folder {folder}")


class Reports:
    """The files `--output` asked for; with several suites, each gets its own, named after it."""

    def __init__(self, paths: list[Path], *, named: bool) -> None:
        self.paths = paths
        self.named = named

    def check_names(self, suites: list[str]) -> None:
        """Raises `InputError` when the reports of two suites would be one file."""
        if self.paths and len(set(suites)) < len(suites):
            raise InputError(
                "two suites have one name, so their reports would be one file", hint="give one a name: key"
            )

    def write(self, run: Run) -> None:
        for path in self.paths:
            target = path.with_name(f"{path.stem}-{run.record.suite}{path.suffix}") if self.named else path
            write_report(target, run)


def write_report(path: Path, run: Shown) -> None:
    """One report file, whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda write: render_to(report_format(path), run, write))
    say(f"wrote {path}")
