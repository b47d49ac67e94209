"""JUnit XML, which every CI system can show: a suite a variant, a test a case, and a test a gate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from xml.sax.saxutils import escape

from llmops.reports.completeness import missing_answers, state
from llmops.reports.figures import gate_value
from llmops.reports.summary import Summary, VariantSummary, summarize
from llmops.types import GateOutcome, Result, Results, RunRecord

MAX_TEXT = 4000
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATTRIBUTE = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}


def write_junit(record: RunRecord, results: Results, write: Callable[[str], object]) -> None:
    """Valid XML 1.0 whatever models wrote. A case that failed is an error; a gate that failed is a failure.

    What an unfinished run lacks is an error in each variant, so that the report is never taken for a pass.
    """
    summary = summarize(record, results)
    lacking = sum(_lacks(summary, variant) for variant in summary.variants)
    tests = sum(variant.cases for variant in summary.variants) + lacking + len(record.gates)
    broken = sum(_failed_cases(summary, variant) for variant in summary.variants) + lacking
    missed = sum(gate.outcome == "fail" for gate in record.gates)
    write('<?xml version="1.0" encoding="UTF-8"?>\n')
    write(f"<testsuites{_attributes(name=record.suite, tests=tests, errors=broken, failures=missed)}>\n")
    for variant in summary.variants:
        for part in _variant_suite(summary, variant, results):
            write(part)
    for part in _gate_suite(record.suite, record.gates, missed):
        write(part)
    write("</testsuites>\n")


def _variant_suite(summary: Summary, variant: VariantSummary, results: Results) -> Iterator[str]:
    """A test a case however many repeats: a failed case is written at its first failed repeat."""
    aggregate, record = summary.aggregate, summary.record
    counts = aggregate.error_counts(variant.name)
    times = _seconds(variant)
    name, lacking = f"{record.suite}.{variant.name}", _lacks(summary, variant)
    attributes = _attributes(
        name=name,
        tests=variant.cases + lacking,
        errors=_failed_cases(summary, variant) + lacking,
        failures=0,
        **({"timestamp": record.started_at} if record.started_at else {}),
        **times,
    )
    yield f"  <testsuite{attributes}>\n"
    columns = {info.name: aggregate.column(variant.name, info.name) for info in record.metrics}
    written = bytearray(aggregate.total_cases)
    for result in results:
        place = aggregate.index(result.case.id)
        if result.variant != variant.name or place is None or written[place]:
            continue
        if result.output.error is None and counts[place]:
            continue
        written[place] = 1
        scores = {name: column[place] for name, column in columns.items() if column[place] == column[place]}
        yield _case(result, name, scores)
    if lacking:
        yield _missing(record, variant, name)
    yield "  </testsuite>\n"


def _case(result: Result, class_name: str, scores: dict[str, float]) -> str:
    output = result.output
    time = {} if output.latency_s is None else {"time": f"{output.latency_s:.6f}"}
    text = f"    <testcase{_attributes(classname=class_name, name=result.case.id, **time)}>\n"
    if scores:
        rows = (f"<property{_attributes(name=name, value=f'{value:.6g}')}/>" for name, value in scores.items())
        text += f"      <properties>{''.join(rows)}</properties>\n"
    if output.error is not None:
        message = _attributes(type=output.error.kind, message=output.error.message[:MAX_TEXT])
        text += f"      <error{message}/>\n"
        if output.text:
            text += f"      <system-out>{_text(output.text[:MAX_TEXT])}</system-out>\n"
    return text + "    </testcase>\n"


def _lacks(summary: Summary, variant: VariantSummary) -> bool:
    """True where an unfinished run lacks answers of this variant, or doesn't lack any but still isn't finished."""
    record = summary.record
    if state(record) == "finished":
        return False
    wanted = record.cases * record.repeats
    return variant.trials < wanted or all(other.trials >= wanted for other in summary.variants)


def _missing(record: RunRecord, variant: VariantSummary, class_name: str) -> str:
    head = _attributes(classname=class_name, name="(missing answers)")
    message = missing_answers(record, variant.trials) + (f": {record.note}" if record.note else "")
    return f"    <testcase{head}><error{_attributes(type='incomplete', message=message[:MAX_TEXT])}/></testcase>\n"


def _gate_suite(suite: str, gates: Sequence[GateOutcome], missed: int) -> Iterator[str]:
    if not gates:
        return
    undecided = sum(gate.outcome == "undecided" for gate in gates)
    counts = {"tests": len(gates), "errors": 0, "failures": missed, "skipped": undecided}
    yield f"  <testsuite{_attributes(name=f'{suite}.gates', **counts)}>\n"
    for gate in gates:
        class_name = f"{suite}.gates" + (f".{gate.variant}" if gate.variant else "")
        yield f"    <testcase{_attributes(classname=class_name, name=gate.rule)}>"
        said = _attributes(message=f"{gate_value(gate)}: {gate.detail}" if gate.detail else gate_value(gate))
        if gate.outcome == "fail":
            yield f"<failure{said}/>"
        elif gate.outcome == "undecided":
            yield f"<skipped{said}/>"
        yield "</testcase>\n"
    yield "  </testsuite>\n"


def _failed_cases(summary: Summary, variant: VariantSummary) -> int:
    return sum(1 for count in summary.aggregate.error_counts(variant.name) if count)


def _seconds(variant: VariantSummary) -> dict[str, str]:
    if variant.latency_mean is None:
        return {}
    return {"time": f"{variant.latency_mean * (variant.trials - variant.errors):.6f}"}


def _attributes(**values: object) -> str:
    return "".join(f' {name}="{escape(_allowed(str(value)), _ATTRIBUTE)}"' for name, value in values.items())


def _text(text: str) -> str:
    return escape(_allowed(text), {"\r": "&#13;"})


def _allowed(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
