"""What every command prints with: results on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 100
_UNSAFE = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]


def out() -> Console:
    """A console on stdout. Pass text as `rich.text.Text` or `markup=False`: outputs may hold markup.

    In a pipe it is 100 columns wide unless COLUMNS says otherwise, and writes `?` for what can't be encoded.
    """
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    fixed = not (sys.stdout.isatty() or os.environ.get("COLUMNS"))
    return Console(highlight=False, width=PIPE_WIDTH if fixed else None)


def err() -> Console:
    """A console on stderr, for notes and progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """`value` as JSON on stdout, indented; what a terminal would obey or can't encode is escaped."""
    utf8 = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, indent=2, ensure_ascii=not utf8, default=str)
    sys.stdout.write(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def say(text: str) -> None:
    """One plain line on stderr."""
    sys.stderr.write(text + "\n")
