"""What verdicts promise, held against made-up pull requests whose truth is known.

1,000 repetitions of the scenarios that say the most; `make validate` sets `SIMULATION_REPETITIONS` to 5,000, takes all
of them and prints what it measured. Seeds are fixed. Bars are those of docs/statistics.md, give or take the three
standard errors that a share may be off by chance at that number of repetitions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from llmops.correcting import Corrections
from llmops.evals.estimates import Paired
from llmops.stats.planning import SEQUENTIAL_CAP, binary_variance, bounded_floor, cases_needed
from llmops.stepping import Stepping
from llmops.types import MetricInfo, Output, Result, RunRecord, Score
from simulated_runs import NEW, OLD, Ended, SimulatedRun, Trials, grouped_cases, plain_cases, tally
from simulation_figures import Figures, printed_figures
from simulations import (
    CLUSTERED,
    EVERYTHING,
    GRADE,
    INDEPENDENT,
    REPETITIONS,
    SCORE,
    SHAPES,
    Draw,
    Outcomes,
    Scenario,
    clustered,
    flips,
    generator,
    observe,
    sides,
    spread,
    steps,
    three_se,
    three_way,
)

WRONG_RED, WRONG_PASS, POWER = 0.025, 0.035, 0.78
LOW, HIGH = 0.935, 0.965
SIZES = (20, 50, 100, 200, 500) if EVERYTHING else (100,)
PASS = MetricInfo("pass")
FIXED_CASES = 503  # what a single test of a 5-point drop needs when 16 % of the cases differ
CAP = 544

RATES = ("scenario", "n", "95 % interval covers", "… after a drop", "wrong red", "wrong pass", "drop found")
STOPS = ("run that may end early", "true change", "red", "green", "mean cases", "saved")
SHARES = ("scenario", "n", "figure", "measured", "bar")


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    yield from printed_figures()


def both(scenario: Scenario, cases: int, figures: Figures) -> tuple[Outcomes, Outcomes]:
    same, fallen = (observe(scenario, cases, changed=changed) for changed in (False, True))
    shares = (same.covered, fallen.covered, same.regressed, fallen.passed, fallen.regressed)
    figures.add(RATES, scenario.name, same.cases, *shares)
    return same, fallen


def assert_promises(scenario: Scenario, same: Outcomes, fallen: Outcomes) -> None:
    assert same.regressed <= scenario.wrong_red + three_se(scenario.wrong_red)
    assert fallen.passed <= WRONG_PASS + three_se(WRONG_PASS)
    if scenario.kind == "binary" and not scenario.sizes:
        return  # few counts are possible, so the exact coverage goes up and down with them; the errors are what counts
    for found in (same,) if scenario.skewed else (same, fallen):
        if found.cases >= 100:
            assert LOW - three_se(LOW) <= found.covered <= HIGH + three_se(HIGH)


@pytest.mark.parametrize("cases", SIZES)
@pytest.mark.parametrize("scenario", INDEPENDENT, ids=lambda scenario: scenario.name)
def test_independent_cases(scenario: Scenario, cases: int, figures: Figures) -> None:
    assert_promises(scenario, *both(scenario, cases, figures))


@pytest.mark.parametrize("scenario", CLUSTERED if EVERYTHING else CLUSTERED[:3], ids=lambda scenario: scenario.name)
def test_clustered_cases(scenario: Scenario, figures: Figures) -> None:
    same, fallen = both(scenario, 0, figures)
    assert_promises(scenario, same, fallen)


@pytest.mark.parametrize("cases", SIZES if EVERYTHING else (50,))
def test_rare_collapses_pass_a_t_interval_but_not_ours(cases: int) -> None:
    """The reason for the pass bound: the interval alone says "no meaningful drop" far too often."""
    scenario = next(one for one in INDEPENDENT if one.name.startswith("rare collapse"))
    found = observe(scenario, cases, changed=True)
    assert found.below > WRONG_PASS
    assert found.passed <= WRONG_PASS + three_se(WRONG_PASS)


# --- power ---


def planned() -> Iterator[tuple[str, MetricInfo, Draw, int, float]]:
    for share, drop in ((0.05, 0.05), (0.16, 0.05), (0.25, 0.10)):
        cases = cases_needed(binary_variance(share, drop), drop)
        yield f"pass or fail, {share:.0%} differ, {drop:.0%} drop", PASS, flips(share, drop), cases, drop
    for deviation, drop in ((0.15, 0.05), (0.25, 0.05), (0.35, 0.10)):
        cases = max(cases_needed(deviation**2, drop), bounded_floor(drop))
        yield f"scores, deviation {deviation}, {drop:.0%} drop", SCORE, spread(deviation, drop), cases, drop


@pytest.mark.parametrize("plan", list(planned()), ids=lambda plan: plan[0])
@pytest.mark.parametrize("early_stop", [False, True] if EVERYTHING else [False])
def test_the_planned_number_of_cases_finds_the_drop(plan, early_stop, figures: Figures) -> None:
    name, info, draw, cases, drop = plan
    cases = math.ceil(cases * SEQUENTIAL_CAP) if early_stop else cases
    run = SimulatedRun({info: drop}, plain_cases(cases), early_stop=early_stop)
    scores = endless(draw, info, cases, changed=True, name=name)
    found = tally(REPETITIONS, lambda: one_metric(run, next(scores)))
    how = "power, with early stopping" if early_stop else "power"
    figures.add(SHARES, name, cases, how, found.regressed, f"≥ {POWER}")
    assert found.regressed >= POWER - three_se(POWER)


# --- early stopping ---


def endless(draw: Draw, info: MetricInfo, cases: int, *, changed: bool, name: str) -> Iterator[Paired]:
    """Scores of one comparison after another."""
    random = generator(name, info.name, cases, changed)
    while True:
        kind = "binary" if info is PASS else None
        yield from sides(draw(random, 100, cases, changed), info, kind, random)


def one_metric(run: SimulatedRun, scores: Paired) -> Ended:
    name = run.rules.metrics[0].name
    return run.end({name: Trials(scores.a)}, {name: Trials(scores.b)})


@pytest.mark.parametrize(
    ("fall", "least_saved"), [(0.0, 0.18), (0.05, 0.0), (0.10, 0.55), *[(0.025, 0.0), (-0.025, 0.18)] * EVERYTHING]
)
def test_early_stopping_keeps_the_errors_and_saves_cases(fall: float, least_saved: float, figures: Figures) -> None:
    """The gate of the plan: a margin of 5 points, 16 % of the cases differ, looks at ten times within 544 cases."""
    assert cases_needed(0.16, 0.05) == FIXED_CASES and math.ceil(FIXED_CASES * SEQUENTIAL_CAP) == CAP
    run = SimulatedRun({PASS: 0.05}, plain_cases(CAP), early_stop=True)
    scores = endless(flips(0.16, fall), PASS, CAP, changed=True, name=f"stopping at {fall}")
    found = tally(REPETITIONS, lambda: one_metric(run, next(scores)))
    saved = 1 - found.mean_cases / FIXED_CASES
    figures.add(
        STOPS, "pass or fail, up to 544 cases", -fall or 0.0, found.regressed, found.passed, found.mean_cases, saved
    )
    assert saved >= least_saved
    if fall <= 0:
        assert found.regressed <= WRONG_RED + three_se(WRONG_RED)
    if fall >= 0.05:
        assert found.passed <= WRONG_PASS + three_se(WRONG_PASS)
        assert found.regressed >= POWER - three_se(POWER)


@pytest.mark.parametrize("shape", ["10 unequal clusters", *["40 unequal clusters", ""] * EVERYTHING])
@pytest.mark.parametrize("changed", [False, True] if EVERYTHING else [False])
def test_early_stopping_on_scores_and_documents(shape: str, changed: bool, figures: Figures) -> None:
    clusters, sizes = bool(shape), SHAPES.get(shape, ())
    groups = np.repeat(np.arange(len(sizes)), sizes)
    draw = clustered(sizes, 0.05) if clusters else spread(0.25, 0.05)
    run = SimulatedRun({SCORE: 0.05}, grouped_cases(groups) if clusters else plain_cases(213), early_stop=True)
    cases = len(run.cases)
    random = generator("documents", shape, changed)
    # A document's cases are drawn together, then put where the run's order has them.
    at = [int(case.id) for case in run.cases] if clusters else list(range(cases))

    def one() -> Ended:
        pairs = next(sides(draw(random, 1, cases, changed), SCORE, None, random))
        return run.end({"score": Trials(pairs.a[at])}, {"score": Trials(pairs.b[at])})

    found = tally(REPETITIONS, one)
    name = f"scores of {len(sizes)} documents" if clusters else "scores"
    cells = (found.regressed, found.passed, found.mean_cases, 1 - found.mean_cases / cases)
    figures.add(STOPS, f"{name}, up to {cases} cases", -0.05 if changed else 0.0, *cells)
    if changed:
        assert found.passed <= WRONG_PASS + three_se(WRONG_PASS)
    else:
        assert found.regressed <= WRONG_RED + three_se(WRONG_RED)


@pytest.mark.parametrize("fall", [0.0, 0.1])
def test_a_run_in_stages_decides_as_simulated(fall: float) -> None:
    """`Stepping`, fed results as a suite's run feeds it, ends where `SimulatedRun` does."""
    run = SimulatedRun({PASS: 0.05}, plain_cases(120), early_stop=True)
    scores = endless(flips(0.16, fall), PASS, 120, changed=True, name=f"stepping {fall}")
    record = RunRecord("run", "suite", "", "cases", "", metrics=(PASS,))
    for pairs in itertools.islice(scores, 10):
        simulated = one_metric(run, pairs)
        stepping = Stepping(run.rules, run.schedule, Corrections(record, {}), repeats=1, max_repeats=1)
        assert stepping.stages is not None
        place = 0
        for look, block in enumerate(stepping.stages.blocks):
            for _, case in block:
                for variant, values in ((OLD, pairs.a), (NEW, pairs.b)):
                    stepping.add(Result(variant, case, Output("x"), scores={"pass": Score(float(values[place]))}))
                place += 1
            if stepping.stages.ended(look):
                break
        comparisons, _ = stepping.conclude(stepping.level())
        assert (place, comparisons[0].metrics) == (simulated.cases, simulated.comparison.metrics)


# --- several guard metrics ---

GUARDS: dict[MetricInfo, tuple[float, Draw]] = {
    PASS: (0.05, flips(0.16, 0.05)),
    SCORE: (0.05, spread(0.15, 0.05)),
    GRADE: (0.2, steps),
    MetricInfo("level"): (0.05, three_way(0.15, 0.15, 0.05, 0.5)),
}


def guards_once(run: SimulatedRun, random: np.random.Generator, fallen: MetricInfo | None) -> Ended:
    old, new = {}, {}
    for info, (_, draw) in GUARDS.items():
        gains = draw(random, 1, len(run.cases), info is fallen)
        pairs = next(sides(gains, info, "binary" if info is PASS else None, random))
        old[info.name], new[info.name] = Trials(pairs.a), Trials(pairs.b)
    return run.end(old, new)


@pytest.mark.parametrize(("cases", "early_stop"), [(100, False), *[(60, False), (200, True)] * EVERYTHING])
def test_four_guards_are_wrong_no_more_often_than_one(cases: int, early_stop: bool, figures: Figures) -> None:
    margins = {info: margin for info, (margin, _) in GUARDS.items()}
    run = SimulatedRun(margins, plain_cases(cases), early_stop=early_stop)
    random = generator("guards", cases, early_stop)
    same = tally(REPETITIONS, lambda: guards_once(run, random, None))
    name = "four guards, stopping early" if early_stop else "four guards"
    figures.add(SHARES, name, cases, "any red, nothing changed", same.regressed, f"≤ {WRONG_RED}")
    assert same.regressed <= WRONG_RED + three_se(WRONG_RED)
    for fallen in (SCORE,) if early_stop else (PASS, SCORE):
        found = tally(REPETITIONS, lambda fallen=fallen: guards_once(run, random, fallen))  # type: ignore[misc]
        figures.add(SHARES, name, cases, f"all green, {fallen.name} fell", found.passed, f"≤ {WRONG_PASS}")
        assert found.passed <= WRONG_PASS + three_se(WRONG_PASS)
