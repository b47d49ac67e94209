"""The errors of a judge that mislead a comparison: of a place, of a length, of one variant more than of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

from llmops.calibration.labels import Label
from llmops.stats.agreement import observed_agreement
from llmops.stats.correlation import correlation_gap, spearman
from llmops.stats.intervals import wilson
from llmops.stats.multiplicity import holm
from llmops.stats.paired import mcnemar_mid_p
from llmops.stats.prediction import BiasTest, bias_difference, judge_bias
from llmops.stats.preferences import first_slot_rate
from llmops.stats.resampling import Estimate

MOST_VARIANTS = 6
_OTHER = {"1": "2", "2": "1"}


@dataclass(frozen=True, slots=True)
class Position:
    """How often the answer shown first won. Seen in both orders, ½ is fair, and the pairs need not be balanced.

    In one order, people's own rate is what is fair. `consistency` is the share of pairs with one verdict in both
    orders, `agreement_swapped` the agreement with people in the second one, `agreement_both_orders` the share of pairs
    that the judge got right in both. `p` tests that no place is preferred.
    """

    orders: int
    first_slot: Estimate
    p: float
    people_first_slot: Estimate | None = None
    consistency: Estimate | None = None
    agreement_swapped: Estimate | None = None
    agreement_both_orders: float | None = None


@dataclass(frozen=True, slots=True)
class Length:
    """Whether longer answers do better with the judge than with people: `excess`, above 0 when they do.

    Of single answers, `people` and `judge` are Spearman correlations of length and verdict; of pairs, shares in which
    the longer one won. `excess` is the judge's minus people's.
    """

    people: Estimate
    judge: Estimate
    excess: Estimate


@dataclass(frozen=True, slots=True)
class VariantError:
    """People minus judge on one variant: below 0, the judge is lenient to it."""

    variant: str
    n: int
    error: float


@dataclass(frozen=True, slots=True)
class ErrorGap:
    """How much more people than judge think of `second` than of `first`; `paired` by case. `p` is Holm's adjusted."""

    first: str
    second: str
    paired: bool
    test: BiasTest
    p: float


@dataclass(frozen=True, slots=True)
class VariantErrors:
    """The judge's mean error by variant, and a test for each two of at most 6 variants."""

    errors: tuple[VariantError, ...]
    gaps: tuple[ErrorGap, ...]


def position_bias(labels: Sequence[Label]) -> Position:
    """First-slot wins, and where the judge also saw the other order, whether its verdict stayed."""
    both = [label for label in labels if label.has_swapped]
    if not both:
        decided = [label for label in labels if label.judge in _OTHER and label.human in _OTHER]
        people, judge = ([str(getattr(label, which)) for label in decided] for which in ("human", "judge"))
        gained = sum(h == "2" and j == "1" for h, j in zip(people, judge, strict=True))
        lost = sum(h == "1" and j == "2" for h, j in zip(people, judge, strict=True))
        p = mcnemar_mid_p(gained, lost)
        return Position(1, first_slot_rate(judge), p, people_first_slot=first_slot_rate(people))
    slots = [label.judge for label in both] + [_OTHER.get(str(label.swapped), label.swapped) for label in both]
    stuck = [label.judge for label in both if label.judge in _OTHER and label.swapped == _OTHER[str(label.judge)]]
    human, swapped = [label.human for label in both], [label.swapped for label in both]
    judge_said = [label.judge for label in both]
    return Position(
        2,
        first_slot_rate([str(slot) for slot in slots if slot is not None]),
        mcnemar_mid_p(stuck.count("2"), stuck.count("1")),
        consistency=observed_agreement(
            [verdict or "unreadable" for verdict in judge_said], [verdict or "unreadable again" for verdict in swapped]
        ),
        agreement_swapped=observed_agreement(human, swapped),
        agreement_both_orders=fmean(h == j == s for h, j, s in zip(human, judge_said, swapped, strict=True)),
    )


def length_bias(labels: Sequence[Label], groups: Sequence[str] | None) -> Length | None:
    """What length does to the judge's verdicts beyond what it does to people's. None where lengths aren't known."""
    if isinstance(labels[0].human, str):
        return _length_of_pairs(labels)
    at = [n for n, label in enumerate(labels) if label.lengths and label.judge is not None]
    if len(at) < 3:
        return None
    lengths = [labels[n].lengths[0] for n in at]
    human, judge = ([float(getattr(labels[n], which)) for n in at] for which in ("human", "judge"))
    cases = None if groups is None else [groups[n] for n in at]
    gap = correlation_gap(lengths, human, judge, groups=cases)
    if gap.value is None:
        return None
    return Length(spearman(lengths, human, groups=cases), spearman(lengths, judge, groups=cases), gap)


def _length_of_pairs(labels: Sequence[Label]) -> Length | None:
    uneven = [label for label in labels if len(label.lengths) == 2 and label.lengths[0] != label.lengths[1]]
    decided = [label for label in uneven if label.human in _OTHER and label.judge in _OTHER]
    if len(decided) < 2:
        return None
    longer = ["1" if label.lengths[0] > label.lengths[1] else "2" for label in decided]
    people = [float(label.human == side) for label, side in zip(decided, longer, strict=True)]
    judge = [float(label.judge == side) for label, side in zip(decided, longer, strict=True)]
    gap = judge_bias(judge, people)
    return Length(_rate(people), _rate(judge), Estimate(gap.mean, gap.lo, gap.hi))


def _rate(wins: Sequence[float]) -> Estimate:
    return Estimate(fmean(wins), *wilson(sum(wins), len(wins)))


def variant_errors(labels: Sequence[Label]) -> VariantErrors | None:
    """Whether the judge errs differently on different variants; None without two variants.

    Errors of one case's repeats are averaged. Two variants are compared by case when at least half of the smaller one's
    cases have both, else as two groups (Welch).
    """
    errors: dict[str, dict[str, list[float]]] = {}
    for label in labels:
        if label.judge is not None:
            by_case = errors.setdefault(label.variant, {})
            by_case.setdefault(label.id, []).append(float(label.human) - float(label.judge))
    means = {variant: {case: fmean(found) for case, found in cases.items()} for variant, cases in errors.items()}
    if len(means) < 2:
        return None
    each = tuple(VariantError(variant, len(cases), fmean(cases.values())) for variant, cases in means.items())
    pairs = combinations(means, 2) if len(means) <= MOST_VARIANTS else ()
    gaps = [gap for first, second in pairs if (gap := _gap(means, first, second)) is not None]
    adjusted = holm([gap.p for gap in gaps])
    return VariantErrors(each, tuple(replace(gap, p=p) for gap, p in zip(gaps, adjusted, strict=True)))


def _gap(means: dict[str, dict[str, float]], first: str, second: str) -> ErrorGap | None:
    a, b = means[first], means[second]
    shared = [case for case in a if case in b]
    if len(shared) >= max(2, min(len(a), len(b)) / 2):
        test = judge_bias([b[case] for case in shared], [a[case] for case in shared])
        return ErrorGap(first, second, True, test, test.p)
    if min(len(a), len(b)) < 2:
        return None
    test = bias_difference(list(a.values()), list(b.values()))
    return ErrorGap(first, second, False, test, test.p)
