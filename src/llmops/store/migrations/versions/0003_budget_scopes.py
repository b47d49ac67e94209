"""Budgets that are complete, what is set aside for calls later on, and when processes were last seen."""

import time

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column("open_calls", sa.Column("added", sa.Text()))
    op.create_table(
        "budget_scopes",
        sa.Column("scope", sa.Text(), primary_key=True),
        sa.Column("made_at", sa.Float(53), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "call_processes",
        sa.Column("owner_key", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("seen_at", sa.Float(53), nullable=False),
    )
    # Processes of the version before are never seen again: what they left open is given up in time.
    statement = "INSERT INTO call_processes (owner_key, seen_at) SELECT DISTINCT owner_key, :now FROM open_calls"
    op.execute(sa.text(statement).bindparams(now=time.time()))
