"""Comparisons against an independent implementation, over data of every kind, and against printed figures."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_comparison as reference
from llmops.comparing import Outcome, compare
from llmops.evals.comparing import decide
from llmops.evals.comparison_rules import ComparisonSettings
from llmops.score_kinds import CompareOptions
from llmops.types import MetricComparison
from reference_comparison import Pair

CLOSE = 1e-6
Generator = np.random.Generator


def ours(pairs: Sequence[Pair], kind: str | None, **more: Any) -> Outcome:
    """The comparison by `llmops compare` itself, of a file of pairs."""
    alpha, margin = more.pop("alpha", 0.05), more.pop("margin", "5%")
    options = CompareOptions(kind=kind, settings=ComparisonSettings(alpha=alpha, margin=str(margin)), **more)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        path.write_text("".join(row + "\n" for row in rows_of(pairs)))
        return compare(path, None, options)


def rows_of(pairs: Sequence[Pair]) -> list[str]:
    made = []
    for pair in pairs:
        for a, b in zip(pair.a, pair.b, strict=True):
            row = {"case_id": pair.id, "score_a": a, "score_b": b}
            made.append(json.dumps(row if pair.group is None else {**row, "cluster": pair.group}))
    return made


def agree(mine: MetricComparison, theirs: reference.Verdict) -> None:
    def same(ours: float | None, other: float | None, what: str) -> None:
        if ours is None or other is None:
            assert ours is other, (what, ours, other)
        elif math.isfinite(ours) or math.isfinite(other):
            assert ours == pytest.approx(other, rel=CLOSE, abs=CLOSE), (what, ours, other)

    assert (mine.n, mine.groups) == (theirs.n, theirs.groups)
    for what in ("mean_a", "mean_b", "diff", "p", "lo_safe", "mde"):
        same(getattr(mine, what), getattr(theirs, what), what)
    same(mine.ci[0], theirs.lo, "lo")
    same(mine.ci[1], theirs.hi, "hi")
    if theirs.n_needed is None or mine.n_needed is None:
        assert mine.n_needed == theirs.n_needed
    else:
        assert abs(mine.n_needed - theirs.n_needed) <= 1, (mine.n_needed, theirs.n_needed)
    assert {"cr2": "CR2", "tango": "Tango", "t": "paired t"}[theirs.method] in mine.method
    close_call = min(abs(end) for end in (theirs.lo, theirs.hi, mine.p - mine.alpha, mine.lo_safe + mine.margin)) < 1e-9
    assert close_call or mine.verdict == theirs.verdict


def check(pairs: Sequence[Pair], kind: str, *, lo: float = 0.0, hi: float = 1.0, **more: Any) -> MetricComparison:
    theirs = reference.compare(
        pairs, kind, lo=lo, hi=hi, **{k: v for k, v in more.items() if k in ("alpha", "margin", "lower", "worst")}
    )
    told = {key: more[key] for key in ("alpha", "margin") if key in more}
    if kind in ("bounded", "ordinal"):
        told["range"] = (lo, hi)
    if more.get("lower"):
        told["lower"] = ("score",)
    mine = ours(pairs, kind, **told).comparison.metrics[0]
    agree(mine, theirs)
    return mine


# ---- seeded data of every kind


def binary(r: Generator, n: int, base: float, effect: float, differ: float) -> tuple[Any, Any]:
    a = (r.random(n) < base).astype(float)
    flip = r.random(n) < differ
    return a, np.where(flip, (r.random(n) < base + effect).astype(float), a)


def symmetric(r: Generator, n: int) -> tuple[Any, Any]:
    a = r.beta(5, 2, n)
    return a, np.clip(a + r.normal(r.choice([-0.05, 0, 0.05]), 0.15, n), 0, 1)


def collapsing(r: Generator, n: int) -> tuple[Any, Any]:
    a = r.uniform(0.6, 1.0, n)
    return a, np.where(r.random(n) < 0.04, 0.0, np.clip(a + 0.01, 0, 1))


def tied(r: Generator, n: int) -> tuple[Any, Any]:
    a = r.choice([0, 0.25, 0.5, 0.75, 1], n)
    return a, np.where(r.random(n) < 0.1, r.choice([0, 0.25, 0.5, 0.75, 1], n), a)


def sparse(r: Generator, n: int) -> tuple[Any, Any]:
    a = np.where(r.random(n) < 0.05, r.random(n), 0.0)
    return a, np.where(r.random(n) < 0.05, r.random(n), 0.0)


def equal(r: Generator, n: int) -> tuple[Any, Any]:
    a = r.random(n)
    return a, a.copy()


def shifted(r: Generator, n: int) -> tuple[Any, Any]:
    return np.full(n, 0.5), np.full(n, 0.5 + r.choice([-0.25, 0.125]))


SHAPES: dict[str, Callable[[Generator, int], tuple[Any, Any]]] = {
    "symmetric": symmetric, "collapsing": collapsing, "tied": tied, "sparse": sparse, "equal": equal,
    "shifted": shifted,
}  # fmt: skip
SIZES = (1, 2, 5, 9, 10, 19, 20, 30, 57, 120, 400)


def made(a: Any, b: Any, groups: Sequence[str | None] | None = None) -> list[Pair]:
    """Cases from a value, or a row of repeats, for each."""
    sides = ([tuple(map(float, np.atleast_1d(value))) for value in side] for side in (a, b))
    names = groups or [None] * len(a)
    return [Pair(f"case-{i}", x, y, group) for i, (x, y, group) in enumerate(zip(*sides, names, strict=True))]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("seed", range(6))
def test_pass_or_fail(n: int, seed: int) -> None:
    r = np.random.default_rng([seed, n])
    a, b = binary(r, n, r.choice([0.5, 0.8, 0.95]), r.choice([-0.3, -0.1, 0, 0.05]), r.choice([0.02, 0.2, 0.6]))
    check(made(a, b), "binary", alpha=float(r.choice([0.05, 0.1, 0.01])))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_scores_in_a_range(n: int, shape: str) -> None:
    r = np.random.default_rng([n, len(shape)])
    mine = check(made(*SHAPES[shape](r, n)), "bounded", alpha=float(r.choice([0.05, 0.1])))
    assert mine.kind == "bounded"


@pytest.mark.parametrize("n", [6, 25, 80, 300])
@pytest.mark.parametrize("seed", range(4))
def test_grades(n: int, seed: int) -> None:
    r = np.random.default_rng([seed, n])
    a = r.integers(1, 6, n).astype(float)
    b = np.clip(a + r.choice([-2, -1, 0, 0, 0, 1], n), 1, 5)
    mine = check(made(a, b), "ordinal", lo=1.0, hi=5.0)
    assert set(mine.broke) == {f"case-{i}" for i in range(n) if b[i] <= a[i] - 1}
    assert mine.margin == pytest.approx(0.2)


@pytest.mark.parametrize("n", [8, 30, 200])
def test_preferences_are_a_net_win_rate(n: int) -> None:
    r = np.random.default_rng(n)
    won = r.choice([-1.0, 0.0, 1.0], n, p=[0.2, 0.3, 0.5])
    by_sign = check(made(np.zeros(n), won), "preference")
    by_winner = check(made((won < 0).astype(float), (won > 0).astype(float)), "preference")
    halves = check(made((1 - won) / 2, (1 + won) / 2), "preference")
    for one in (by_winner, halves):
        assert (one.diff, *one.ci, one.p, one.lo_safe) == pytest.approx(
            (by_sign.diff, *by_sign.ci, by_sign.p, by_sign.lo_safe)
        )
    assert by_sign.diff == pytest.approx(won.mean())
    assert len(by_sign.fixed) == (won > 0).sum()


def test_a_preference_of_opposite_signs_counts_a_win_once() -> None:
    won = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], 60, p=[0.3, 0.3, 0.4])
    opposite, plain = (ours(made(a, won), "preference").comparison.metrics[0] for a in (-won, np.zeros(60)))
    assert opposite.verdict == plain.verdict
    assert opposite.lo_safe / 2 == pytest.approx(plain.lo_safe)


def test_a_failed_answer_loses_a_preference() -> None:
    pairs = [Pair(str(i), (0.0,), (float(i % 2),)) for i in range(200)]
    pairs[0] = Pair("0", (0.0,), (None,))
    mine = check(pairs, "preference", worst=-1.0)
    assert mine.broke == ("0",)


CLUSTERS: dict[str, Callable[[Generator, int], list[str | None]]] = {
    "equal": lambda r, n: [f"g{i // 4}" for i in range(n)],
    "unequal": lambda r, n: [f"g{int(i**0.6)}" for i in range(n)],
    "one huge": lambda r, n: ["huge" if i < n // 2 else f"g{i // 3}" for i in range(n)],
    "some alone": lambda r, n: [f"g{i // 4}" if i % 3 else None for i in range(n)],
    "few": lambda r, n: [f"g{i % 4}" for i in range(n)],
    "one": lambda r, n: ["g"] * n,
    "all alone": lambda r, n: [f"g{i}" for i in range(n)],
}


@pytest.mark.parametrize("layout", CLUSTERS)
@pytest.mark.parametrize("n", [12, 40, 150])
@pytest.mark.parametrize("kind", ["bounded", "binary"])
def test_clusters(layout: str, n: int, kind: str) -> None:
    r = np.random.default_rng([n, len(layout), len(kind)])
    groups = CLUSTERS[layout](r, n)
    share = {g: float(r.normal(0, 0.15)) for g in dict.fromkeys(groups)}
    push = np.array([share[g] for g in groups])
    a = r.random(n)
    b = np.clip(a + push + r.normal(0, 0.1, n), 0, 1)
    if kind == "binary":
        a, b = (a > 0.4).astype(float), (b > 0.4).astype(float)
    mine = check(made(a, b, groups), kind)
    assert (mine.groups is None) == (layout == "all alone")
    if layout in ("few", "one"):
        assert mine.verdict == "inconclusive"
        assert any("group" in why for why in mine.why)
    assert all(map(math.isfinite, (*mine.ci, mine.lo_safe)))


def test_clusters_whose_groups_agree_exactly() -> None:
    """The design effect is 0 then, and no number of cases may be divided by it."""
    a = np.full(80, 0.5)
    b = a + np.tile([0.2, -0.2], 40)
    mine = check(made(a, b, [f"g{i // 2}" for i in range(80)]), "bounded")
    assert mine.ci[0] < 0 < mine.ci[1]
    assert mine.lo_safe < 0
    assert mine.mde is not None
    assert mine.mde > 0


@pytest.mark.parametrize("kind", ["binary", "bounded"])
@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("grouped", [False, True])
def test_repeats_are_averaged_first(kind: str, k: int, grouped: bool) -> None:
    r = np.random.default_rng([k, len(kind)])
    skill = r.beta(4, 2, 90)
    a, b = (np.clip(skill[:, None] + d + r.normal(0, 0.2, (90, k)), 0, 1) for d in (0, -0.05))
    if kind == "binary":
        a, b = (a > 0.5).astype(float), (b > 0.5).astype(float)
    pairs = made(a, b, [f"g{i // 3}" for i in range(90)] if grouped else None)
    mine = check(pairs, kind)
    assert mine.n == 90
    assert ("paired t" in mine.method) != grouped  # not Tango: a case has more outcomes than two
    assert mine.kind == kind


def test_repeats_that_all_agree_are_pass_or_fail() -> None:
    a, b = binary(np.random.default_rng(3), 60, 0.8, -0.1, 0.3)
    assert "Tango" in check(made(np.stack([a, a], 1), np.stack([b, b], 1)), "binary").method


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("failed", [0, 2, 3, 40])
@pytest.mark.parametrize("kind", ["binary", "bounded", "ordinal"])
@pytest.mark.parametrize("lower", [False, True])
def test_an_error_scores_the_worst_value(side: str, failed: int, kind: str, lower: bool) -> None:
    r = np.random.default_rng(failed)
    lo, hi = (1.0, 5.0) if kind == "ordinal" else (0.0, 1.0)
    values = {"binary": r.integers(0, 2, 100), "bounded": r.random(100), "ordinal": r.integers(1, 6, 100)}[kind]
    pairs = made(values.astype(float), values.astype(float))
    for i in range(failed):
        pairs[i] = Pair(pairs[i].id, *(((None,), pairs[i].b) if side == "a" else (pairs[i].a, (None,))))
    mine = check(pairs, kind, lo=lo, hi=hi, lower=lower)
    assert (mine.errors_a, mine.errors_b) == ((failed, 0) if side == "a" else (0, failed))
    assert any("failed" in why for why in mine.why) == (failed > 2)
    if failed > 2:
        assert mine.verdict == "inconclusive"


@pytest.mark.parametrize("lower", [False, True])
def test_less_can_be_better(lower: bool) -> None:
    r = np.random.default_rng(5)
    a = r.uniform(0.2, 0.6, 150)
    mine = check(made(a, a + r.uniform(0, 0.3, 150)), "bounded", lower=lower)
    assert mine.verdict == ("regressed" if lower else "improved")
    assert mine.mean_b is not None
    assert mine.mean_a is not None
    assert mine.mean_b > mine.mean_a
    assert (mine.diff < 0) == lower


@pytest.mark.parametrize("margin", [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("kind", ["binary", "bounded"])
def test_the_margin(margin: float, kind: str) -> None:
    r = np.random.default_rng(9)
    a, b = binary(r, 300, 0.8, -0.05, 0.2) if kind == "binary" else symmetric(r, 300)
    mine = check(made(a, b), kind, margin=margin)
    assert mine.margin == margin
    assert (mine.n_needed is None) == (margin == 0)


# ---- anything

SCORES = st.floats(0, 1).map(lambda x: round(x, 3))


@st.composite
def cases(draw: Any, score: st.SearchStrategy[float]) -> list[Pair]:
    failing = st.none() | score if draw(st.booleans()) else score
    repeats = st.integers(1, draw(st.sampled_from([1, 1, 3])))
    names = st.sampled_from(["d1", "d2", "d3", "d4", "d5", "d6", "d7", None]) if draw(st.booleans()) else st.none()
    found = []
    for place in range(draw(st.integers(1, 40))):
        k = draw(repeats)
        sides = [tuple(draw(st.lists(failing, min_size=k, max_size=k))) for _ in range(2)]
        found.append(Pair(f"c{place}", sides[0], sides[1], draw(names)))
    return found


def scored(pairs: list[Pair]) -> bool:
    """A metric has a score somewhere, and a pair without any on both sides is no pair."""
    return all(any(x is not None for x in (*p.a, *p.b)) for p in pairs)


@settings(max_examples=150, deadline=None)
@given(cases(SCORES).filter(scored), st.sampled_from([0.001, 0.01, 0.05, 0.1, 0.3]), st.booleans())
def test_any_scores(pairs: list[Pair], alpha: float, lower: bool) -> None:
    check(pairs, "bounded", alpha=alpha, lower=lower)


@settings(max_examples=150, deadline=None)
@given(cases(st.sampled_from([0.0, 1.0])).filter(scored), st.sampled_from([0.001, 0.01, 0.05, 0.1, 0.3]), st.booleans())
def test_any_outcomes(pairs: list[Pair], alpha: float, lower: bool) -> None:
    check(pairs, "binary", alpha=alpha, lower=lower)


@settings(max_examples=60, deadline=None)
@given(cases(st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0])).filter(scored))
def test_any_grades(pairs: list[Pair]) -> None:
    check(pairs, "ordinal", lo=1.0, hi=5.0)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1), st.floats(0, 0.3))
def test_every_verdict_is_the_one_of_the_table(lo: float, hi: float, p: float, safe: float, margin: float) -> None:
    lo, hi = sorted((lo, hi))
    row = reference.Verdict(50, None, 0, 0, 0, lo, hi, p, min(lo, safe), 0.1, 0.1, 1, "t")
    assert decide(lo, hi, p, min(lo, safe), margin, 0.05) == reference.verdict_of(row, margin, 0.05, p)


# ---- several metrics


def many(folder: Path, drops: Sequence[float], n: int = 120, tags: bool = False) -> tuple[Path, Path]:
    """Two files with a metric for each drop."""
    r = np.random.default_rng(11)
    sides: tuple[list[str], list[str]] = ([], [])
    base = r.uniform(0.4, 0.8, (n, len(drops)))
    noise = r.normal(0, 0.12, (n, len(drops)))
    for i in range(n):
        for side, shift in zip(sides, (0, 1), strict=True):
            scores = {
                f"m{j}": float(np.clip(base[i, j] - shift * (drop + noise[i, j]), 0, 1)) for j, drop in enumerate(drops)
            }
            side.append(json.dumps({"id": i, "scores": scores, **({"tags": [f"t{i % 4}"]} if tags else {})}))
    paths = folder / "a.jsonl", folder / "b.jsonl"
    for path, rows in zip(paths, sides, strict=True):
        path.write_text("\n".join(rows))
    return paths


def test_guards_share_the_error_by_holm(tmp_path: Path) -> None:
    a, b = many(tmp_path, [0.05, 0.035, 0.06, -0.05, 0.01], n=40)
    guarded, alone = compare(a, b, CompareOptions()), compare(a, b, CompareOptions(gates=()))
    plain = alone.comparison.metrics
    adjusted = reference.holm([m.p if m.diff < 0 else 1.0 for m in plain])
    for mine, before, p in zip(guarded.comparison.metrics, plain, adjusted, strict=True):
        assert mine.p == before.p
        assert mine.p_holm == pytest.approx(p, abs=CLOSE)
        assert before.p_holm is None
        expected = reference.verdict_of(
            reference.Verdict(40, None, 0, 0, 0, *mine.ci, mine.p, mine.lo_safe, 0, 0, 0, ""), mine.margin, 0.05, p
        )
        assert mine.verdict == expected
    verdicts = [(before.verdict, mine.verdict) for mine, before in zip(guarded.comparison.metrics, plain, strict=True)]
    assert ("regressed", "inconclusive") in verdicts  # the error is shared in earnest
    assert ("improved", "improved") in verdicts


def test_a_pass_on_every_guard_needs_no_correction(tmp_path: Path) -> None:
    a, b = many(tmp_path, [-0.05, -0.04, -0.03, -0.06])
    found = compare(a, b, CompareOptions(gates=("better",)))
    assert {m.verdict for m in found.comparison.metrics} == {"improved"}
    assert found.exit_code == 0


def test_slices_are_marked_by_benjamini_and_hochberg(tmp_path: Path) -> None:
    a, b = many(tmp_path, [0.05, 0.0, 0.02], n=160, tags=True)
    slices = compare(a, b, CompareOptions()).comparison.slices
    assert len(slices) == 12
    assert [one.notable for one in slices] == [
        p <= 0.1 for p in reference.benjamini_hochberg([one.p for one in slices])
    ]
    assert {one.notable for one in slices} == {True, False}
    first = slices[0]
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in (a, b)]
    gains = [y["scores"]["m0"] - x["scores"]["m0"] for x, y in zip(*rows, strict=True) if x["tags"] == [first.tag]]
    _, low, high, p = reference.paired_t(gains, 0.05)
    assert (first.diff, *first.ci, first.p, first.n) == pytest.approx((np.mean(gains), low, high, p, 40))


def test_the_sign_flip_test_is_shown_for_few_cases() -> None:
    a, b = symmetric(np.random.default_rng(2), 14)
    mine = ours(made(a, b), "bounded", range=(0.0, 1.0)).comparison.metrics[0]
    assert mine.p_sign_flip == pytest.approx(reference.sign_flip(list(b - a)))
    a, b = symmetric(np.random.default_rng(2), 30)
    assert ours(made(a, b), "bounded", range=(0.0, 1.0)).comparison.metrics[0].p_sign_flip is None


# ---- figures in print


def pass_fail(gained: int, lost: int, n: int, both: int = 0) -> list[Pair]:
    outcomes = [(0, 1)] * gained + [(1, 0)] * lost + [(1, 1)] * both
    outcomes += [(0, 0)] * (n - len(outcomes))
    return [Pair(str(i), (float(a),), (float(b),)) for i, (a, b) in enumerate(outcomes)]


def test_the_example_of_fagerland_lydersen_and_laake() -> None:
    mine = check(pass_fail(1, 7, 21), "binary")
    assert mine.ci == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_no_case_differs() -> None:
    mine = check(pass_fail(0, 0, 30, 20), "binary")
    assert mine.ci == pytest.approx((-0.114, 0.114), abs=5e-4)
    assert mine.mde is not None
    assert mine.mde > 0.1
    assert mine.verdict == "inconclusive"


def test_a_drop_of_seven_points_in_two_hundred_answers() -> None:
    """24 answers broke, 10 were fixed, 78 % to 71 %: not luck."""
    found = ours(pass_fail(10, 24, 200, 132), None)
    mine = found.comparison.metrics[0]
    assert (mine.mean_a, mine.mean_b, mine.kind) == (0.78, 0.71, "binary")
    assert (len(mine.broke), len(mine.fixed)) == (24, 10)
    assert mine.verdict == "regressed"
    assert mine.ci == pytest.approx((-0.130, -0.014), abs=2e-3)
    assert found.exit_code == 1


@pytest.mark.parametrize(("margin", "n"), [(0.05, 50), (0.03, 83), (0.02, 125)])
def test_equal_scores_need_so_many_cases_to_pass(margin: float, n: int) -> None:
    a = np.linspace(0.1, 0.9, n)
    assert check(made(a, a), "bounded", margin=margin).verdict == "equivalent"
    short = check(made(a[1:], a[1:]), "bounded", margin=margin)
    assert (short.verdict, short.n_needed) == ("inconclusive", n)


def test_concentrated_losses_are_worse_although_most_cases_are_better() -> None:
    """20 cases lose 0.5 and 80 gain 0.05: the mean is -0.06, p = .008. Rank tests say better."""
    gains = np.array([-0.5] * 20 + [0.05] * 80)
    mine = check(made(np.full(100, 0.5), 0.5 + gains), "bounded")
    assert mine.diff == pytest.approx(-0.06)
    assert mine.p == pytest.approx(0.008, abs=5e-4)
    assert mine.verdict == "regressed"


@pytest.mark.parametrize(("n", "cost"), [(20, 0.045), (50, 0.016), (100, 0.007), (200, 0.003), (500, 0.001)])
def test_what_the_safe_bound_costs(n: int, cost: float) -> None:
    """Against the t interval's lower end, for scores as the specification has them; its figures are rounded."""
    lost = []
    for seed in range(40):
        r = np.random.default_rng([seed, n])
        a = r.uniform(0.3, 0.7, n)
        mine = ours(made(a, a + np.clip(r.normal(0, 0.12, n), -0.3, 0.3)), "bounded", range=(0.0, 1.0))
        metric = mine.comparison.metrics[0]
        lost.append(metric.ci[0] - metric.lo_safe)
    assert min(lost) >= 0
    assert float(np.mean(lost)) == pytest.approx(cost, abs=0.35 * cost + 0.002)


def test_gains_of_rates_with_one_rate_are_wilsons() -> None:
    from llmops.stats.intervals import wilson

    for passed, n in ((18, 20), (0, 5), (77, 120)):
        assert wilson(passed, n) == pytest.approx(reference.single_rate(passed, n, 0.05), abs=CLOSE)


def test_prediction_powered_comparisons() -> None:
    from llmops.evals.comparing import compare_metric
    from llmops.evals.estimates import Labels, Paired
    from llmops.types import MetricInfo

    r = np.random.default_rng(8)
    judge = r.normal(0.02, 0.2, 60)
    human = judge * 0.6 - 0.08 + r.normal(0, 0.1, 60)
    a = r.uniform(0.3, 0.7, 300)
    gains = np.clip(r.normal(0.02, 0.1, 300), -0.3, 0.3)
    mine = compare_metric(
        MetricInfo("quality", 0.0, 1.0), Paired([str(i) for i in range(300)], a, a + gains),
        margin=0.05, settings=ComparisonSettings(), labels=Labels(human, judge),
    )  # fmt: skip
    mean, low, high, p = reference.prediction_powered(human.tolist(), judge.tolist(), gains.tolist(), 0.05)
    assert (mine.diff, *mine.ci, mine.p) == pytest.approx((mean, low, high, p), abs=CLOSE)
    assert mine.lo_safe <= mine.ci[0]
    assert mine.verdict == "regressed"
