"""Gates as GitHub's annotations: `::error …` lines in a workflow's log, shown beside the suite's line they are in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from llmops.ci.runs import RunReport
from llmops.reports.figures import gate_value
from llmops.reports.plain import printable
from llmops.types import GateOutcome

PER_KIND = 10  # GitHub shows no more of a kind a step
_KINDS = {"fail": "error", "undecided": "warning"}


def workflow_commands(reports: Sequence[RunReport], project: Path, repository: Path) -> Iterator[str]:
    """A line a failed or undecided gate: at most ten a kind, then how many more there are.

    Suites' paths are from `project`; annotations need them from the `repository`'s top.
    """
    for outcome, kind in _KINDS.items():
        found = [(report, gate) for report in reports for gate in report.gates if gate.outcome == outcome]
        shown = found if len(found) <= PER_KIND else found[: PER_KIND - 1]
        for report, gate in shown:
            place = _place(report, gate, project, repository)
            yield f"::{kind} {place}title={_property(f'llmops: {report.suite}')}::{_data(_sentence(gate))}"
        if len(found) > len(shown):
            yield f"::{kind} title=llmops::{len(found) - len(shown)} more gates {_verb(outcome)}; see the report"
    for report in reports:
        if report.status != "finished":
            yield f"::error title={_property(f'llmops: {report.suite}')}::the run is {_data(report.status)}"


def _sentence(gate: GateOutcome) -> str:
    detail = f": {printable(gate.detail, 300, one_line=True)}" if gate.detail else ""
    value = f" (value {gate_value(gate)})" if gate.value is not None else ""
    rule, variant = printable(gate.rule, 200, one_line=True), printable(gate.variant, 100, one_line=True)
    return f"{rule} {_verb(gate.outcome)} for {variant}{value}{detail}"


def _verb(outcome: str) -> str:
    return "failed" if outcome == "fail" else "can't be decided"


def _place(report: RunReport, gate: GateOutcome, project: Path, repository: Path) -> str:
    """`file=…,line=…,` of the gate in its suite; nothing when the suite isn't a file of the repository."""
    if not report.path:
        return ""
    try:
        path = (project / report.path).resolve()
        name = path.relative_to(repository.resolve()).as_posix()
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError):
        return ""
    return f"file={_property(name)},line={_line(lines, gate.rule)},"


def _line(lines: Sequence[str], rule: str) -> int:
    """The line with the rule as it is, else with its demand and metric, which a suite may write as a mapping."""
    demand, _, names = rule.partition(":")
    metric = names.partition(" within ")[0].strip()
    for wanted in ([rule], [demand, metric], [demand]):
        for at, text in enumerate(lines, 1):
            if rule and all(one in text for one in wanted):
                return at
    return 1


def _data(text: str) -> str:
    return printable(text, 2000, one_line=True).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
