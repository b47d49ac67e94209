"""A call as a row of `calls`, and back. What calls share is taken out of it: its group, its ending and its user."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llmops.errors import InputError, StoreError
from llmops.store.encoding import dumps, loads, plain_text, safe_text
from llmops.types import Attribution, Call, Cost, Usage

TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
PARTS = ("cost_input", "cost_cache_read", "cost_cache_write", "cost_output", "cost_reasoning", "cost_fees")
COLUMNS = (
    *("id", "started_at", "skewed", "group_key", "ending_key", "user_key"),
    *TOKENS,
    "cost",
    *PARTS,
    *("first_token_s", "duration_s", "response_id", "more"),
)
ATTRIBUTED = ("purpose", "run", "suite", "variant", "prompt", "prompt_id", "team", "feature", "tags", "fallback_from")
GROUP = (*("backend", "provider", "address", "model_asked", "model_served"), *ATTRIBUTED, "prompt_name")
ENDING = (
    *("outcome", "state", "tokens", "certainty", "source", "price", "revision", "finish_reason", "service_tier"),
    *("error", "guards", "attempt", "stream", "lacks_price", "requests", "unpriced", "estimated_cost", "usage_cost"),
)
SKEW_S = 3600.0
LARGEST = 2**48  # counts beyond this are no counts, and sums of many would leave 63 bits: such calls are never exact
_NO_COST = Cost(0, certainty="unpriced")
_OWN_COST, _OTHER_COST = 1, 2
_RARE = ("cache_write_1h_tokens", "audio_input_tokens", "audio_output_tokens", "images")
Row = tuple[Any, ...]


def key_of(call_id: str) -> bytes:
    """The 16 bytes of a call's id. Raises `StoreError` when it isn't a UUID."""
    try:
        key = bytes.fromhex(call_id.replace("-", ""))
    except (ValueError, AttributeError, TypeError):
        key = b""
    if len(key) != 16:
        raise StoreError(f"{call_id!r:.60} is no id of a call", hint="llmops.identity.new_id() makes them")
    return key


def key_range(begun: str) -> tuple[bytes, bytes]:
    """The first and the last of the keys whose ids begin so. Raises `InputError` for what no id begins with."""
    digits = begun.strip().replace("-", "").lower()
    if not 0 < len(digits) <= 32 or not all(digit in "0123456789abcdef" for digit in digits):
        raise InputError(f"{begun!r:.60} is no id of a call", hint="llmops cost calls shows them")
    return bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))


def id_of(key: bytes | str) -> str:
    """The id that a database gave: bytes from SQLite, text from PostgreSQL."""
    text = key if isinstance(key, str) else key.hex()
    if len(text) == 36:
        return text
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first_key(at: float) -> bytes:
    """The smallest id that can have been made at a Unix time."""
    return min(max(int(at * 1000), 0), 2**48 - 1).to_bytes(6, "big") + bytes(10)


def key_time(key: bytes) -> float:
    """When an id was made: a Unix time."""
    return int.from_bytes(key[:6], "big") / 1000


def group_of(call: Call) -> Row:
    """What was asked and for whom, to be kept once; `group_values` gives its columns."""
    a = call.attribution
    return (
        *(call.backend, call.provider, call.address, call.model_asked, call.model_served),
        *(a.purpose, a.run, a.suite, a.variant, a.prompt, a.prompt_id, a.team, a.feature, a.tags, a.fallback_from),
    )


def group_values(group: Row) -> Row:
    """The columns of `call_groups`, in the order of `GROUP`."""
    texts = [safe_text(text) if isinstance(text, str) else dumps(text) for text in group]
    name, at, _ = group[9].rpartition("@")
    return (*texts, safe_text(name if at else group[9]))


def ending_of(call: Call) -> Row:
    """How a call ended and whose price it has, to be kept once; `ending_values` gives its columns."""
    usage, cost = call.usage, call.cost
    paid = _NO_COST if cost is None else cost
    tokens, state, certainty = usage.certainty, call.state, "" if cost is None else paid.certainty
    uncountable = max(_tokens(usage)) > LARGEST  # what is written is less than was said
    if uncountable:
        tokens, state = "unknown", "unknown"
    doubtful = cost is not None and (uncountable or max(_money(cost)) > LARGEST)
    if doubtful:
        certainty = "estimated"
    own = 0 if usage.cost is None else _OWN_COST if cost is not None and usage.cost == cost.total else _OTHER_COST
    return (
        *(call.outcome, state, tokens, certainty),
        *(paid.source, paid.price, paid.revision, call.finish_reason, call.service_tier, call.error, call.guards),
        *(call.attempt, call.stream, cost is None and lacks_price(call)),
        *(usage.requests, usage.unpriced, usage.estimated_cost or doubtful, own),
    )


def ending_values(ending: Row) -> Row:
    """The columns of `call_endings`, in the order of `ENDING`."""
    return (*map(safe_text, ending[:10]), dumps(ending[10]), *(clamp(int(number)) for number in ending[11:]))


def lacks_price(call: Call) -> bool:
    """True for a call without a cost that costs something, or may: not when it was refused before any token."""
    if call.outcome in ("unsent", "pending"):
        return False
    usage = call.usage
    nothing = usage.certainty == "exact" and not usage.total_tokens and not usage.images
    return not (nothing and call.outcome == "error")


def clamp(number: int) -> int:
    """The number, or the largest one that is counted."""
    return number if -LARGEST <= number <= LARGEST else LARGEST if number > 0 else -LARGEST


def row_of(call: Call, key: bytes, group: int, ending: int, user: int) -> Row:
    """The columns of `calls`, in the order of `COLUMNS`."""
    usage, cost = call.usage, call.cost
    made_at, started = key_time(key), call.started_at
    if not math.isfinite(started):
        started = made_at
    money: Row = (None, 0, 0, 0, 0, 0, 0)
    if cost is not None:
        money = _money(cost)
    tokens: Row = _tokens(usage)
    if max(tokens) > LARGEST or (cost is not None and max(money) > LARGEST):
        tokens, money = tuple(map(clamp, tokens)), tuple(n if n is None else clamp(n) for n in money)
    return (
        *(key, started, 1 if abs(started - made_at) > SKEW_S else 0, group, ending, user),
        *tokens,
        *money,
        *(_finite(call.first_token_s), _finite(call.duration_s), safe_text(call.response_id), _more(call)),
    )


def _tokens(usage: Usage) -> tuple[int, ...]:
    return (
        *(usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens),
        *(usage.output_tokens, usage.reasoning_tokens),
    )


def _money(cost: Cost) -> tuple[int, ...]:
    return (
        *(cost.total, cost.input, cost.cache_read, cost.cache_write),
        *(cost.output, cost.reasoning, cost.fees),
    )


def _finite(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else seconds


def _more(call: Call) -> str | None:
    usage = call.usage
    if not (usage.cache_write_1h_tokens or usage.audio_input_tokens or usage.audio_output_tokens or usage.images) and (
        usage.cost is None or (call.cost is not None and usage.cost == call.cost.total)
    ):
        return None
    more = {name: getattr(usage, name) for name in _RARE if getattr(usage, name)}
    if usage.cost is not None and (call.cost is None or usage.cost != call.cost.total):
        more["cost"] = usage.cost
    return dumps(more)


def call_of(row: Any) -> Call:
    """The call in a row that has the columns of `calls`, of its group and ending, and its user's name."""
    more: Mapping[str, Any] = {} if row.more is None else loads(row.more)
    return Call(
        id=id_of(row.id),
        started_at=row.started_at,
        backend=plain_text(row.backend),
        provider=plain_text(row.provider),
        address=plain_text(row.address),
        model_asked=plain_text(row.model_asked),
        model_served=plain_text(row.model_served),
        attribution=attribution_of(row),
        outcome=row.outcome,
        state=row.state,
        usage=_usage_of(row, more),
        cost=_cost_of(row),
        first_token_s=row.first_token_s,
        duration_s=row.duration_s,
        finish_reason=plain_text(row.finish_reason),
        response_id=plain_text(row.response_id),
        service_tier=plain_text(row.service_tier),
        error=plain_text(row.error),
        attempt=row.attempt,
        stream=bool(row.stream),
        guards=_pairs(loads(row.guards)),
    )


def _usage_of(row: Any, more: Mapping[str, Any]) -> Usage:
    return Usage(
        **{name: getattr(row, name) for name in TOKENS},
        **{name: more[name] for name in _RARE if name in more},
        requests=row.requests,
        certainty=row.tokens,
        cost=row.cost if row.usage_cost == _OWN_COST else more.get("cost"),
        unpriced=row.unpriced,
        estimated_cost=bool(row.estimated_cost),
    )


def _cost_of(row: Any) -> Cost | None:
    if row.cost is None:
        return None
    return Cost(
        total=row.cost,
        input=row.cost_input,
        cache_read=row.cost_cache_read,
        cache_write=row.cost_cache_write,
        output=row.cost_output,
        reasoning=row.cost_reasoning,
        fees=row.cost_fees,
        certainty=row.certainty,
        source=plain_text(row.source),
        price=plain_text(row.price),
        revision=plain_text(row.revision),
    )


def attribution_of(row: Any) -> Attribution:
    """Whom a row's call is for."""
    return Attribution(
        purpose=row.purpose,
        run=plain_text(row.run),
        suite=plain_text(row.suite),
        variant=plain_text(row.variant),
        prompt=plain_text(row.prompt),
        prompt_id=plain_text(row.prompt_id),
        team=plain_text(row.team),
        feature=plain_text(row.feature),
        user=plain_text(row.user_name),
        tags=_pairs(loads(row.tags)),
        fallback_from=plain_text(row.fallback_from),
    )


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name, said) for name, said in value)
