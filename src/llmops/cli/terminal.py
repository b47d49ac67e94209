"""What every command prints with: results on stdout, everything else on stderr."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from llmops.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 100
PLAIN = "llmops-plain"
_UNSAFE = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BLANKS = re.compile("[ \t]+(?=\n)")
_SIMPLER = {
    "→": "->",
    "✓": "+", "✗": "x", "↑": "^", "↓": "v", "·": "-", "–": "-", "—": "-", "─": "-", "━": "-", "…": "...", "×": "x",
    "−": "-", "±": "+-", "¦": "|", "\u00a0": " ", "‘": "'", "’": "'", "“": '"', "”": '"', "\u200c": "", "\u200d": "",
}  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """What stands for text the output's encoding lacks: a sign of the same meaning, else `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SIMPLER.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


codecs.register_error(PLAIN, _plainer)


class _Trimmed:
    """Passes text on without the blanks at the ends of lines that tables are padded with."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._held = ""

    @property
    def encoding(self) -> str:
        return self._file.encoding or "utf-8"

    def write(self, text: str) -> int:
        whole = _BLANKS.sub("", self._held + text)
        kept = whole.rstrip(" \t")
        self._held = whole[len(kept) :]
        self._file.write(kept)
        return len(text)

    def flush(self) -> None:
        self._file.flush()


def out() -> Console:
    """A console on stdout. Pass text as `rich.text.Text` or `markup=False`: outputs may hold markup.

    In a pipe it is 100 columns wide unless COLUMNS says otherwise, and no line ends in blanks. What the encoding
    lacks is written as a similar sign, or `?`.
    """
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=PLAIN)
    if sys.stdout.isatty():
        return Console(highlight=False)
    width = None if os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(highlight=False, width=width, file=cast("TextIO", _Trimmed(sys.stdout)))


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
    """One plain line on stderr; what a terminal would obey is escaped."""
    sys.stderr.write(harmless(text) + "\n")


def harmless(text: str) -> str:
    """One line of text in which names from files can't drive a terminal."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", " ".join(text.split("\n")))


def confirm(question: str, what: str) -> None:
    """Ask before `what` is done; leaves the command on a no.

    Raises `InputError` when there is no terminal to ask at.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError(f"{what} needs --yes when nobody can be asked")
    typer.confirm(question, abort=True)
