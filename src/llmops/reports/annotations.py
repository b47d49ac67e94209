"""Gates as GitHub workflow commands: printed in a job's log, they become annotations of the pull request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal

from llmops.reports.completeness import incomplete
from llmops.reports.figures import MISSING, gate_value, plural
from llmops.reports.plain import printable
from llmops.reports.verdicts import headline, leading, sentence, wanted_alpha
from llmops.types import GateOutcome, Results, RunRecord

Level = Literal["error", "warning"]
MAX_A_LEVEL = 10
"""GitHub shows ten errors and ten warnings of a step and drops the others."""
MAX_MESSAGE = 3000


def write_annotations(record: RunRecord, results: Results, write: Callable[[str], object]) -> None:
    """An error for each gate that failed and a warning for each that is undecided; nothing when all passed."""
    path = record.config.get("path")
    file = path if isinstance(path, str) else ""
    lacking = incomplete(record, sum(1 for _ in results)) if record.status != "finished" else ""
    for level in ("error", "warning"):
        said = list(_annotations(record, level))
        if level == "warning" and lacking:
            said.insert(0, ("Incomplete run", lacking))
        hidden = len(said) - MAX_A_LEVEL
        if hidden > 0:
            said[MAX_A_LEVEL - 1 :] = [(f"{record.suite}: more gates", f"and {plural(hidden + 1, 'more gate')}")]
        for title, message in said:
            write(command(level, title, message, file))


def command(level: Level, title: str, message: str, file: str = "", line: int = 1) -> str:
    """One workflow command, `::error file=…,line=…,title=…::message`, with GitHub's escapes and its line end."""
    place = f"file={_property(printable(file, 500, one_line=True))},line={line}," if file else ""
    shown = _property(printable(title, 200, one_line=True))
    return f"::{level} {place}title={shown}::{_data(printable(message, MAX_MESSAGE))}\n"


def _annotations(record: RunRecord, level: Level) -> Iterator[tuple[str, str]]:
    wanted = "fail" if level == "error" else "undecided"
    for gate in record.gates:
        if gate.outcome == wanted:
            rule, variant = printable(gate.rule, 150, one_line=True), printable(gate.variant, 60, one_line=True)
            yield f"{rule} ({variant})" if variant else rule, _message(record, gate)


def _message(record: RunRecord, gate: GateOutcome) -> str:
    """The verdicts the gate is about, else what it saw."""
    about = [
        f"{headline(metric)}. {sentence(metric, wanted_alpha(record))}"
        for comparison in record.comparisons
        if comparison.candidate == gate.variant
        for metric in leading(comparison)
        if re.search(rf"(?<![\w@]){re.escape(metric.metric)}(?![\w@])", gate.rule)
        and (gate.outcome == "undecided" or metric.verdict == "regressed")
    ]
    if about:
        return "\n".join(about)
    value = gate_value(gate)
    said = "failed" if gate.outcome == "fail" else "can't be decided"
    return f"{said}{'' if value == MISSING else f' at {value}'}{f': {gate.detail}' if gate.detail else ''}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
