"""`llmops init`: a project skeleton that runs at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmops.cli.terminal import say


def init(
    folder: Annotated[Path, typer.Argument(help="Where to put it.")] = Path(),
) -> None:
    """Write a prompt, a dataset and a suite to start from, without touching what is there."""
    from llmops.skeleton import write_skeleton

    written, kept = write_skeleton(folder)
    for path in written:
        say(f"wrote  {path}")
    for path in kept:
        say(f"kept   {path}")
    say(f"next: llmops eval {folder / 'evals' / 'first.yaml'}")
