"""How well people agree with each other: the most a judge can be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from llmops.calibration.labels import Kind, Label
from llmops.stats.agreement import cohen_kappa
from llmops.stats.krippendorff import krippendorff_alpha
from llmops.stats.resampling import Estimate

MOST_ANNOTATORS = 6


@dataclass(frozen=True, slots=True)
class Pair:
    """Two annotators on the `n` answers that both labelled; κ is quadratic on a scale."""

    first: str
    second: str
    n: int
    agreement: float
    kappa: float | None


@dataclass(frozen=True, slots=True)
class People:
    """Krippendorff's α of all annotators, the mean share of pairs of them that say the same, and each two of them.

    `agreement` is also the ceiling of the judge's own. `pairs` is empty when there are more than 6 annotators.
    """

    annotators: int
    n: int
    agreement: float
    alpha: Estimate
    pairs: tuple[Pair, ...] = ()


def among_people(labels: Sequence[Label], kind: Kind, groups: Sequence[str] | None) -> People | None:
    """Agreement among annotators; None unless two of them labelled the same answer."""
    names = list(dict.fromkeys(name for label in labels for name in label.people))
    rated = [list(label.people.values()) for label in labels]
    shared = [values for values in rated if len(values) > 1]
    if not shared:
        return None
    agreed = [_share(values) for values in shared]
    alpha = krippendorff_alpha(rated, level="interval" if kind == "scale" else "nominal", groups=groups)
    found = combinations(names, 2) if len(names) <= MOST_ANNOTATORS else ()
    pairs = [pair for first, second in found if (pair := _pair(labels, first, second, kind)) is not None]
    return People(len(names), len(shared), sum(agreed) / len(agreed), alpha, tuple(pairs))


def _share(values: Sequence[object]) -> float:
    """The share of pairs of annotators that said the same of one answer."""
    pairs = len(values) * (len(values) - 1)
    return sum(values.count(value) * (values.count(value) - 1) for value in set(values)) / pairs


def _pair(labels: Sequence[Label], first: str, second: str, kind: Kind) -> Pair | None:
    both = [(label.people[first], label.people[second]) for label in labels if {first, second} <= label.people.keys()]
    if not both:
        return None
    one, other = [a for a, _ in both], [b for _, b in both]
    agreed = sum(a == b for a, b in both) / len(both)
    kappa = cohen_kappa(one, other, weights="quadratic" if kind == "scale" else "none", draws=1)
    return Pair(first, second, len(both), agreed, kappa.value)
