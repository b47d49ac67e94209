"""The tables of the call log: calls, what they share, their sums by the hour, what was said, and budgets."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, Text, Uuid
from sqlalchemy import text as sql
from sqlmodel import Field

from llmops.store.tables import Base, key_text
from llmops.store.tables import metadata as metadata


def _call_id() -> Any:
    made = Uuid(as_uuid=False).with_variant(LargeBinary(16), "sqlite")
    return Field(sa_column=Column("id", made, primary_key=True))


def _text(name: str, *, none: bool = False) -> Any:
    return Field(sa_column=Column(name, Text, nullable=none))


def _whole(name: str, *, none: bool = False) -> Any:
    return Field(sa_column=Column(name, BigInteger, nullable=none))


def _real(name: str, *, none: bool = False) -> Any:
    return Field(sa_column=Column(name, Float(53), nullable=none))


def _small(name: str, *, key: bool = False) -> Any:
    return Field(sa_column=Column(name, Integer, nullable=False, primary_key=key, autoincrement=False))


def _own_key() -> Any:
    return Field(default=None, sa_column=Column("key", Integer, primary_key=True))


def _digest() -> Any:
    return Field(sa_column=Column("digest", LargeBinary, nullable=False, unique=True))


class CallRow(Base, table=True):
    """A call that ended. What many calls share is in `call_groups`, `call_endings` and `call_words`, once.

    `skewed` is 1 where the start and the time in the id are more than an hour apart. Costs are nano-dollars. `more`
    is a JSON object of what few calls have.
    """

    __tablename__ = "calls"
    __table_args__ = (
        Index("ix_calls_skewed", "started_at", sqlite_where=sql("skewed = 1"), postgresql_where=sql("skewed = 1")),
        {"sqlite_with_rowid": False},
    )

    id: Any = _call_id()
    started_at: float = _real("started_at")
    skewed: int = _small("skewed")
    group_key: int = _small("group_key")
    ending_key: int = _small("ending_key")
    user_key: int = _small("user_key")
    input_tokens: int = _whole("input_tokens")
    cache_read_tokens: int = _whole("cache_read_tokens")
    cache_write_tokens: int = _whole("cache_write_tokens")
    output_tokens: int = _whole("output_tokens")
    reasoning_tokens: int = _whole("reasoning_tokens")
    cost: int | None = _whole("cost", none=True)
    cost_input: int = _whole("cost_input")
    cost_cache_read: int = _whole("cost_cache_read")
    cost_cache_write: int = _whole("cost_cache_write")
    cost_output: int = _whole("cost_output")
    cost_reasoning: int = _whole("cost_reasoning")
    cost_fees: int = _whole("cost_fees")
    first_token_s: float | None = _real("first_token_s", none=True)
    duration_s: float | None = _real("duration_s", none=True)
    response_id: str = _text("response_id")
    more: str | None = _text("more", none=True)


class OpenCallRow(Base, table=True):
    """A call that was sent and has not ended. `owner_key` is the process, `holds` what is set aside for it.

    `added` is what is set aside in windows of budgets that were made after it began.
    """

    __tablename__ = "open_calls"
    __table_args__ = ({"sqlite_with_rowid": False},)

    id: Any = _call_id()
    started_at: float = _real("started_at")
    group_key: int = _small("group_key")
    user_key: int = _small("user_key")
    owner_key: int = _small("owner_key")
    attempt: int = _whole("attempt")
    stream: int = _small("stream")
    rest: str | None = _text("rest", none=True)
    holds: str | None = _text("holds", none=True)
    added: str | None = _text("added", none=True)


class CallProcessRow(Base, table=True):
    """When a process that makes calls was last seen, by the database's clock. `owner_key` is its word."""

    __tablename__ = "call_processes"

    owner_key: int = _small("owner_key", key=True)
    seen_at: float = _real("seen_at")


class CallGroupRow(Base, table=True):
    """What was asked and for whom, once for all calls that agree in it. `prompt_name` is `prompt` without version."""

    __tablename__ = "call_groups"

    key: int | None = _own_key()
    digest: bytes = _digest()
    backend: str = _text("backend")
    provider: str = _text("provider")
    address: str = _text("address")
    model_asked: str = _text("model_asked")
    model_served: str = _text("model_served")
    purpose: str = _text("purpose")
    run: str = _text("run")
    suite: str = _text("suite")
    variant: str = _text("variant")
    prompt: str = _text("prompt")
    prompt_id: str = _text("prompt_id")
    team: str = _text("team")
    feature: str = _text("feature")
    tags: str = _text("tags")
    fallback_from: str = _text("fallback_from")
    prompt_name: str = _text("prompt_name")


class CallEndingRow(Base, table=True):
    """How calls ended and whose price they have, once for all that agree in it.

    `certainty` is the cost's, empty without one. `lacks_price` is 1 where there is something to pay and no price.
    The last four are of `Usage`; `usage_cost` is 0 for no cost in it, 1 for the call's own, 2 for another.
    """

    __tablename__ = "call_endings"

    key: int | None = _own_key()
    digest: bytes = _digest()
    outcome: str = _text("outcome")
    state: str = _text("state")
    tokens: str = _text("tokens")
    certainty: str = _text("certainty")
    source: str = _text("source")
    price: str = _text("price")
    revision: str = _text("revision")
    finish_reason: str = _text("finish_reason")
    service_tier: str = _text("service_tier")
    error: str = _text("error")
    guards: str = _text("guards")
    attempt: int = _whole("attempt")
    stream: int = _small("stream")
    lacks_price: int = _small("lacks_price")
    requests: int = _whole("requests")
    unpriced: int = _whole("unpriced")
    estimated_cost: int = _small("estimated_cost")
    usage_cost: int = _small("usage_cost")


class CallWordRow(Base, table=True):
    """A user that calls were made for, or a process that made them."""

    __tablename__ = "call_words"

    key: int | None = _own_key()
    digest: bytes = _digest()
    word: str = _text("word")


class CallHourRow(Base, table=True):
    """Sums over the calls of an hour (since 1970) that agree in group and ending. Times are in microseconds."""

    __tablename__ = "call_hours"
    __table_args__ = ({"sqlite_with_rowid": False},)

    hour: int = _small("hour", key=True)
    group_key: int = _small("group_key", key=True)
    ending_key: int = _small("ending_key", key=True)
    requests: int = _whole("requests")
    input_tokens: int = _whole("input_tokens")
    cache_read_tokens: int = _whole("cache_read_tokens")
    cache_write_tokens: int = _whole("cache_write_tokens")
    output_tokens: int = _whole("output_tokens")
    reasoning_tokens: int = _whole("reasoning_tokens")
    cost: int = _whole("cost")
    cost_input: int = _whole("cost_input")
    cost_cache_read: int = _whole("cost_cache_read")
    cost_cache_write: int = _whole("cost_cache_write")
    cost_output: int = _whole("cost_output")
    cost_reasoning: int = _whole("cost_reasoning")
    cost_fees: int = _whole("cost_fees")
    duration_us: int = _whole("duration_us")
    first_token_us: int = _whole("first_token_us")
    first_tokens: int = _whole("first_tokens")


class CallTextRow(Base, table=True):
    """What was said in a call, where a project keeps it."""

    __tablename__ = "call_texts"
    __table_args__ = ({"sqlite_with_rowid": False},)

    id: Any = _call_id()
    started_at: float = _real("started_at")
    body: str = _text("body")


class BudgetWindowRow(Base, table=True):
    """What was spent and is set aside in one window of one budget, in its unit."""

    __tablename__ = "budget_windows"
    __table_args__ = ({"sqlite_with_rowid": False},)

    window: str = key_text("window")
    unit: str = key_text("unit")
    spent: int = _whole("spent")
    reserved: int = _whole("reserved")
    amount_limit: int = _whole("amount_limit")
    touched_at: float = _real("touched_at")


class BudgetScopeRow(Base, table=True):
    """Budgets whose windows hold all that was spent: one that isn't there has nothing in it. `scope` is a name."""

    __tablename__ = "budget_scopes"
    __table_args__ = ({"sqlite_with_rowid": False},)

    scope: str = key_text("scope")
    made_at: float = _real("made_at")


CALLS, OPEN_CALLS, CALL_GROUPS, CALL_ENDINGS, CALL_WORDS, CALL_HOURS, CALL_TEXTS, BUDGET_WINDOWS, CALL_PROCESSES = (
    metadata.tables[name]
    for name in (
        *("calls", "open_calls", "call_groups", "call_endings", "call_words", "call_hours", "call_texts"),
        *("budget_windows", "call_processes"),
    )
)
