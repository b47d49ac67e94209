"""Pairwise preferences: net win rate of two, Bradley-Terry strengths of three or more, position of the winner."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmops.stats.intervals import wilson
from llmops.stats.prediction import judge_bias
from llmops.stats.resampling import Estimate, Floats, bootstrap_sums, codes, percentiles

ELO_POINTS = 400 / math.log(10)
DRAWS = 999
_STEPS = 60
_RIDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Battle:
    """One comparison: `score` is 1 when `first` won, 0 when `second` did, 0.5 for a tie. `case` is what was asked."""

    first: str
    second: str
    score: float
    case: Hashable = None


@dataclass(frozen=True, slots=True)
class NetWins:
    """`net` = (wins − losses)/n, −1 to 1, its paired t interval and p; `win_rate` = (1 + net)/2 counts ties half."""

    wins: int
    ties: int
    losses: int
    net: float
    lo: float
    hi: float
    p: float

    @property
    def win_rate(self) -> float:
        return (1 + self.net) / 2


@dataclass(frozen=True)
class Strengths:
    """Bradley-Terry strengths β, centred on 0, by model; `draws` are those of the resampled cases (draws × models)."""

    models: tuple[str, ...]
    beta: Floats
    draws: Floats = field(repr=False)
    alpha: float = 0.05

    def strength(self, model: str) -> Estimate:
        """β of a model, against the mean of all, with its interval."""
        at = self._index(model)
        return self._estimate(float(self.beta[at]), self.draws[:, at])

    def contrast(self, model: str, other: str) -> Estimate:
        """β of `model` minus β of `other` with its interval: what compares two, not two overlapping intervals."""
        a, b = self._index(model), self._index(other)
        return self._estimate(float(self.beta[a] - self.beta[b]), self.draws[:, a] - self.draws[:, b])

    def win_chance(self, model: str, other: str) -> Estimate:
        """The chance, 0 to 1, that `model` is preferred to `other`: σ(β − β)."""
        found = self.contrast(model, other)
        return Estimate(*(None if part is None else _sigmoid(part) for part in (found.value, found.lo, found.hi)))

    def _index(self, model: str) -> int:
        if model not in self.models:
            raise ValueError(f"no comparison has a model {model!r}")
        return self.models.index(model)

    def _estimate(self, value: float, draws: Floats) -> Estimate:
        found = percentiles(draws, self.alpha) if len(draws) else None
        return Estimate(value) if found is None else Estimate(value, *found)


def elo(strength: float) -> float:
    """A strength, or a difference of two, in Elo points: 400/ln 10 · β."""
    return ELO_POINTS * strength


def net_win_rate(outcomes: Sequence[float], alpha: float = 0.05) -> NetWins:
    """Net win rate of +1 (won), 0 (tie) and −1 (lost), one a case. Raises `ValueError` for others or fewer than 2."""
    if any(outcome not in (-1, 0, 1) for outcome in outcomes):
        raise ValueError("an outcome is 1, 0 or -1")
    found = judge_bias(outcomes, [0.0] * len(outcomes), alpha)
    wins, ties, losses = (sum(1 for outcome in outcomes if outcome == kind) for kind in (1, 0, -1))
    return NetWins(wins, ties, losses, found.mean, max(-1.0, found.lo), min(1.0, found.hi), found.p)


def first_slot_rate(choices: Sequence[str], alpha: float = 0.05) -> Estimate:
    """How often the answer shown first ("1" of "1", "2" and "tie") won, ties left out, with Wilson's interval.

    A fair judge is at ½ when the order is balanced.
    """
    decided = [choice for choice in choices if choice in ("1", "2")]
    first = decided.count("1")
    return Estimate(first / len(decided), *wilson(first, len(decided), alpha)) if decided else Estimate(None)


def bradley_terry(battles: Sequence[Battle], *, alpha: float = 0.05, draws: int = DRAWS, seed: int = 0) -> Strengths:
    """Maximum-likelihood strengths, P(i beats j) = σ(β_i − β_j), ties as half a win each, centred on 0.

    Newton's method on g_i = Σ_j (w_ij − n_ij P_ij) with Hessian diag(ΣI) − I, I_ij = n_ij P_ij(1 − P_ij) (Bradley &
    Terry 1952; Hunter 2004). Intervals resample cases, with all comparisons of a case together. Raises `ValueError`
    when there is no finite maximum: unless every group of models lost at least once, or tied, against the others
    (Ford 1957); and for a score that isn't 0, 0.5 or 1.
    """
    models = _check(battles)
    cells = len(models) ** 2
    number = {model: at for at, model in enumerate(models)}
    cases = codes([battle.case if battle.case is not None else ("row", row) for row, battle in enumerate(battles)])
    wins = np.zeros((int(cases.max()) + 1, cells))
    for case, battle in zip(cases, battles, strict=True):
        a, b = number[battle.first], number[battle.second]
        wins[case, a * len(models) + b] += battle.score
        wins[case, b * len(models) + a] += 1 - battle.score
    total = wins.sum(0).reshape(len(models), len(models))
    _check_connected(total, models)
    beta = _newton(total[None], ridge=0.0)[0]

    def fit(sums: Floats) -> Floats:
        return _newton(sums.reshape(-1, len(models), len(models)), ridge=_RIDGE)

    resampled = bootstrap_sums(wins, fit, draws=draws, seed=seed) if draws else np.zeros((0, len(models)))
    return Strengths(models, beta, resampled, alpha)


def _check(battles: Sequence[Battle]) -> tuple[str, ...]:
    for battle in battles:
        if battle.score not in (0, 0.5, 1):
            raise ValueError(f"a score is 0, 0.5 or 1, not {battle.score!r}")
        if battle.first == battle.second:
            raise ValueError(f"{battle.first!r} is compared with itself")
    models = tuple(dict.fromkeys(name for battle in battles for name in (battle.first, battle.second)))
    if len(models) < 2:
        raise ValueError("at least one comparison of two models is needed")
    return models


def _check_connected(wins: Floats, models: tuple[str, ...]) -> None:
    """Raise unless from every model a chain of wins or ties leads to every other."""
    beats = wins > 0
    for forwards, problem in ((beats, "never lost to"), (beats.T, "never won against")):
        there = _reachable(forwards, 0)
        if there.all():
            continue
        played = (wins + wins.T)[there][:, ~there].any()
        # What can't be reached from a model along wins never lost to what can: the two sides are `missing` and `there`.
        missing, kept = (
            ", ".join(m for m, r in zip(models, there, strict=True) if r == side) for side in (False, True)
        )
        if not played:
            raise ValueError(f"no comparison connects {kept} with {missing}: their strengths can't be compared")
        raise ValueError(f"{missing} {problem} {kept}: no finite strength fits; add comparisons, or leave them out")


def _reachable(edges: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    seen = np.zeros(len(edges), dtype=np.bool_)
    seen[start] = True
    while True:
        more = seen | edges[seen].any(0)
        if (more == seen).all():
            return seen
        seen = more


def _newton(wins: Floats, ridge: float) -> Floats:
    """Strengths of each table of wins (B × K × K). A tiny ridge keeps resamples without a finite maximum finite."""
    models = wins.shape[1]
    played = wins + wins.transpose(0, 2, 1)
    won = wins.sum(2)
    beta = np.zeros(won.shape)
    centring = np.full((models, models), 1 / models)  # the likelihood doesn't see a common shift of all strengths
    for _ in range(_STEPS):
        chance = _sigmoids(beta[:, :, None] - beta[:, None, :])
        gradient = won - (played * chance).sum(2) - ridge * beta
        information = played * chance * (1 - chance)
        hessian = -information
        at = np.arange(models)
        hessian[:, at, at] += information.sum(2) + ridge
        step = np.linalg.solve(hessian + centring, gradient[..., None])[..., 0]
        beta += np.clip(step, -2.0, 2.0)  # far from the maximum a full step may leap past it and back
        beta -= beta.mean(1, keepdims=True)
        if np.abs(step).max() < 1e-12:
            break
    return beta


def _sigmoid(x: float) -> float:
    return float(_sigmoids(np.asarray([x]))[0])


def _sigmoids(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))
