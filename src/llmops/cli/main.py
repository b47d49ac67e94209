"""The `llmops` command: one file a command group, bodies that call the SDK."""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated, Any, NoReturn

import typer

from llmops.cli import (
    backends,
    bisect,
    cache,
    ci,
    compare,
    cost,
    data,
    db,
    evaluate,
    init,
    judge,
    plan,
    prompt,
    prompt_check,
    prompt_release,
    prompt_render,
    reports,
    runs,
    score,
)
from llmops.cli.terminal import harmless
from llmops.errors import EXIT_BACKEND_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED, LlmopsError

EXIT_PIPE_CLOSED = 141
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for some takes Typer's pydantic a while
app = typer.Typer(
    name="llmops",
    help="Know whether a change to a prompt, a model or a retrieval pipeline made things better.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
prompts = typer.Typer(
    no_args_is_help=True, help="Prompts as files: look, compare, release, promote, check, import, export."
)
prompts.command("ls")(prompt.list_prompts)
prompts.command("show")(prompt.show)
prompts.command("render")(prompt_render.render)
prompts.command("diff")(prompt.diff)
prompts.command("log")(prompt.log)
prompts.command("check")(prompt_check.check)
prompts.command("release")(prompt_release.release)
prompts.command("promote")(prompt_release.promote)
prompts.command("rollback")(prompt_release.rollback)
prompts.command("route")(prompt_release.route)
prompts.command("types")(prompt_check.types)
prompts.command("import")(prompt_check.import_prompts)
prompts.command("export")(prompt_check.export)
app.command("init")(init.init)
app.command("eval")(evaluate.evaluate)
app.command("score")(score.score)
app.command("compare")(compare.compare)
app.command("bisect")(bisect.bisect)
app.command("report")(reports.report)
app.command("plan")(plan.plan)
app.add_typer(runs.app, name="runs")
app.add_typer(prompts, name="prompt")
app.add_typer(data.app, name="data")
app.add_typer(judge.app, name="judge")
app.add_typer(cache.app, name="cache")
app.add_typer(cost.app, name="cost")
app.add_typer(backends.app, name="backends")
app.add_typer(db.app, name="db")
app.add_typer(ci.app, name="ci")


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


def main() -> NoReturn:
    """Run the command line; an error is one line on stderr and its exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as with `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
    _leave(_run())


def _run() -> int:
    try:
        code: Any = app(standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as ended:
        # `llmops … | head`: Typer wraps the closed pipe and exits with 1, which here would mean a failed gate
        closed = type(sys.stdout).__name__ == "PacifyFlushWrapper" or isinstance(ended.__context__, BrokenPipeError)
        return EXIT_PIPE_CLOSED if closed else ended.code if isinstance(ended.code, int) else 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_PIPE_CLOSED
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        if os.environ.get("LLMOPS_DEBUG"):
            raise
        return _explain(error)


def _explain(error: Exception) -> int:
    """Say an expected error in one line; anything else is a defect of ours and keeps its traceback."""
    if isinstance(error, LlmopsError):
        return _say(str(error), error.exit_code)
    usage = getattr(error, "format_message", None)  # the command line's own errors
    if usage is not None:
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(usage())
            return EXIT_BAD_INPUT
        command = context.command_path if context is not None else "llmops"
        return _say(f"{usage().rstrip('.')}; see {command} --help", EXIT_BAD_INPUT)
    if isinstance(error, OSError):
        return _say(f"{error.filename or 'writing the output'}: {error.strerror or error}", EXIT_BACKEND_FAILED)
    import traceback

    traceback.print_exception(error)
    return _say("this is a defect of llmops; please report it with the lines above", EXIT_BACKEND_FAILED)


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"llmops: {harmless(' '.join(message.split()))}\n")
    return code


def _leave(code: int) -> NoReturn:
    """Exit, without waiting for a thread that is still inside a user's pipeline or for what can't be flushed."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        os._exit(code)
    if any(thread.name.startswith("llmops-pipeline") for thread in threading.enumerate()):
        os._exit(code)  # daemon threads that run while the interpreter ends may crash it
    sys.exit(code)
