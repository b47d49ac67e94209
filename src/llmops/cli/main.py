"""The `llmops` command: one file a command group, bodies that call the SDK."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from llmops.cli import cache, data, db, evaluate, init, reports, runs
from llmops.errors import EXIT_BACKEND_FAILED, LlmopsError

app = typer.Typer(
    name="llmops",
    help="Know whether a change to a prompt, a model or a retrieval pipeline made things better.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("init")(init.init)
app.command("eval")(evaluate.evaluate)
app.command("score")(evaluate.score)
app.command("report")(reports.report)
app.add_typer(runs.app, name="runs")
app.add_typer(data.app, name="data")
app.add_typer(cache.app, name="cache")
app.add_typer(db.app, name="db")


def _version(wanted: bool) -> None:
    if wanted:
        from llmops import __version__

        typer.echo(f"llmops {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if debug:
        os.environ["LLMOPS_DEBUG"] = "1"


def main() -> None:
    """Run the command line; an error is one line on stderr and its exit code."""
    try:
        app()
    except LlmopsError as error:
        if os.environ.get("LLMOPS_DEBUG"):
            raise
        sys.stderr.write(f"llmops: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `llmops … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if os.environ.get("LLMOPS_DEBUG"):
            raise
        sys.stderr.write(f"llmops: {error.filename or 'the system'}: {error.strerror or error}\n")
        sys.exit(EXIT_BACKEND_FAILED)
