"""Writes docs/cli.md and docs/suite.schema.json from the code itself: `python -m llmops.cli.reference`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from llmops.cli.main import app

INTRODUCTION = """\
# Command line

Every command prints results on standard output and everything else on standard error, has `--json` where there is
something to read by machine, works without a terminal, and honours `NO_COLOR`. `llmops --debug COMMAND` shows a
traceback when something fails. `llmops --install-completion` sets up completion for your shell.

Exit codes: 0 pass, 1 a gate failed, 2 bad input or usage, 3 can't tell, 4 a backend or the store failed, 130
interrupted.

This page is made from the commands by `make docs`.
"""


def commands(command: Any, name: str = "llmops") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    children = getattr(command, "commands", None)
    if not children:
        yield name, command
        return
    for child, inner in children.items():
        yield from commands(inner, f"{name} {child}")


def reference() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for name, command in commands(typer.main.get_command(app)):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts]
        usage = " ".join([name, *(a.metavar or a.name.upper() for a in arguments), *(["[OPTIONS]"] if options else [])])
        parts.append(f"## `{name}`\n\n    {usage}\n\n{(command.help or '').strip()}\n")
        if arguments or options:
            parts.append("| option | meaning |\n|---|---|\n" + "".join(_row(p) for p in (*arguments, *options)))
    return "\n".join(parts)


def _row(parameter: Any) -> str:
    names = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar or parameter.name.upper()]
    flags = ", ".join(f"`{name}`" for name in (*names, *parameter.secondary_opts))
    metavar = parameter.metavar if parameter.param_type_name == "option" and parameter.metavar else ""
    meaning = (parameter.help or "").replace("|", "\\|")
    default = parameter.default
    if default not in (None, "", False, [], ()) and not callable(default) and not parameter.secondary_opts:
        meaning += f" Default: `{default}`."
    return f"| {flags}{f' `{metavar}`' if metavar else ''} | {meaning} |\n".replace("PATH|URL", "PATH\\|URL")


def schema() -> str:
    """The JSON Schema of suite files, as text."""
    from llmops.evals.suite_schema import json_schema

    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for target, text in ((Path("docs/cli.md"), reference()), (Path("docs/suite.schema.json"), schema())):
        target.write_text(text, "utf-8")
        sys.stdout.write(f"wrote {target}\n")
