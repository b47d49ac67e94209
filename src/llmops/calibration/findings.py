"""What labels show of a judge: agreement, errors, and the biases that matter for comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmops.calibration.biases import Length, Position, VariantErrors, length_bias, position_bias, variant_errors
from llmops.calibration.labels import CHOICES, Kind, Label, Value, kind_of
from llmops.calibration.people import People, among_people
from llmops.calibration.scales import different_scales
from llmops.errors import InputError
from llmops.stats.agreement import Detection, cohen_kappa, detection, gwet_ac1, observed_agreement
from llmops.stats.clusters import clustered_t
from llmops.stats.correlation import pearson, spearman
from llmops.stats.prediction import BiasTest, judge_bias
from llmops.stats.resampling import Estimate, codes

MOST_LEVELS = 10


@dataclass(frozen=True, slots=True)
class Findings:
    """A judge against people on `n` labels of `cases` cases. What doesn't apply to the kind of label is None.

    `not_judged` labels have no verdict because the judge wasn't asked; they count nowhere. `unreadable` verdicts count
    as disagreement (of yes/no and choices; left out on a scale). `shift` is people minus judge; it and `variants` need
    both on one scale.
    """

    kind: Kind
    n: int
    cases: int
    not_judged: int
    unreadable: int
    agreement: Estimate | None = None
    kappa: Estimate | None = None
    weighted_kappa: Estimate | None = None
    ac1: Estimate | None = None
    detection: Detection | None = None
    pearson: Estimate | None = None
    spearman: Estimate | None = None
    shift: BiasTest | None = None
    position: Position | None = None
    length: Length | None = None
    people: People | None = None
    variants: VariantErrors | None = None
    same_scale: bool = True


def findings_of(labels: Sequence[Label], threshold: float | None = None) -> Findings:
    """Measure a judge on labels; with a threshold, scores at or above it are yes and others no.

    Raises `InputError` when no label has a judge's verdict, or for a threshold on choices.
    """
    judged = [label for label in labels if label.judged]
    if not judged or all(label.judge is None for label in judged):
        hint = 'add "judge" to the labels, or --run RUN --metric NAME'
        raise InputError("no label has a verdict of the judge", where=labels[0].where, hint=hint)
    if threshold is not None:
        judged = _cut(judged, threshold)
    kind = kind_of(judged)
    unreadable = sum(label.judge is None for label in judged)
    if kind == "scale":
        judged = [label for label in judged if label.judge is not None]
    groups, same_scale = _groups(judged), not different_scales(judged)
    base = Findings(kind, len(judged), len({label.id for label in judged}), len(labels), unreadable)
    base = replace(base, not_judged=sum(not label.judged for label in labels), same_scale=same_scale)
    measured = _graded(base, judged, groups) if kind == "scale" else _agreeing(base, judged, groups)
    return replace(
        measured,
        position=position_bias(judged) if kind == "choice" else None,
        length=length_bias(judged, groups),
        people=among_people(judged, kind, groups),
        variants=variant_errors(judged) if kind != "choice" and same_scale else None,
    )


def _groups(labels: Sequence[Label]) -> list[str] | None:
    ids = [label.id for label in labels]
    return ids if len(set(ids)) < len(ids) else None


def _agreeing(base: Findings, labels: Sequence[Label], groups: list[str] | None) -> Findings:
    human, judge = [label.human for label in labels], [label.judge for label in labels]
    possible: list[Value | None] = [0.0, 1.0] if base.kind == "binary" else [*CHOICES[:2]]
    if "tie" in human or "tie" in judge:
        possible.append("tie")
    if base.unreadable:
        possible.append(None)
    found = replace(
        base,
        agreement=observed_agreement(human, judge, groups=groups),
        kappa=cohen_kappa(human, judge, categories=possible, groups=groups),
        ac1=gwet_ac1(human, judge, categories=possible, groups=groups),
    )
    if base.kind == "choice":
        return found
    yes = [None if verdict is None else verdict == 1.0 for verdict in judge]
    return replace(found, detection=detection([h == 1.0 for h in human], yes), shift=_shift(labels))


def _graded(base: Findings, labels: Sequence[Label], groups: list[str] | None) -> Findings:
    human, judge = numbers(labels, "human"), numbers(labels, "judge")
    found = replace(
        base,
        pearson=pearson(human, judge, groups=groups),
        spearman=spearman(human, judge, groups=groups),
        shift=_shift(labels) if base.same_scale else None,
    )
    values = {*human, *judge}
    levels = range(int(min(values)), int(max(values)) + 1) if max(values) - min(values) < MOST_LEVELS else range(0)
    if not base.same_scale or not all(value in levels for value in values):
        return found
    scale = [float(level) for level in levels]
    return replace(
        found,
        agreement=observed_agreement(human, judge, groups=groups),
        weighted_kappa=cohen_kappa(human, judge, weights="quadratic", categories=scale, groups=groups),
    )


def numbers(labels: Sequence[Label], which: str) -> list[float]:
    """People's or the judge's verdicts as numbers, where there are any."""
    return [float(value) for label in labels if (value := getattr(label, which)) is not None]


def _shift(labels: Sequence[Label]) -> BiasTest | None:
    readable = [label for label in labels if label.judge is not None]
    groups = _groups(readable)
    human, judge = numbers(readable, "human"), numbers(readable, "judge")
    if groups is None:
        return judge_bias(human, judge) if len(readable) > 1 else None
    if len(set(groups)) < 2:
        return None
    error = [h - j for h, j in zip(human, judge, strict=True)]
    found = clustered_t(error, codes(groups))
    return BiasTest(found.mean, found.se, found.df, found.lo, found.hi, found.p, len(error))


def _cut(labels: Sequence[Label], threshold: float) -> list[Label]:
    """Scores as yes or no. People's verdicts that are all 0 or 1 are so already."""
    if isinstance(labels[0].human, str):
        raise InputError("--threshold is for scores, not for choices", where=labels[0].where)
    said = {label.human for label in labels} | {value for label in labels for value in label.people.values()}
    certain = said <= {0.0, 1.0}
    if not certain and different_scales(labels):
        what = "people and judge are on different scales, so one threshold can't fit both"
        raise InputError(what, where=labels[0].where, hint="add --human-range LO HI")

    def cut(value: Value) -> Value:
        return float(float(value) >= threshold)

    cut_labels = [replace(one, judge=None if one.judge is None else cut(one.judge)) for one in labels]
    if certain:
        return cut_labels
    return [
        replace(one, human=cut(one.human), people={who: cut(value) for who, value in one.people.items()})
        for one in cut_labels
    ]
