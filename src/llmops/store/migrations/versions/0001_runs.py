"""Runs with their cases, outputs and scores."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("key", sa.Integer(), primary_key=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("suite", "suite_hash", "dataset", "fingerprint", "status", "started_at")
        ),
        sa.Column("ended_at", sa.Text()),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_suite", "runs", ["suite"])
    op.create_table(
        "cases",
        _run_key(),
        sa.Column("case_id", sa.Text(), primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("group_name", sa.Text()),
        sa.Column("body", sa.JSON(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_cases_position", "cases", ["run_key", "position"])
    op.create_table(
        "outputs",
        *_trial(),
        sa.Column("error_kind", sa.Text()),
        sa.Column("latency_s", sa.Float()),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "scores",
        *_trial(),
        sa.Column("metric", sa.Text(), primary_key=True),
        sa.Column("value", sa.Float()),
        sa.Column("reason", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )


def _run_key() -> sa.Column[int]:
    key = sa.ForeignKey("runs.key", ondelete="CASCADE")
    return sa.Column("run_key", sa.Integer(), key, primary_key=True, autoincrement=False)


def _trial() -> tuple[sa.Column[Any], ...]:
    return (
        _run_key(),
        sa.Column("case_id", sa.Text(), primary_key=True),
        sa.Column("variant", sa.Text(), primary_key=True),
        sa.Column("repeat", sa.Integer(), primary_key=True, autoincrement=False),
    )
