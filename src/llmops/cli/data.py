"""`llmops data`: check, show and count the cases of dataset files."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.terminal import PLAIN, AsJson, print_json
from llmops.errors import EXIT_BAD_INPUT, DatasetError, InputError, NotFoundError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmops.datasets import Dataset, Survey
    from llmops.types import Case

MAX_PROBLEMS = 20
_SHORT = 300
_KEPT = "\n\u200c\u200d"

app = typer.Typer(no_args_is_help=True, help="Check, show and count the cases of dataset files.")

FieldOption = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="TARGET=COLUMN", help="Take a part of the case from a column. Repeatable."),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="FILTER", help="Keep tag:NAME, group:NAME or id:NAME; !tag:NAME drops. Repeatable."),
]
PathArgument = Annotated[Path, typer.Argument(metavar="PATH", help="A dataset file or folder.")]


@app.command("check")
def check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Dataset files or folders.")],
    field: FieldOption = None,
    as_json: AsJson = False,
) -> None:
    """Read whole files and name every problem with its line. Exit 2 if there is one."""
    fields = _fields(field)
    reports = [_check_one(path, fields) for path in paths]
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            _print_report(report)
    if not all(report["ok"] for report in reports):
        raise typer.Exit(EXIT_BAD_INPUT)


@app.command("show")
def show(
    path: PathArgument,
    case: Annotated[str | None, typer.Option("--case", metavar="ID", help="One case, in full.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="How many cases at most.")] = 5,
    only: OnlyOption = None,
    field: FieldOption = None,
    as_json: AsJson = False,
) -> None:
    """Print cases as metrics and prompts will see them."""
    dataset = _open(path, field, only)
    shown = [_find(dataset, case)] if case is not None else _first(dataset, limit)
    if as_json:
        print_json([_as_dict(one) for one in shown])
        return
    for number, one in enumerate(shown):
        if number:
            _print("")
        _print_case(one, full=case is not None)


@app.command("stats")
def stats(path: PathArgument, only: OnlyOption = None, field: FieldOption = None, as_json: AsJson = False) -> None:
    """Count cases, tags, groups and characters."""
    survey = _open(path, field, only).survey()
    if as_json:
        from dataclasses import asdict

        print_json({"path": str(path), **asdict(survey)})
    else:
        _print_survey(survey)


def _fields(texts: list[str] | None) -> dict[str, Any] | None:
    """`--field target=column` options as `fields:`; a target written again maps to several columns."""
    found: dict[str, Any] = {}
    for text in texts or ():
        target, sign, column = text.partition("=")
        if not sign or not target or not column:
            raise InputError(f"--field {text!r} isn't TARGET=COLUMN", hint="write --field inputs.question=question")
        found[target] = [*_listed(found[target]), column] if target in found else column
    return found or None


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _open(path: Path, field: list[str] | None, only: list[str] | None) -> Dataset:
    from llmops.datasets import open_dataset

    return open_dataset(path, fields=_fields(field)).select(only=only or ())


def _check_one(path: Path, fields: Mapping[str, Any] | None) -> dict[str, Any]:
    from llmops.datasets import open_dataset

    survey: Survey | None = None
    try:
        problems, survey = open_dataset(path, fields=fields).check(MAX_PROBLEMS)
    except DatasetError as error:
        problems = [error]
    return {
        "path": str(path),
        "ok": survey is not None,
        "cases": survey.cases if survey else None,
        "fingerprint": survey.fingerprint if survey else None,
        "problems": [{"where": p.where, "message": p.message, "hint": p.hint, "line": str(p)} for p in problems],
    }


def _print_report(report: Mapping[str, Any]) -> None:
    if report["ok"]:
        cases = _count(report["cases"], "case")
        _print(f"ok  {cases}  fingerprint {report['fingerprint'][:12]}  {_line(report['path'])}")
    for problem in report["problems"]:
        _print(_line(problem["line"]))
    if len(report["problems"]) >= MAX_PROBLEMS:
        _print(f"… only the first {MAX_PROBLEMS} problems of {_line(report['path'])} are shown")


def _first(dataset: Dataset, limit: int) -> list[Case]:
    from itertools import islice

    return list(islice(dataset, limit))


def _find(dataset: Dataset, name: str) -> Case:
    others: list[str] = []
    for case in dataset:
        if case.id == name:
            return case
        if len(others) < 10_000:
            others.append(case.id)
    hint = did_you_mean(name, others)
    raise NotFoundError(f"no case {name!r}", hint=hint if hint.startswith("did") else "list ids with data show")


def _as_dict(case: Case) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(case)


def _print_case(case: Case, *, full: bool) -> None:
    notes = [f"tags {', '.join(case.tags)}"] if case.tags else []
    notes += [f"group {case.group}"] if case.group is not None else []
    _print("  ".join(map(_line, [case.id, *notes, case.where])))
    for name, value in case.inputs.items():
        _print_value(f"inputs.{name}", value, full)
    if case.expected is not None:
        _print_value("expected", case.expected, full)
    for context in case.contexts:
        score = "" if context.score is None else f" {context.score:g}"
        _print_value(f"context {context.id}{score}".rstrip(), context.text, full)
    if case.relevant is not None:
        listed = (name if grade == 1 else f"{name} ({grade:g})" for name, grade in case.relevant.items())
        _print_value("relevant", ", ".join(listed) or "none", full)
    for name, value in case.metadata.items():
        _print_value(f"metadata.{name}", value, full)


def _print_value(label: str, value: Any, full: bool) -> None:
    """One part of a case, wrapped to the terminal under its label; `full` keeps its line ends and length."""
    import json

    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if not full and len(text) > _SHORT:
        text = text[:_SHORT] + f"… ({len(text):,} characters)"
    lines = _clean(f"{label}: {text}").splitlines() if full else [_line(f"{label}: {text}")]
    width = max(20, shutil.get_terminal_size((100, 24)).columns)
    for number, line in enumerate(lines):
        indent = "  " if number == 0 else "    "
        _print(textwrap.fill(line, width, initial_indent=indent, subsequent_indent="    "))


def _print_survey(survey: Survey) -> None:
    rows: list[tuple[str, Any]] = [
        ("cases", survey.cases),
        ("fingerprint", survey.fingerprint[:12]),
        ("with expected", survey.with_expected),
        ("with contexts", survey.with_contexts),
        ("with relevant", survey.with_relevant),
        ("groups", survey.groups),
        ("characters", survey.characters),
    ]
    for title, counts in (("input", survey.input_fields), ("tag", survey.tags)):
        rows += [(f"{title} {name}", count) for name, count in list(counts.items())[:50]]
        if len(counts) > 50:
            rows.append((f"… {title}s more", len(counts) - 50))
    for label, value in rows:
        label = _line(label)
        label = label if len(label) <= 24 else label[:23] + "…"
        _print(f"{label:24}  {value:,}" if isinstance(value, int) else f"{label:24}  {value}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _clean(text: str) -> str:
    """Untrusted text for a terminal: no control sequence, no text direction change, no half character.

    Joiners stay: emoji and several scripts are written with them.
    """
    kept = (c if c.isprintable() or c in _KEPT else " " if c.isspace() else "" for c in text)
    return "".join(kept)


def _line(text: str) -> str:
    return " ".join(_clean(text).split())


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, PLAIN).decode(encoding) + "\n")
