"""`llmops backends ls|check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from llmops.cli.terminal import AsJson, out, print_json, say
from llmops.errors import EXIT_BACKEND_FAILED, InputError, LlmopsError

if TYPE_CHECKING:
    from rich.console import Console

    from llmops.backend_checks import Checked, Finding, Latency

app = typer.Typer(no_args_is_help=True, help="The model servers of llmops.yaml: what there is, and what they can do.")

MARKS = {"yes": "✓", "no": "✗", "unknown": "?"}
NONE = "llmops.yaml names no backends"
HINT = "write backends: {local: {openai_http: {base_url: …, model: …}}}, or give an address"


@app.command("ls")
def list_all(as_json: AsJson = False) -> None:
    """List the backends that llmops.yaml names, and whether their keys are set. Asks no server."""
    from llmops.backend_checks import list_backends
    from llmops.config import load_config

    found = list_backends(load_config())
    if as_json:
        print_json({"backends": [one.as_json() for one in found]})
        return
    if not found:
        say(f"{NONE}; {HINT}")
        return
    rows = [
        (one.name, one.kind, one.address or "-", one.model or "-", _key(one.key_variable, one.key_is_set))
        for one in found
    ]
    _print_rows((("backend", "kind", "address", "model", "key"), *rows))


def _key(variable: str, is_set: bool | None) -> str:
    if is_set is None:
        return "-"
    return f"${variable}" if is_set else f"${variable} isn't set"


def _print_rows(rows: Sequence[Sequence[str]]) -> None:
    from llmops.reports.plain import printable

    clean = [[printable(cell, 120, one_line=True) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in clean) for i in range(len(rows[0]))]
    console = out()
    for row in clean:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print(line.rstrip(), markup=False, soft_wrap=True)


def _complete(incomplete: str) -> list[str]:
    """Names of backends for the shell's completion."""
    from llmops.config import load_config

    try:
        return [name for name in load_config().backends if name.startswith(incomplete)]
    except (LlmopsError, OSError):
        return []


@app.command()
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names from llmops.yaml, or addresses. Default: all that are named.",
            metavar="NAME",
            autocompletion=_complete,
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Ask servers what they can do: models, streams, token counts, JSON schemas, tools, log-probabilities, speed.

    Each is sent at most six small requests, which may be billed and are in the call log.

    Exit codes: 0 all answer, 2 bad input, 4 one can't be reached, lacks its key or doesn't answer.
    """
    from llmops.backend_checks import check_backends
    from llmops.config import load_config, store_location

    config = load_config()
    if not names and not config.backends:
        raise InputError(NONE, hint=HINT)
    found = check_backends(config, names or (), store=store_location(), timeout_s=timeout)
    if as_json:
        print_json({"backends": [one.as_json() for one in found]})
    else:
        for one in found:
            _print_checked(out(), one)
    if not all(one.works for one in found):
        raise typer.Exit(EXIT_BACKEND_FAILED)


def _print_checked(console: Console, one: Checked) -> None:
    from llmops.reports.plain import printable

    head = " · ".join(part for part in (one.named.name, one.named.kind, one.named.address, one.named.model) if part)
    console.print(printable(head, 300, one_line=True), markup=False, soft_wrap=True)
    for finding in one.findings:
        label = finding.ability.replace("_", " ").replace("json schema", "JSON schema")
        detail = printable(_detail(finding, one), 300, one_line=True)
        console.print(f"  {MARKS[finding.outcome]} {label:<17} {detail}".rstrip(), markup=False, soft_wrap=True)
    requests = "1 request" if one.requests == 1 else f"{one.requests} requests"
    tokens = f", {one.usage.total_tokens:,} tokens" if one.requests else ""
    console.print(f"  {requests} sent{tokens}", markup=False)


def _detail(finding: Finding, one: Checked) -> str:
    if finding.ability == "model" and one.models and finding.outcome != "yes":
        return f"{finding.detail}: {', '.join(one.models[:8])}{' …' if len(one.models) > 8 else ''}"
    if finding.outcome != "yes":
        return finding.detail
    measured = {"reachable": _connected, "answers": _answered, "streams": _streamed}.get(finding.ability)
    text = measured(one.latency) if measured is not None else ""
    return "; ".join(part for part in (finding.detail, text) if part)


def _connected(latency: Latency) -> str:
    return "" if latency.connect_s is None else f"connected in {_seconds(latency.connect_s)}"


def _answered(latency: Latency) -> str:
    return "" if latency.total_s is None else f"in {_seconds(latency.total_s)}"


def _streamed(latency: Latency) -> str:
    if latency.first_token_s is None:
        return ""
    speed = "" if latency.tokens_per_s is None else f", then {latency.tokens_per_s:,.0f} tokens/s"
    return f"first token after {_seconds(latency.first_token_s)}{speed}"


def _seconds(value: float) -> str:
    return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.1f} s"
