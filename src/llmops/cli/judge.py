"""`llmops judge calibrate`: a judge's verdicts against people's."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.terminal import PLAIN, AsJson, print_json, say
from llmops.errors import InputError

if TYPE_CHECKING:
    from llmops.calibration.findings import Findings
    from llmops.calibration.labels import Label
    from llmops.calibration.saved import Calibration

app = typer.Typer(no_args_is_help=True, help="Judges: how far their verdicts can be trusted.")


@app.callback()
def judge() -> None:
    """Judges: how far their verdicts can be trusted."""


@app.command()
def calibrate(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="A JSONL file of people's labels.")],
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="The judged metric; with --run, its scores are the judge's verdicts.")
    ] = "",
    run: Annotated[str | None, typer.Option(metavar="RUN", help="The saved run whose answers people labelled.")] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="X", help="Take scores from X on as yes, below as no.")
    ] = None,
    human_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LO HI", help="What people's labels run from and to, when the judge's scale is another."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Save the calibration in evals/calibration/, where comparisons look for it.")
    ] = False,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Save the calibration in this file.")] = None,
    store: Annotated[
        str | None, typer.Option(help="The store to read: a file or a database URL.", metavar="PATH|URL")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a judge's verdicts with people's: agreement, errors, biases, and whether to gate on it."""
    _check_options(metric, run, threshold, keep, save)
    place = _place(metric, save) if keep or save else None
    from llmops.calibration.advice import recommendation
    from llmops.calibration.findings import findings_of
    from llmops.calibration.labels import read_labels
    from llmops.calibration.scales import different_scales, rescaled

    read = read_labels(labels)
    identity, left_out = "", dict[str, int]()
    if run is not None:
        read, identity, left_out = _joined(read, run, metric, store, human_range)
    elif human_range is not None:
        read = rescaled(read, *human_range, (0.0, 1.0))
    found = findings_of(read, threshold)
    advice = recommendation(found)
    if place is not None:
        if different_scales(read):
            raise InputError("people and judge are on different scales: not saved", hint="add --human-range LO HI")
        _save(place, _calibration(read, metric, identity))
    if as_json:
        saved = None if place is None else str(place)
        print_json({"metric": metric, **_figures(found), **left_out, "recommendation": advice, "saved": saved})
        return
    from llmops.cli.judge_text import lines

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=PLAIN)
    for line in lines(found, metric or labels.name, left_out, advice):
        sys.stdout.write(line + "\n")  # not Typer's echo, which takes ASCII for a mistake and writes UTF-8
    if place is not None:
        say(f"saved {place}")


def _figures(found: Findings) -> dict[str, Any]:
    """The findings as plain data, sensitivity and specificity beside the others."""
    from dataclasses import asdict

    figures = asdict(found)
    rates = figures.pop("detection") or dict.fromkeys(("sensitivity", "specificity", "positives", "negatives"))
    return figures | rates


def _check_options(metric: str, run: str | None, threshold: float | None, keep: bool, save: Path | None) -> None:
    if run is not None and not metric:
        raise InputError("--run needs --metric", hint="name the metric whose scores are the judge's verdicts")
    if (keep or save) and not metric:
        raise InputError("a calibration is of a metric", hint="add --metric NAME")
    if keep and save:
        raise InputError("--keep and --save are two places", hint="give one of them")
    if threshold is not None and not abs(threshold) <= 1e12:
        raise InputError(f"--threshold {threshold} is no usable number", hint="give a score, such as 0.5")


def _place(metric: str, save: Path | None) -> Path:
    """Where the calibration goes. Raises `InputError` when something else is there: nothing is lost by a typo."""
    from llmops.calibration.saved import calibration_path, is_calibration
    from llmops.config import project_root

    path = save or calibration_path(metric, project_root())
    try:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if path.is_dir() or not folder.is_dir():
            raise InputError(f"can't save {path}: name a file in a folder")
        if path.exists() and not is_calibration(path):
            raise InputError(f"can't save {path}: another file is there", hint="name a new file")
    except OSError as error:
        raise InputError(f"can't save {path}: {(error.strerror or 'unreadable').lower()}") from None
    return path


def _joined(
    labels: list[Label], run: str, metric: str, store: str | None, human_range: tuple[float, float] | None
) -> tuple[list[Label], str, dict[str, int]]:
    from llmops.calibration.joining import join
    from llmops.calibration.saved import judge_identity
    from llmops.sdk import open_run

    opened = open_run(run, store=store)
    joined = join(labels, opened.record, opened.results, metric, human_range)
    left_out = {"not_in_run": joined.absent, "of_other_answers": joined.outdated}
    return joined.labels, judge_identity(opened.record, metric), left_out


def _calibration(labels: list[Label], metric: str, identity: str) -> Calibration:
    from datetime import UTC, datetime

    from llmops.calibration.labels import kind_of
    from llmops.calibration.saved import Calibration, Labelled

    kept = [label for label in labels if label.judged]
    rows = tuple(Labelled(one.id, one.variant, one.answer, one.human, one.judge) for one in kept)
    return Calibration(metric, kind_of(kept), rows, identity, datetime.now(UTC).date().isoformat())


def _save(path: Path, calibration: Calibration) -> None:
    from llmops.cli.reports import write_atomically

    def fill(write: Any) -> None:
        for line in calibration.lines():
            write(line)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't save {path}: {(error.strerror or 'unwritable').lower()}") from None
    write_atomically(path, fill)
