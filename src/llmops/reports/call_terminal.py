"""Logged calls on a terminal: a row each, and one of them whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmops.reports.cost_terminal import print_table, say
from llmops.reports.cost_words import money
from llmops.reports.figures import MISSING, seconds
from llmops.types import Call, CallText
from llmops.usage.money import dollars

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_ID = 18  # a millisecond and 12 random bits: enough to find a call by
_HEADS = ("time (UTC)", "whose", "model", "outcome", "in", "out", "took", "cost", "id")
_SPARE = ("took", "whose", "in", "out", "time (UTC)")
_TOKENS = ("input", "cache_read", "cache_write", "output", "reasoning")


def print_calls(calls: Sequence[Call], console: Console) -> None:
    """A table of calls in the order given. `~` stands before what is estimated."""
    print_table(console, _HEADS, [_row(call) for call in calls], left=4, spare=_SPARE)


def _row(call: Call) -> list[str]:
    of, usage = call.attribution, call.usage
    whose = " · ".join(part for part in (of.purpose, of.team, of.feature) if part)
    unsure = "~" if usage.certainty == "estimated" else ""
    known = usage.certainty != "unknown"
    tokens = (f"{unsure}{count:,}" if known else MISSING for count in (usage.input_tokens, usage.output_tokens))
    return [
        _time(call)[:19], whose, call.model_served or call.model_asked or MISSING, _outcome(call), *tokens,
        seconds(call.duration_s), _cost(call), call.id[:SHOWN_ID],
    ]  # fmt: skip


def _time(call: Call) -> str:
    return datetime.fromtimestamp(call.started_at, UTC).isoformat(sep=" ", timespec="milliseconds")


def _outcome(call: Call) -> str:
    return f"{call.outcome}: {call.error}" if call.error not in ("", call.outcome) else call.outcome


def _cost(call: Call) -> str:
    if call.cost is not None:
        return f"{'' if call.cost.certainty == 'exact' else '~'}{dollars(call.cost.total)}"
    if call.outcome in ("pending", "unsent"):
        return MISSING
    return "unknown" if call.state == "unknown" else "unpriced"


def print_call(call: Call, text: CallText | None, console: Console) -> None:
    """Everything the log has of a call, with what was said in it where that was kept."""
    say(console, f"{call.id}  {_time(call)[:23]} UTC", style="bold")
    for name, value in _facts(call):
        if value:
            say(console, f"  {name}: {value}", whole=True)
    if text is None:
        say(console, "  text: not kept")
        return
    for message in text.messages:
        _said(console, str(message.get("role") or "message"), _parts(message))
    if text.answer:
        _said(console, "answer", [text.answer])


def _facts(call: Call) -> Iterator[tuple[str, str]]:
    of, cost, tokens = call.attribution, call.cost, call.usage
    asked = f" (asked for {call.model_asked})" if call.model_asked not in ("", call.model_served) else ""
    yield "model", f"{call.model_served}{asked}" if call.model_served else call.model_asked
    yield "server", " · ".join(part for part in (call.backend, call.provider, call.address, call.service_tier) if part)
    yield "outcome", ", ".join(part for part in (_outcome(call), call.finish_reason) if part)
    for name in ("purpose", "team", "feature", "user", "run", "suite", "variant", "prompt", "prompt_id"):
        yield name.replace("_", " "), str(getattr(of, name))
    yield "tags", ", ".join(f"{name}={value}" for name, value in of.tags)
    yield "fallback from", of.fallback_from
    yield "attempt", str(call.attempt) if call.attempt > 1 else ""
    counts = ((name, getattr(tokens, f"{name}_tokens")) for name in _TOKENS)
    counted = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts if count)
    yield "tokens", f"{tokens.certainty}{f', {counted}' if counted and tokens.certainty != 'unknown' else ''}"
    if cost is None:
        yield "cost", _cost(call)
    else:
        parts = ", ".join(
            f"{money(part)} {name.replace('_', ' ')}"
            for name in (*_TOKENS, "fees")
            if (part := int(getattr(cost, name)))
        )
        yield "cost", f"{dollars(cost.total)}, {cost.certainty}{f': {parts}' if parts else ''}"
        yield "price", " · ".join(part for part in (cost.source, cost.price, cost.revision[:12]) if part)
    yield "took", seconds(call.duration_s) if call.duration_s is not None else ""
    yield "first token", seconds(call.first_token_s) if call.first_token_s is not None else ""
    yield "guards", ", ".join(f"{name}: {said}" for name, said in call.guards)
    yield "response id", call.response_id


def _parts(message: Mapping[str, Any]) -> Iterator[str]:
    """The text of a message; what isn't text as its kind, tool calls by name and arguments."""
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, Mapping):
            yield str(part.get("text") or f"[{part.get('type') or 'part'}]")
        elif part is not None:
            yield str(part)
    tools = message.get("tool_calls")
    for called in tools if isinstance(tools, list) else ():
        function = called.get("function") if isinstance(called, Mapping) else None
        if isinstance(function, Mapping):
            yield f"[calls {function.get('name')}({function.get('arguments')})]"


def _said(console: Console, role: str, parts: Iterable[str]) -> None:
    console.print()
    say(console, f"{role}:", style="bold")
    for part in parts:
        say(console, part, whole=True)
