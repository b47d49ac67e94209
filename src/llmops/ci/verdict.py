"""What a check says of one or more runs: success, failure or neutral. What can't be told is never success."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmops.ci.runs import RunReport
from llmops.errors import (
    EXIT_BACKEND_FAILED,
    EXIT_BAD_INPUT,
    EXIT_GATE_FAILED,
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    EXIT_PASS,
)
from llmops.reports.figures import gate_value, plural
from llmops.reports.markdown import span
from llmops.types import GateOutcome

MAX_ROWS = 60
MAX_SUMMARY = 60_000  # GitHub takes 65,535 characters
_MARKS = {"pass": "✅ pass", "fail": "❌ fail"}
_WENT_WRONG = {
    EXIT_BAD_INPUT: "Bad input or configuration",
    EXIT_BACKEND_FAILED: "A backend, a pipeline or the store failed",
    EXIT_INTERRUPTED: "Interrupted",
}

Outcome = Literal["success", "failure", "neutral"]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A check's outcome, its title in a line, and its summary in Markdown."""

    outcome: Outcome
    title: str
    summary: str


def conclude(
    reports: Sequence[RunReport], exit_code: int | None = None, *, fail_on_inconclusive: bool = False
) -> Conclusion:
    """The check for runs and the exit code of the `llmops eval` that made them (without one, what the runs say).

    0 is success, but neutral when a gate is undecided or nothing ran; 1 is failure; 3 is neutral, or failure when
    asked for; anything else is failure.
    """
    gates = [gate for report in reports for gate in report.gates]
    failed, undecided = (sum(gate.outcome == kind for gate in gates) for kind in ("fail", "undecided"))
    code = _said(reports) if exit_code is None else exit_code
    if failed and code in (EXIT_PASS, EXIT_INCONCLUSIVE):
        code = EXIT_GATE_FAILED
    of_all = plural(len(gates), "gate")
    outcome: Outcome = "failure"
    doubt = f"Can't tell yet: {undecided} of {of_all} undecided" if undecided else "Can't tell yet"
    if code == EXIT_PASS and not reports:
        outcome, title = "neutral", "Nothing was evaluated"
    elif code == EXIT_PASS:
        outcome, title = ("neutral", doubt) if undecided else ("success", f"Passed: {of_all}" if gates else "Passed")
    elif code == EXIT_GATE_FAILED:
        title = f"{failed} of {of_all} failed" if failed else "A gate failed"
    elif code == EXIT_INCONCLUSIVE:
        outcome, title = "failure" if fail_on_inconclusive else "neutral", doubt
    else:
        title = f"{_WENT_WRONG.get(code, 'llmops eval ended unexpectedly')} (exit code {code})"
    return Conclusion(outcome, title, _summary(reports, code))


def _said(reports: Sequence[RunReport]) -> int:
    """The exit code that runs stand for."""
    states = {report.status for report in reports}
    if "interrupted" in states:
        return EXIT_INTERRUPTED
    if states - {"finished", "stopped"}:
        return EXIT_BACKEND_FAILED
    gates = [gate for report in reports for gate in report.gates]
    if any(gate.outcome == "fail" for gate in gates):
        return EXIT_GATE_FAILED
    doubtful = "stopped" in states or any(gate.outcome == "undecided" and gate.strict for gate in gates)
    return EXIT_INCONCLUSIVE if doubtful else EXIT_PASS


def _summary(reports: Sequence[RunReport], code: int) -> str:
    if not reports:
        return "There is no report." if code == EXIT_PASS else "There is no report; the job's log says what went wrong."
    parts = []
    for report in reports:
        state = "" if report.status == "finished" else f" ({report.status})"
        parts.append(f"**{span(report.suite)}**{state}\n")
        if not report.gates:
            parts.append("No gates.\n")
            continue
        parts.append("| gate | variant | value | outcome | |\n|:---|:---|---:|:---|:---|")
        parts += [_row(gate) for gate in report.gates[:MAX_ROWS]]
        if (hidden := len(report.gates) - MAX_ROWS) > 0:
            parts.append(f"\n{plural(hidden, 'more gate')}.")
        parts.append("")
    text = "\n".join(parts)
    return text if len(text) <= MAX_SUMMARY else text[: text.rindex("\n", 0, MAX_SUMMARY)] + "\n\nMore was left out."


def _row(gate: GateOutcome) -> str:
    detail = span(gate.detail, 160) if gate.detail else ""
    outcome = _MARKS.get(gate.outcome, "❔ undecided")
    return f"| {span(gate.rule, 120)} | {span(gate.variant, 60)} | {gate_value(gate)} | {outcome} | {detail} |"
