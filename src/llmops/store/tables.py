"""The tables of runs. With those of `call_tables.py` they are the schema; `migrations/` leads there from older ones."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKey, Index, Integer, Text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

# A user's pipeline may define SQLModel tables too: ours have a registry of their own.
_tables = registry()


class Base(SQLModel, registry=_tables):
    """Base of our tables."""


def _run_key() -> Any:
    key = ForeignKey("runs.key", ondelete="CASCADE")
    return Field(sa_column=Column("run_key", Integer, key, primary_key=True, autoincrement=False))


def key_text(name: str) -> Any:
    """A column of text in a primary key."""
    return Field(sa_column=Column(name, Text, primary_key=True))


class RunRow(Base, table=True):
    """A run. `document` is the whole `RunRecord`; the other columns repeat what is searched."""

    __tablename__ = "runs"
    __table_args__ = ({"sqlite_autoincrement": True},)

    key: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True))
    id: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    suite: str = Field(sa_column=Column(Text, nullable=False, index=True))
    suite_hash: str = Field(sa_column=Column(Text, nullable=False))
    dataset: str = Field(sa_column=Column(Text, nullable=False))
    fingerprint: str = Field(sa_column=Column(Text, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    started_at: str = Field(sa_column=Column(Text, nullable=False))
    ended_at: str | None = Field(default=None, sa_column=Column(Text))
    cases: int = Field(sa_column=Column(Integer, nullable=False))
    document: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class CaseRow(Base, table=True):
    """A case as a run saw it, once a run. `position` is its place in the dataset, from 0."""

    __tablename__ = "cases"
    __table_args__ = (Index("ix_cases_position", "run_key", "position"), {"sqlite_with_rowid": False})

    run_key: int = _run_key()
    case_id: str = key_text("case_id")
    position: int = Field(sa_column=Column(Integer, nullable=False))
    group_name: str | None = Field(default=None, sa_column=Column(Text))
    body: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class OutputRow(Base, table=True):
    """An output. `body` is all of it; the other columns repeat what is counted in SQL."""

    __tablename__ = "outputs"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_key: int = _run_key()
    case_id: str = key_text("case_id")
    variant: str = key_text("variant")
    repeat: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    error_kind: str | None = Field(default=None, sa_column=Column(Text))
    latency_s: float | None = Field(default=None, sa_column=Column(Float))
    input_tokens: int = Field(sa_column=Column(BigInteger, nullable=False))
    output_tokens: int = Field(sa_column=Column(BigInteger, nullable=False))
    cached: int = Field(sa_column=Column(Integer, nullable=False))
    body: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class ScoreRow(Base, table=True):
    """A score of an output; `value` is null where a metric gave none."""

    __tablename__ = "scores"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_key: int = _run_key()
    case_id: str = key_text("case_id")
    variant: str = key_text("variant")
    repeat: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    metric: str = key_text("metric")
    value: float | None = Field(default=None, sa_column=Column(Float))
    reason: str = Field(sa_column=Column(Text, nullable=False))


metadata = _tables.metadata
RUNS, CASES, OUTPUTS, SCORES = (metadata.tables[name] for name in ("runs", "cases", "outputs", "scores"))
