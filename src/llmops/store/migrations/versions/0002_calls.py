"""The call log: calls, what they share, sums by the hour, texts and budgets."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

_TOKENS = tuple(f"{name}_tokens" for name in ("input", "cache_read", "cache_write", "output", "reasoning"))
_PARTS = tuple(f"cost_{name}" for name in ("input", "cache_read", "cache_write", "output", "reasoning", "fees"))
_GROUP = (
    *("backend", "provider", "address", "model_asked", "model_served", "purpose", "run", "suite", "variant"),
    *("prompt", "prompt_id", "team", "feature", "tags", "fallback_from", "prompt_name"),
)
_ENDING = (
    *("outcome", "state", "tokens", "certainty", "source", "price", "revision", "finish_reason", "service_tier"),
    *("error", "guards"),
)


def upgrade() -> None:
    op.create_table(
        "calls",
        _id(),
        _real("started_at"),
        *(_small(name) for name in ("skewed", "group_key", "ending_key", "user_key")),
        *(_whole(name) for name in _TOKENS),
        sa.Column("cost", sa.BigInteger()),
        *(_whole(name) for name in _PARTS),
        sa.Column("first_token_s", sa.Float(53)),
        sa.Column("duration_s", sa.Float(53)),
        _text("response_id"),
        sa.Column("more", sa.Text()),
        sqlite_with_rowid=False,
    )
    skewed = sa.text("skewed = 1")
    op.create_index("ix_calls_skewed", "calls", ["started_at"], sqlite_where=skewed, postgresql_where=skewed)
    op.create_table(
        "open_calls",
        _id(),
        _real("started_at"),
        *(_small(name) for name in ("group_key", "user_key", "owner_key")),
        _whole("attempt"),
        _small("stream"),
        sa.Column("rest", sa.Text()),
        sa.Column("holds", sa.Text()),
        sqlite_with_rowid=False,
    )
    op.create_table("call_groups", *_interned(), *(_text(name) for name in _GROUP))
    op.create_table(
        "call_endings",
        *_interned(),
        *(_text(name) for name in _ENDING),
        _whole("attempt"),
        _small("stream"),
        _small("lacks_price"),
        _whole("requests"),
        _whole("unpriced"),
        _small("estimated_cost"),
        _small("usage_cost"),
    )
    op.create_table("call_words", *_interned(), _text("word"))
    op.create_table(
        "call_hours",
        *(
            sa.Column(name, sa.Integer(), primary_key=True, autoincrement=False)
            for name in ("hour", "group_key", "ending_key")
        ),
        *(_whole(name) for name in ("requests", *_TOKENS, "cost", *_PARTS)),
        *(_whole(name) for name in ("duration_us", "first_token_us", "first_tokens")),
        sqlite_with_rowid=False,
    )
    _create_texts_and_budgets()


def _create_texts_and_budgets() -> None:
    op.create_table("call_texts", _id(), _real("started_at"), _text("body"), sqlite_with_rowid=False)
    op.create_table(
        "budget_windows",
        sa.Column("window", sa.Text(), primary_key=True),
        sa.Column("unit", sa.Text(), primary_key=True),
        *(_whole(name) for name in ("spent", "reserved", "amount_limit")),
        _real("touched_at"),
        sqlite_with_rowid=False,
    )


def _id() -> sa.Column[Any]:
    made = sa.Uuid(as_uuid=False).with_variant(sa.LargeBinary(16), "sqlite")
    return sa.Column("id", made, primary_key=True)


def _interned() -> tuple[sa.Column[Any], ...]:
    digest = sa.Column("digest", sa.LargeBinary(), nullable=False, unique=True)
    return sa.Column("key", sa.Integer(), primary_key=True), digest


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _small(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(53), nullable=False)
