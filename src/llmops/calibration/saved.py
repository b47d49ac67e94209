"""Calibrations on disk: one line a label, after a line that says what was judged, by whom and when."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llmops.datasets.json_files import JsonLines
from llmops.datasets.strict_json import shown
from llmops.errors import DatasetError, InputError, NotFoundError
from llmops.identity import SHORT, canonical_json, content_hash
from llmops.stats.descriptive import mean
from llmops.types import RunRecord

VERSION = 1
FOLDER = Path("evals") / "calibration"
_HINT = "llmops judge calibrate --save writes calibrations"
_HASH = re.compile("(?:[0-9a-f]{64})?")
_LONGEST = 150


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled answer: `answer` is the sha256 of its text, or empty; `judge` None when it gave no verdict."""

    id: str
    variant: str
    answer: str
    human: float | str
    judge: float | str | None


@dataclass(frozen=True)
class Calibration:
    """What people and a judge said of the same answers. `judge` is its identity then, or empty; `date` ISO 8601."""

    metric: str
    kind: str
    labels: tuple[Labelled, ...]
    judge: str = ""
    date: str = ""

    def labelled_pairs(
        self,
        baseline_answers: Mapping[str, str],
        candidate_answers: Mapping[str, str],
        baseline_scores: Mapping[str, float] | None = None,
        candidate_scores: Mapping[str, float] | None = None,
    ) -> tuple[list[float], list[float]]:
        """Differences, candidate minus baseline in the metric's unit, of people and of the judge: what `ppi` takes.

        `baseline_answers` and `candidate_answers` map case ids to answer hashes (`answer_hash`). A case counts when
        both of its answers were labelled, whichever variant gave them. The judge's scores are those saved, or, where
        given by case id, those of the judge as it is now. In the order of `labelled_cases`.
        """
        human, judge = [], []
        for case in self.labelled_cases(baseline_answers, candidate_answers):
            first, second = self._of(case, baseline_answers), self._of(case, candidate_answers)
            human.append(second[0] - first[0])
            judge.append((candidate_scores or {}).get(case, second[1]) - (baseline_scores or {}).get(case, first[1]))
        return human, judge

    def labelled_cases(self, baseline_answers: Mapping[str, str], candidate_answers: Mapping[str, str]) -> list[str]:
        """Ids of the cases whose two answers are both labelled; the judge's other cases are the unlabelled ones."""
        known = self._by_answer
        both = (case for case in baseline_answers if case in candidate_answers)
        return [c for c in both if (c, baseline_answers[c]) in known and (c, candidate_answers[c]) in known]

    def _of(self, case: str, answers: Mapping[str, str]) -> tuple[float, float]:
        return self._by_answer[case, answers[case]]

    @cached_property
    def _by_answer(self) -> dict[tuple[str, str], tuple[float, float]]:
        """People's and the judge's score of each case's answer; means, where it was labelled for several variants."""
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for label in self.labels:
            if label.answer and isinstance(label.human, float) and isinstance(label.judge, float):
                found.setdefault((label.id, label.answer), []).append((label.human, label.judge))
        return {key: (mean([h for h, _ in pairs]), mean([j for _, j in pairs])) for key, pairs in found.items()}

    def lines(self) -> Iterator[str]:
        """The file's text, a line at a time."""
        head = {"calibration": VERSION, "metric": self.metric, "kind": self.kind, "judge": self.judge}
        yield canonical_json(head | {"date": self.date, "labels": len(self.labels)}) + "\n"
        for label in self.labels:
            yield canonical_json(asdict(label)) + "\n"


def answer_hash(text: str) -> str:
    """sha256 of an answer's text, 64 hex digits: what ties a label to an answer and not to who gave it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def judge_identity(record: RunRecord, metric: str) -> str:
    """12 hex digits of what a run says of a metric: another description, range or unit is another judge.

    Empty when the run has no such metric.
    """
    info = next((info for info in record.metrics if info.name == metric), None)
    return "" if info is None else content_hash(asdict(info))[:SHORT]


def calibration_path(metric: str, root: Path) -> Path:
    """Where a project keeps a metric's calibration: `evals/calibration/METRIC.jsonl`, unsafe signs as %XX."""
    name = quote(metric, safe="@ ", errors="surrogatepass")
    name = "%2E" + name[1:] if name.startswith(".") else name
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}-{content_hash(metric)[:SHORT]}"
    return root / FOLDER / f"{name}.jsonl"


def load_calibration(path: Path | str) -> Calibration:
    """Read a saved calibration. Raises `NotFoundError` when there is no such file, `InputError` with `file:line`."""
    path = Path(path)
    try:
        if not path.is_file():
            raise NotFoundError(f"no calibration {path}", hint=_HINT)
        rows = list(JsonLines(path, str(path)).rows())
    except (OSError, ValueError) as error:
        raise InputError(f"can't read {str(path)[:200]!r}: {error}", hint=_HINT) from None
    if not rows:
        raise InputError("the file is empty", where=str(path), hint=_HINT)
    checked = [(where, _row(row)) for where, row in rows]
    head = _head(*checked[0])
    labels = tuple(_labelled(row, where) for where, row in checked[1:])
    if len(labels) != head["labels"]:
        what = f"holds {len(labels)} labels instead of {head['labels']}"
        raise InputError(what, where=str(path), hint="it was cut or edited: calibrate again")
    return Calibration(head["metric"], head["kind"], labels, head["judge"], head["date"])


def is_calibration(path: Path) -> bool:
    """True when a file begins as a calibration does: then it may be replaced by a newer one."""
    with path.open("rb") as file:
        start = file.readline(10_000)
    try:
        return "calibration" in json.loads(start)
    except (ValueError, TypeError, RecursionError):
        return False


def _row(row: Mapping[str, Any] | DatasetError) -> Mapping[str, Any]:
    if isinstance(row, DatasetError):
        raise row
    return row


def _head(where: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    texts = ("metric", "kind", "judge", "date")
    if "calibration" not in row or not all(isinstance(row.get(key), str) for key in texts):
        raise InputError("not a saved calibration", where=where, hint=_HINT)
    if row["calibration"] != VERSION:
        what = f"a calibration of version {shown(row['calibration'])}; this llmops reads version {VERSION}"
        raise InputError(what, where=where, hint="calibrate again")
    return row


def _labelled(row: Mapping[str, Any], where: str) -> Labelled:
    texts = [row.get(key) for key in ("id", "variant", "answer")]
    if not all(isinstance(text, str) for text in texts) or not _HASH.fullmatch(str(texts[2])):
        raise InputError("not a label of a calibration", where=where, hint="it was edited: calibrate again")
    human, judge = _verdict(row.get("human"), where), _verdict(row.get("judge"), where)
    if human is None:
        raise InputError("a label without people's verdict", where=where, hint="it was edited: calibrate again")
    return Labelled(str(texts[0]), str(texts[1]), str(texts[2]), human, judge)


def _verdict(value: Any, where: str) -> float | str | None:
    if value is None or value in ("1", "2", "tie"):
        return None if value is None else str(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e12:
        return float(value)
    raise InputError(f"no verdict: {shown(value)}", where=where, hint="it was edited: calibrate again")
