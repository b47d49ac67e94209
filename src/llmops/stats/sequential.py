"""Looking at a comparison more than once: group-sequential boundaries, and a test for looking after each case.

The boundary is for a comparison whose number of cases is known beforehand; it needs fewer cases than `BettingTest`,
which is for streams without an end. Both keep the chance of a false finding at their level however often one looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llmops.stats.special import normal_quantile

Array = NDArray[np.float64]

POINTS_PER_SD = 12  # of Simpson's rule: the boundary is then right to about 1e-6
FEWEST_POINTS, MOST_POINTS = 101, 2401
FARTHEST = 9.0  # standard errors beyond which a normal density adds nothing
BETS = 24


def looks(planned: int, most: int = 10, first: int = 20) -> tuple[int, ...]:
    """How many cases each look sees: up to `most` looks, equally far apart, none before `first` cases; last `planned`.

    Raises `ValueError` when one of the three is below 1.
    """
    if min(planned, most, first) < 1:
        raise ValueError("cases and looks are counted from 1")
    count = max(1, min(most, planned // first))
    return tuple(planned * look // count for look in range(1, count + 1))


def boundary(fractions: Sequence[float], alpha: float = 0.05, rho: float = 2.0) -> tuple[float, ...]:
    """The |z| that each look has to exceed, for a two-sided test of level `alpha` over all looks.

    `fractions` are the shares of the planned cases seen at each look, rising, in (0, 1]. By a look at t the test may
    have spent alpha * t**rho of its level (Lan & DeMets 1983 with the spending of Kim & DeMets 1987); the boundaries
    follow by recursive numerical integration (Armitage, McPherson & Rowe 1969). So looks need not be planned: those
    that were made decide. A look that may spend nothing measurable has an infinite boundary. Right to 1e-4 and better;
    results are kept. Raises `ValueError` on other fractions, an `alpha` outside (0, 1) or a `rho` not above 0.
    """
    times = tuple(float(fraction) for fraction in fractions)
    if not times or not all(a < b for a, b in zip((0.0, *times), times, strict=False)) or times[-1] > 1:
        raise ValueError("fractions rise, from above 0 to 1 at most")
    if not 0 < alpha < 1 or not 0 < rho < math.inf:
        raise ValueError("alpha is between 0 and 1, and rho above 0")
    return _boundary(times, alpha, rho)


def nominal_alpha(z: float) -> float:
    """The two-sided level of a single test that has `z` as its critical value: 2(1 - Phi(z))."""
    return math.erfc(z / math.sqrt(2))


@dataclass(frozen=True, slots=True)
class SequentialCost:
    """Cases of a sequential test as multiples of those a single test at the end needs: at most, and on average."""

    cap: float
    expected: float


def expected_share(
    effect_ratio: float, fractions: Sequence[float], alpha: float = 0.05, power: float = 0.8, rho: float = 2.0
) -> SequentialCost:
    """What looking at `fractions` costs when the effect is `effect_ratio` times the one planned for.

    The cap is what keeps `power` at the planned effect. With ten equal looks it is 1.081, and the average 0.76 at the
    planned effect, 0.36 at twice and 1.07 at none. Raises `ValueError` as `boundary` does.
    """
    limits = boundary(fractions, alpha, rho)
    times = tuple(float(fraction) for fraction in fractions)
    if not alpha < power < 1 or times[-1] != 1:
        raise ValueError("power is between alpha and 1, and the last look at all cases")
    single = normal_quantile(1 - alpha / 2) + normal_quantile(power)
    low, high = single, 3 * single + 3
    while high - low > 1e-6:
        drift = (low + high) / 2
        low, high = (drift, high) if sum(_exits(times, limits, drift)) < power else (low, drift)
    cap = (high / single) ** 2
    stops = _exits(times, limits, high * effect_ratio)
    seen = sum(t * p for t, p in zip(times, stops, strict=True)) + max(0.0, 1 - sum(stops))
    return SequentialCost(cap, cap * seen)


@dataclass(frozen=True, slots=True)
class _Alive:
    """Where S(t) = Z * sqrt(t) may be at time `time` without having left: weights for points, under no effect."""

    time: float
    points: Array
    weights: Array

    def tail(self, edge: float, time: float, drift: float = 0.0) -> float:
        """Chance to be above `edge` at `time`, having been inside until now."""
        sd = math.sqrt(time - self.time)
        beyond = (edge - self.points - drift * (time - self.time)) / (sd * math.sqrt(2))
        chances = np.fromiter(map(math.erfc, beyond.tolist()), float, len(beyond)) / 2
        return float(self._tilted(drift) @ chances)

    def _tilted(self, drift: float) -> Array:
        """The weights when the mean of S(t) is `drift` * t: a normal's likelihood ratio."""
        return self.weights * np.exp(drift * self.points - drift * drift * self.time / 2)

    def density(self, places: Array, time: float) -> Array:
        """Density at `places` of S(`time`), having been inside until now."""
        sd = math.sqrt(time - self.time)
        steps = (places[:, None] - self.points[None, :]) / sd
        kernel: Array = np.exp(-0.5 * steps * steps)
        found: Array = kernel @ self.weights / (sd * math.sqrt(2 * math.pi))
        return found

    def staying(self, edge: float, time: float, step: float) -> _Alive:
        """Inside (-edge, edge) at `time` too. `step` is the time until the next look, for which the grid is made."""
        edge = min(edge, FARTHEST * math.sqrt(time))
        narrowest = math.sqrt(min(step, time - self.time))
        wanted = math.ceil(POINTS_PER_SD * 2 * edge / narrowest)
        intervals = max(FEWEST_POINTS, min(wanted, MOST_POINTS)) // 2 * 2
        points: Array = np.linspace(-edge, edge, intervals + 1)
        simpson = np.full(intervals + 1, 2.0)
        simpson[1::2] = 4.0
        simpson[0] = simpson[-1] = 1.0
        weights = simpson * (2 * edge / intervals / 3)
        return _Alive(time, points, weights * self.density(points, time))


def _start() -> _Alive:
    return _Alive(0.0, np.zeros(1), np.ones(1))


@lru_cache(maxsize=256)
def _boundary(times: tuple[float, ...], alpha: float, rho: float) -> tuple[float, ...]:
    alive, spent, found = _start(), 0.0, []
    for place, time in enumerate(times):
        spend = alpha * time**rho - spent
        if spend > 1e-16:
            edge = _edge(alive, time, spend / 2)
            spent += spend
        else:
            edge = math.inf
        found.append(edge / math.sqrt(time))
        if place + 1 < len(times):
            alive = alive.staying(edge, time, times[place + 1] - time)
    return tuple(found)


def _edge(alive: _Alive, time: float, wanted: float) -> float:
    """Where `alive.tail` is `wanted`. Newton on its logarithm, which is concave, so every start leads there."""
    edge = -normal_quantile(wanted) * math.sqrt(time)
    for _ in range(100):
        tail = alive.tail(edge, time)
        slope = float(alive.density(np.array([edge]), time)[0])
        if tail <= 0 or slope <= 0:
            edge *= 0.9  # so far out that both are nothing in floating point
            continue
        step = tail / slope * math.log(tail / wanted)
        edge += step
        if abs(step) < 1e-10 * math.sqrt(time):
            break
    return edge


def _exits(times: tuple[float, ...], limits: tuple[float, ...], drift: float) -> list[float]:
    """Chance to leave at each look, on either side, when the mean of S(t) is `drift` * t."""
    found = []
    for alive, time, limit in _path(times, limits):
        edge = limit * math.sqrt(time)
        found.append(alive.tail(edge, time, drift) + alive.tail(edge, time, -drift))
    return found


@lru_cache(maxsize=4)
def _path(times: tuple[float, ...], limits: tuple[float, ...]) -> tuple[tuple[_Alive, float, float], ...]:
    """Before each look: who is still inside, the look's time and its boundary."""
    alive, found = _start(), []
    for place, (time, limit) in enumerate(zip(times, limits, strict=True)):
        found.append((alive, time, limit))
        if place + 1 < len(times):
            alive = alive.staying(limit * math.sqrt(time), time, times[place + 1] - time)
    return tuple(found)


class BettingTest:
    """A test for a stream of differences that may be looked at after every case, for ever.

    The null hypothesis is that the mean difference is at most -`margin` (0: not better; a positive margin: a drop of at
    least `margin`, so a small p says "no meaningful drop"). To test for a drop instead, feed the differences negated.
    Differences lie in [-span, span], `margin` in (-span, span), both in the metric's unit.

    A gambler bets the share lambda of his money on each case: his wealth, the product of 1 + lambda * X with
    X = (difference + margin) / span, has a mean of 1 at most under the null, so it ever reaches 1/alpha with a chance
    of at most alpha (Ville's inequality). The wealth is averaged over 24 values of lambda from .01 to .95 of the most
    that can be bet, spaced evenly in their logarithm (Waudby-Smith & Ramdas 2024). Each case takes the same time.
    """

    def __init__(self, span: float = 1.0, margin: float = 0.0) -> None:
        if not 0 < span < math.inf or not -span < margin < span:
            raise ValueError("span is above 0, and margin between -span and span")
        self.span = span
        self.margin = margin
        self.cases = 0
        self._bets: Array = np.geomspace(0.01, 0.95, BETS) / (1 - margin / span)
        self._logs: Array = np.zeros(BETS)
        self._highest = 0.0

    def update(self, difference: float) -> float:
        """Count one case; returns `p`. Raises `ValueError` when the difference is outside [-span, span]."""
        share = difference / self.span
        if not abs(share) <= 1 + 1e-9:
            raise ValueError(f"a difference of {difference} with a span of {self.span}")
        gain = max(-1.0, min(1.0, share)) + self.margin / self.span
        self._logs += np.log1p(self._bets * gain)
        self.cases += 1
        self._highest = max(self._highest, self.log_wealth)
        return self.p

    @property
    def log_wealth(self) -> float:
        """Natural logarithm of the wealth now; 0 at the start."""
        most = float(self._logs.max())
        return most + math.log(float(np.exp(self._logs - most).mean()))

    @property
    def p(self) -> float:
        """An anytime-valid p-value, in [0, 1], that only falls: 1 / the highest wealth so far."""
        return math.exp(-self._highest)

    def rejects(self, alpha: float = 0.05) -> bool:
        """Whether the null has been rejected at `alpha`, now or at any case before."""
        return self.p <= alpha


def binary_e_value(gained: int, lost: int, prior: float = 5.0) -> float:
    """Evidence, from 0 to infinity, that `gained` and `lost` pass/fail pairs aren't equally likely.

    E = B(gained + a, lost + a) / B(a, a) * 2**(gained + lost), with a = `prior`: the likelihood of a Beta(a, a) mixture
    over that of 1/2. It reaches 1/alpha with a chance of at most alpha, whenever one looks. Raises `ValueError` for
    negative counts or a `prior` not above 0.
    """
    if min(gained, lost) < 0 or not prior > 0:
        raise ValueError("counts are not negative, and the prior above 0")
    log = _log_beta(gained + prior, lost + prior) - _log_beta(prior, prior) + (gained + lost) * math.log(2)
    return math.exp(log) if log < 709 else math.inf


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
