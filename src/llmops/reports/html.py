"""The report as one HTML file: nothing is fetched, and no text of a model or dataset can run.

What the page shows of a run is escaped by Python in its fixed parts, and set as text by the script in the rest.
The content security policy allows this one script by its hash and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from html import escape
from importlib.resources import files

from llmops.reports.comparison_markdown import overall
from llmops.reports.completeness import incomplete, state
from llmops.reports.figures import duration, plural
from llmops.reports.html_charts import distributions
from llmops.reports.html_comparison import comparisons
from llmops.reports.html_data import case_data
from llmops.reports.html_intervals import icon
from llmops.reports.html_spent import spent_section
from llmops.reports.html_tables import gates, notes, provenance, tags, variants
from llmops.reports.plain import printable
from llmops.reports.summary import Summary, summarize
from llmops.types import Results, RunRecord

_STATUS = {"finished": "good", "failed": "bad", "died": "bad"}


def write_html(record: RunRecord, results: Results, write: Callable[[str], object]) -> None:
    """One self-contained page: verdicts, figures, gates, distributions, and cases to sort, filter and read.

    A comparison without results (of two files of scores) is a page of its verdicts alone. At most 2,000 cases and
    about 16 MB of them are embedded; the page says so where some were left out.
    """
    summary = summarize(record, results)
    style, script = _asset("html_page.css"), _asset("html_parts.js") + _asset("html_page.js")
    if record.comparisons:
        style, script = style + _asset("html_comparison.css"), script + _asset("html_comparison.js")
    write(_head(record, style, script))
    for part in _body(summary):
        write(part)
    write('<script type="application/json" id="data">')
    for part in case_data(summary, results):
        write(part)
    write(f"</script>\n<script>{script}</script>\n</body>\n</html>\n")


def _asset(name: str) -> str:
    return files("llmops.reports").joinpath(name).read_text(encoding="utf-8")


def _head(record: RunRecord, style: str, script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{_safe(record.suite) or "Run"} · evaluation report</title>
<style>{style}</style>
</head>
"""


def _body(summary: Summary) -> Iterator[str]:
    bare = bool(summary.record.comparisons) and not summary.cases
    yield "<body>\n" if bare else '<body>\n<a class="skip" href="#cases">Skip to cases</a>\n'
    yield _title(summary, bare)
    yield "<main>\n"
    yield from comparisons(summary.record, browsable=not bare)
    if summary.record.gates:
        yield f"<section><h2>Gates</h2>\n{gates(summary.record)}</section>\n"
    if not bare:
        yield from _answers(summary)
    if summary.record.id:
        yield f"<section><h2>Provenance</h2>\n{provenance(summary.record)}</section>\n"
    yield "</main>\n"


def _answers(summary: Summary) -> Iterator[str]:
    yield f"<section><h2>Summary</h2>\n{variants(summary)}{notes(summary)}</section>\n"
    yield spent_section(summary)
    charts = distributions(summary)
    if charts:
        yield f"<section><h2>Score distributions</h2>\n{charts}</section>\n"
    if summary.aggregate.tags:
        yield f"<section><h2>By tag</h2>\n{tags(summary)}</section>\n"
    yield '<section id="cases"><h2>Cases</h2>\n<noscript>Reading cases needs scripts.</noscript></section>\n'


def _title(summary: Summary, bare: bool) -> str:
    record = summary.record
    facts = [] if bare else [plural(summary.cases, "case"), plural(len(summary.variants), "variant")]
    if record.repeats > 1:
        facts.append(plural(record.repeats, "repeat"))
    facts += [fact for fact in (_safe(record.started_at[:16].replace("T", " ")), duration(record)) if fact]
    how, lacking = state(record), incomplete(record, summary.answers)
    badge = _overall(record) + f'<span class="pill {_STATUS.get(how, "unsure")}">{_safe(how)}</span>'
    said = f'<p class="warning">{_safe(record.note)}</p>\n' if record.note else ""
    if lacking:
        said = f'<p class="warning incomplete" role=alert><b>Incomplete</b> {_safe(lacking, 600)}</p>\n'
    eyebrow = "Comparison" if bare else "Evaluation report"
    return (
        f'<header>\n<p class="eyebrow">{eyebrow}</p>\n<h1>{_safe(record.suite) or "Run"}</h1>\n'
        f'<p class="facts">{badge}{_gate_badge(record)}<span>{" · ".join(facts)}</span></p>\n'
        + (f'<p class="dataset">Dataset <code>{_safe(record.dataset)}</code></p>\n' if record.dataset else "")
        + f"{said}</header>\n"
    )


def _overall(record: RunRecord) -> str:
    """The comparisons' verdict in a few words; its sign is drawn, because not every machine has a font with it."""
    mark, _, words = overall(record).partition(" ")
    look, verdict = {"❌": ("bad", "regressed"), "✅": ("good", "equivalent")}.get(mark, ("unsure", "inconclusive"))
    return f'<span class="pill overall {look}">{icon(verdict)}{_safe(words)}</span>' if words else ""


def _gate_badge(record: RunRecord) -> str:
    if not record.gates:
        return ""
    passed = sum(gate.outcome == "pass" for gate in record.gates)
    failed = any(gate.outcome == "fail" for gate in record.gates)
    look = "bad" if failed else "good" if passed == len(record.gates) else "unsure"
    return f'<span class="pill {look}">{passed} of {plural(len(record.gates), "gate")} passed</span>'


def _safe(text: str, limit: int = 300) -> str:
    return escape(printable(text, limit, one_line=True))
