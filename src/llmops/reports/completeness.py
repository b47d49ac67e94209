"""How far a run came, in words: a run that didn't finish must never look as if it had."""

from __future__ import annotations

from llmops.process import has_ended
from llmops.types import RunRecord

_ENDINGS = {"stopped": "was stopped", "interrupted": "was interrupted", "failed": "failed", "died": "died"}


def state(record: RunRecord) -> str:
    """The run's status; `died` when it says it is running and its process is no longer there."""
    if record.status != "running":
        return record.status
    return "died" if has_ended(record.environment.get("process")) else "running"


def incomplete(record: RunRecord, answers: int) -> str:
    """`stopped after 12 of 200 answers: the budget is spent`, or nothing for a finished run.

    `answers` counts the trials that are there; all of them are cases x repeats x variants.
    """
    how = state(record)
    if how == "finished":
        return ""
    done = progress(answers, record.cases * record.repeats * len(record.variants))
    text = f"still running, {done} so far" if how == "running" else f"{how} after {done}"
    return f"{text}: {record.note}" if record.note else text


def missing_answers(record: RunRecord, answers: int) -> str:
    """What a variant of an unfinished run lacks: `12 of 100 answers: the run was stopped`."""
    done = progress(answers, record.cases * record.repeats)
    return f"{done}: the run {_ENDINGS.get(state(record), 'is still running')}"


def progress(answers: int, wanted: int) -> str:
    """`12 of 200 answers`."""
    return f"{answers:,} of {max(wanted, answers):,} answers"
