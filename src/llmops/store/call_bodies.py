"""A call that has not ended as a row of `open_calls`, and what is held for it and what was said as text, and back."""

from __future__ import annotations

import json
import math
from dataclasses import astuple, replace
from typing import Any

from llmops.store.call_rows import Row, attribution_of, clamp, id_of, key_time
from llmops.store.encoding import plain_text
from llmops.types import Call, CallText, Cost, Hold, Usage

_encode = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode
_NO_USAGE = Call("", 0).usage
OPEN_COLUMNS = (*("id", "started_at", "group_key", "user_key", "owner_key", "attempt", "stream", "rest", "holds"),)


def open_row(call: Call, key: bytes, group: int, user: int, owner: int, holds: tuple[Hold, ...]) -> Row:
    """The columns of `open_calls`, in the order of `OPEN_COLUMNS`."""
    started = call.started_at
    return (
        *(key, started if math.isfinite(started) else key_time(key), group, user, owner),
        *(clamp(call.attempt), int(call.stream), _rest(call), holds_text(holds)),
    )


def open_call(row: Any) -> Call:
    """The call in a row that has the columns of `open_calls`, of its group, and its user's name."""
    call = Call(
        id_of(row.id),
        row.started_at,
        backend=plain_text(row.backend),
        provider=plain_text(row.provider),
        address=plain_text(row.address),
        model_asked=plain_text(row.model_asked),
        model_served=plain_text(row.model_served),
        attribution=attribution_of(row),
        attempt=row.attempt,
        stream=bool(row.stream),
    )
    if row.rest is None:
        return call
    more: dict[str, Any] = json.loads(row.rest)
    usage, cost = Usage(*more.pop("usage")), more.pop("cost")
    guards = tuple((name, said) for name, said in more.pop("guards"))
    return replace(call, **more, usage=usage, cost=None if cost is None else Cost(*cost), guards=guards)


def _rest(call: Call) -> str | None:
    """What few calls have before they end."""
    if (
        call.outcome == "pending"
        and call.state == "pending"
        and call.cost is None
        and call.first_token_s is None
        and call.duration_s is None
        and not (call.finish_reason or call.response_id or call.service_tier or call.error or call.guards)
        and (call.usage is _NO_USAGE or call.usage == _NO_USAGE)
    ):
        return None
    names = ("outcome", "state", "first_token_s", "duration_s", "finish_reason", "response_id", "service_tier", "error")
    more: dict[str, Any] = {name: getattr(call, name) for name in names}
    cost = None if call.cost is None else astuple(call.cost)
    return _encode({**more, "usage": astuple(call.usage), "cost": cost, "guards": call.guards})


def holds_text(holds: tuple[Hold, ...]) -> str | None:
    """The holds as text, None for none."""
    return _encode([(h.window, h.unit, h.limit, h.amount, h.hard) for h in holds]) if holds else None


def holds_in(text: str | None) -> tuple[Hold, ...]:
    """The holds that `holds_text` was given."""
    return () if text is None else tuple(Hold(*values) for values in json.loads(text))


def text_body(text: CallText) -> Any:
    """What was said, as plain data."""
    return {"messages": text.messages, "answer": text.answer}


def text_in(data: Any) -> CallText:
    """What was said, from plain data."""
    return CallText(tuple(data["messages"]), data["answer"])
