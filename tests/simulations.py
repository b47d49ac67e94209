"""Pull requests made up with a known truth, and what our decisions say of them: scenarios, one comparison, many.

A scenario draws the differences of many comparisons at once; `observe` puts each through `compare_metric`, the
function that every verdict comes from. `PullRequest` goes through all of a run's decision: guards, looks, levels.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from llmops.evals import estimates
from llmops.evals.comparing import compare_metric
from llmops.evals.comparison_rules import ComparisonSettings
from llmops.evals.estimates import Paired
from llmops.types import MetricInfo, MetricKind

Numbers = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int, bool], Numbers]

REPETITIONS = int(os.environ.get("SIMULATION_REPETITIONS", "1000"))
EVERYTHING = REPETITIONS > 1000  # all scenarios and numbers of cases; else those that say the most
SEED = 20_240_607
BLOCK = 500  # comparisons drawn at once, which bounds the memory
SCORE = MetricInfo("score")
GRADE = MetricInfo("grade", 1.0, 5.0)
SECONDS = MetricInfo("latency_mean", 0.0, None, "lower", "s")


@dataclass(frozen=True)
class Scenario:
    """How the gains of a metric fall out: `draw(generator, comparisons, cases, changed)` is a row a comparison.

    Unchanged, both variants are the same by distribution. Changed, the mean gain is exactly `-drop`, in the metric's
    unit. `sizes` are those of the clusters, for scenarios with a number of cases of their own. `wrong_red` is how often
    an unchanged candidate regresses by the method's own nature, where that is more than promised.
    """

    name: str
    drop: float
    draw: Draw
    info: MetricInfo = SCORE
    kind: MetricKind | None = None
    sizes: tuple[int, ...] = ()
    wrong_red: float = 0.025
    skewed: bool = False  # changed, the differences are so skewed that the t interval isn't expected to cover

    @property
    def groups(self) -> NDArray[np.int64] | None:
        return np.repeat(np.arange(len(self.sizes)), self.sizes) if self.sizes else None


@dataclass(frozen=True)
class Outcomes:
    """Shares of the comparisons that came out so, at `cases` cases and a true gain of `truth`."""

    cases: int
    covered: float
    below: float  # the whole interval is above the truth
    regressed: float
    passed: float  # improved, or no meaningful drop
    improved: float


def generator(*what: object) -> np.random.Generator:
    """The random numbers of one simulation: the same in every run, others than its neighbours'."""
    return np.random.default_rng([SEED, zlib.crc32(repr(what).encode())])


def three_se(rate: float, repetitions: int = REPETITIONS) -> float:
    """What a share that is truly `rate` may be off in a simulation."""
    return 3 * float(np.sqrt(rate * (1 - rate) / repetitions))


def sides(gains: Numbers, info: MetricInfo, kind: MetricKind | None, random: np.random.Generator) -> Iterator[Paired]:
    """Scores of the two sides that differ by `gains`, as far from the ends of the range as these let them be."""
    cases = gains.shape[1]
    ids = [str(i) for i in range(cases)]
    if info.high is None:
        yield from (Paired(ids, 10.0 + row, np.full(cases, 10.0)) for row in gains)
        return
    low, span = float(info.low or 0.0), float(info.high) - float(info.low or 0.0)
    room = span - np.abs(gains)
    lower = random.random(gains.shape) * room
    if info is GRADE:
        lower = np.floor(random.random(gains.shape) * (room + 1))
    if kind == "binary":
        lower = np.floor(random.random(gains.shape) * 2) * room
    for row, base in zip(gains, lower + low, strict=True):
        yield Paired(ids, base + np.maximum(-row, 0), base + np.maximum(row, 0))


def observe(
    scenario: Scenario, cases: int, *, changed: bool, margin: float | None = None, repetitions: int = REPETITIONS
) -> Outcomes:
    """Many comparisons of a scenario at the usual level; the margin is the scenario's drop unless told."""
    cases = sum(scenario.sizes) or cases
    random = generator(scenario.name, cases, changed)
    truth = -scenario.drop if changed else 0.0
    counts = np.zeros(5)
    for start in range(0, repetitions, BLOCK):
        gains = scenario.draw(random, min(BLOCK, repetitions - start), cases, changed)
        for pairs in sides(gains, scenario.info, scenario.kind, random):
            counts += _outcome(scenario, pairs, truth, scenario.drop if margin is None else margin)
    return Outcomes(cases, *(counts / repetitions).tolist())


def _outcome(scenario: Scenario, pairs: Paired, truth: float, margin: float) -> Numbers:
    groups = scenario.groups
    pairs = Paired(pairs.ids, pairs.a, pairs.b, groups) if groups is not None else pairs
    with mock.patch.object(estimates, "FEW", 0):  # no sign-flip test: it is only shown, and takes the most time
        found = compare_metric(scenario.info, pairs, margin=margin, settings=ComparisonSettings(), kind=scenario.kind)
    lo, hi = found.ci
    passed = found.verdict in ("improved", "equivalent")
    return np.array([lo <= truth <= hi, lo > truth, found.verdict == "regressed", passed, found.verdict == "improved"])


# --- gains ---


def three_way(lost: float, gained: float, fall: float, size: float = 1.0) -> Draw:
    """Falls and rises of `size`, and ties between them; a changed candidate has `fall` less of the mean gain."""

    def draw(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
        shift = fall / size / 2 if changed else 0.0
        more = max(0.0, shift - gained)  # what rises can't give up, falls add
        u = random.random((rows, cases))
        down = u < lost + shift + more
        return size * ((u > 1 - (gained - shift + more)).astype(float) - down)

    return draw


def flips(share: float, drop: float) -> Draw:
    """Pass or fail: a share of the cases differs, as many each way or, changed, `drop` more of them lost."""
    return three_way(share / 2, share / 2, drop)


def spread(deviation: float, drop: float) -> Draw:
    """Evenly spread gains with a standard deviation; changed, all of them fall by `drop`."""
    half = deviation * 3**0.5

    def draw(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
        return random.uniform(-half, half, (rows, cases)) - (drop if changed else 0.0)

    return draw


def sparse(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
    """Nine cases in ten are tied, the others move by up to .6; changed, five in six of these fall."""
    moved = random.random((rows, cases)) < 0.1
    up = random.random((rows, cases)) > (5 / 6 if changed else 1 / 2)
    return moved * random.uniform(0, 0.6, (rows, cases)) * np.where(up, 1.0, -1.0)


def collapse(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
    """4 % of the cases fall by .5 to 1 and the rest hardly moves; unchanged, as many rise as fall."""
    rare = random.random((rows, cases)) < 0.04
    gains = np.where(rare, -random.uniform(0.5, 1.0, (rows, cases)), random.uniform(-0.05, 0.05, (rows, cases)))
    return gains if changed else gains * _signs(random, gains.shape)


def deep(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
    """5 % of the cases lose .8 and the rest gains .04, a drop of .002; unchanged, each has either sign."""
    gains = np.where(random.random((rows, cases)) < 0.05, -0.8, 0.04)
    return gains if changed else gains * _signs(random, gains.shape)


def rescue(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
    """4 % of the cases rise by .5 to 1 and the rest falls a little: no change of the mean, but not symmetrical."""
    rare = random.random((rows, cases)) < 0.04
    rest = random.uniform(-0.05, 0.05, (rows, cases)) - 0.03 / 0.96
    return np.where(rare, random.uniform(0.5, 1.0, (rows, cases)), rest)


def steps(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
    """Grades: three in ten cases move by a step or two; changed, a fall of .2 on average."""
    shift = 0.1 if changed else 0.0
    u = random.random((rows, cases))
    edges = np.array([0.03, 0.15 + shift, 0.85 + shift, 0.97])
    return np.searchsorted(edges, u.ravel()).reshape(u.shape).astype(float) - 2.0


def repeated(repeats: int, drop: float) -> Draw:
    """Means of passes and fails, of cases that pass with chances of their own; changed, all chances are lower."""

    def draw(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
        chance = random.beta(4, 1, (rows, cases))  # .8 on average
        a = random.binomial(repeats, chance)
        b = random.binomial(repeats, chance * (1 - drop / 0.8 if changed else 1.0))
        return (b - a) / repeats

    return draw


def waits(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
    """Seconds won: log-normal waits, a case's two alike in part; changed, the candidate takes a tenth longer."""
    case = random.normal(0, 0.5, (rows, cases))
    a, b = (np.exp(case + random.normal(0, 0.5, (rows, cases))) for _ in range(2))
    return a - b * (1.1 if changed else 1.0)


WAITED = 0.1 * float(np.exp(0.25))  # a tenth of the mean of `waits`


def clustered(sizes: Sequence[int], drop: float) -> Draw:
    """Gains with a standard deviation of .2 of which three tenths of the variance are common to a cluster."""
    groups = np.repeat(np.arange(len(sizes)), sizes)

    def draw(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
        common = random.normal(0, 0.2 * 0.3**0.5, (rows, len(sizes)))[:, groups]
        gains = common + random.normal(0, 0.2 * 0.7**0.5, (rows, cases)) - (drop if changed else 0.0)
        return np.clip(gains, -1.0, 1.0)

    return draw


def clustered_flips(sizes: Sequence[int], drop: float) -> Draw:
    """Pass or fail, where a cluster's cases flip the same way: each leans to one side with chances of its own."""
    groups = np.repeat(np.arange(len(sizes)), sizes)

    def draw(random: np.random.Generator, rows: int, cases: int, changed: bool) -> Numbers:
        lean = random.beta(1, 1, (rows, len(sizes)))[:, groups]  # how often a flip of this cluster is a gain
        if changed:
            lean = lean * (1 - drop / 0.3)
        flipped = (random.random((rows, cases)) < 0.3).astype(float)
        return flipped * np.where(random.random((rows, cases)) < lean, 1.0, -1.0)

    return draw


def _signs(random: np.random.Generator, shape: tuple[int, ...]) -> Numbers:
    return np.where(random.random(shape) < 0.5, -1.0, 1.0)


def growing(count: int, ratio: float) -> tuple[int, ...]:
    """Sizes of clusters, each `ratio` times the one before."""
    return tuple(max(1, round(3 * ratio**i)) for i in range(count))


INDEPENDENT = (
    Scenario("binary, 5 % differ", 0.05, flips(0.05, 0.05), kind="binary"),
    Scenario("binary, 16 % differ", 0.05, flips(0.16, 0.05), kind="binary"),
    Scenario("binary, 40 % differ", 0.10, flips(0.40, 0.10), kind="binary"),
    Scenario("bounded, symmetrical", 0.05, spread(0.20, 0.05)),
    Scenario("tied: three levels", 0.05, three_way(0.15, 0.15, 0.05, 0.5)),
    Scenario("sparse: 90 % ties", 0.02, sparse, skewed=True),
    Scenario("rare collapse, 4 %", 0.03, collapse, skewed=True),
    Scenario("5 % lose .8, rest gain .04", 0.002, deep, skewed=True),
    Scenario("grades 1 to 5", 0.2, steps, info=GRADE),
    Scenario("preference, 30 % ties", 0.10, three_way(0.35, 0.35, 0.10), kind="preference", wrong_red=0.029),
    Scenario("pass or fail, 5 repeats", 0.05, repeated(5, 0.05)),
    Scenario("skewed latencies", WAITED, waits, info=SECONDS),
)

# All or nothing: what the pass bound's half case doesn't cover everywhere (docs/statistics.md).
TOTAL_FALLS = Scenario("5 % fall by 1, the rest tied", 0.05, flips(0.05, 0.05), kind="bounded", skewed=True)
RESCUE = Scenario("4 % rise by .5–1, the rest falls", 0.0, rescue, skewed=True)

SHAPES = {
    "6 unequal clusters": growing(6, 1.5),
    "10 unequal clusters": growing(10, 1.4),
    "20 clusters, one huge": (120, *(5,) * 19),
    "40 unequal clusters": growing(40, 1.05),
    "80 equal clusters": (5,) * 80,
}
# By 30,000 repetitions: with 4.7 degrees of freedom, CR2 covers 93.7 %, and 93.0 % of flips that lean by document.
_FEW = {"10 unequal clusters": (0.031, 0.035)}
CLUSTERED = (
    *(
        Scenario(name, 0.05, clustered(sizes, 0.05), sizes=sizes, wrong_red=_FEW.get(name, (0.025, 0.025))[0])
        for name, sizes in SHAPES.items()
    ),
    *(
        Scenario(
            f"binary, {name}",
            0.05,
            clustered_flips(SHAPES[name], 0.05),
            kind="binary",
            sizes=SHAPES[name],
            wrong_red=_FEW.get(name, (0.025, 0.025))[1],
        )
        for name in ("10 unequal clusters", "40 unequal clusters", "80 equal clusters")
    ),
)
