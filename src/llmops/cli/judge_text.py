"""What `llmops judge calibrate` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from llmops.cli.terminal import harmless

if TYPE_CHECKING:
    from llmops.calibration.biases import Length, Position, VariantErrors
    from llmops.calibration.findings import Findings
    from llmops.calibration.people import People
    from llmops.stats.resampling import Estimate

Row = tuple[str, str, str]
_WIDEST = 60
_LEFT_OUT = {
    "not_in_run": "labels of cases or answers the run doesn't have",
    "of_other_answers": "labels of another answer than the run's",
}


def lines(found: Findings, name: str, left_out: Mapping[str, int], advice: str) -> Iterator[str]:
    """The report, a line at a time; names from files are made harmless."""
    yield harmless(f"{name}: judge against people, {found.n:,} labels of {found.cases:,} cases")
    counts = {
        **{_LEFT_OUT[key]: count for key, count in left_out.items()},
        "labels without a verdict": found.not_judged,
    }
    counts["verdicts that couldn't be read" + (", taken as wrong" if found.kind != "scale" else "")] = found.unreadable
    for what, count in counts.items():
        if count:
            yield f"  {count:,} {what}"
    yield ""
    yield from _aligned(_rows(found))
    yield ""
    yield harmless(advice)


def _rows(found: Findings) -> Iterator[Row]:
    yield from _agreement(found)
    if found.people is not None:
        yield from _people(found.people)
    if found.position is not None:
        yield from _position(found.position)
    if found.length is not None:
        yield from _length(found.length, pairs=found.kind == "choice")
    if found.variants is not None:
        yield from _variants(found.variants)


def _agreement(found: Findings) -> Iterator[Row]:
    if found.agreement is not None:
        yield ("agreement", _percent(found.agreement), "")
    if found.kappa is not None:
        yield ("Cohen's kappa", _number(found.kappa), "agreement beyond chance; collapses where one verdict is rare")
    if found.ac1 is not None:
        yield ("Gwet's AC1", _number(found.ac1), "the same, steady where one verdict is rare: read both")
    if found.weighted_kappa is not None:
        yield ("quadratic kappa", _number(found.weighted_kappa), "far misses count more than near ones")
    if found.detection is not None:
        rates = found.detection
        yield ("sensitivity", _percent(rates.sensitivity), f"yes to what people said yes to ({rates.positives:,})")
        yield ("specificity", _percent(rates.specificity), f"no to what people said no to ({rates.negatives:,})")
    if found.spearman is not None:
        yield ("Spearman's rho", _number(found.spearman), "the same order")
    if found.pearson is not None:
        yield ("Pearson's r", _number(found.pearson), "on one line")
    if found.shift is not None:
        shift = found.shift
        text = f"{0 - shift.mean:+.3f} ({0 - shift.hi:+.3f} to {0 - shift.lo:+.3f})"
        yield ("judge minus people", text, "on average")


def _people(people: People) -> Iterator[Row]:
    yield ("people agree", f"{people.agreement:.1%}", f"{people.annotators} annotators: as well as a judge can do")
    yield ("Krippendorff's alpha", _number(people.alpha), "among people")
    for pair in people.pairs:
        kappa = "–" if pair.kappa is None else f"{pair.kappa:.3f}"
        yield f"  {pair.first} and {pair.second}", f"{pair.agreement:.1%}", f"kappa {kappa}, {pair.n:,} labels"


def _position(place: Position) -> Iterator[Row]:
    fair = "50% is fair"
    if place.people_first_slot is not None:
        fair = f"people chose it {_percent(place.people_first_slot)}"
    yield ("first one wins", _percent(place.first_slot), f"{fair}; p {_p(place.p)}")
    if place.consistency is not None:
        yield ("order consistency", _percent(place.consistency), "same verdict when the order is swapped")
    if place.agreement_swapped is not None:
        yield (
            "agreement, swapped",
            _percent(place.agreement_swapped),
            f"right in both: {place.agreement_both_orders:.1%}",
        )


def _length(length: Length, *, pairs: bool) -> Iterator[Row]:
    if pairs:
        people, judge = _percent(length.people), _percent(length.judge)
        yield ("longer one wins", judge, f"with people {people}")
        yield ("  more than people", _percent(length.excess), "0 is fair")
        return
    yield ("length and verdict", _number(length.judge), f"with people {_number(length.people)}")
    yield ("  more than people", _number(length.excess), "0 is fair")


def _variants(variants: VariantErrors) -> Iterator[Row]:
    for error in variants.errors:
        name = error.variant or "(no variant)"
        yield (f"people - judge, {name}", f"{error.error:+.3f}", f"{error.n:,} cases")
    for gap in variants.gaps:
        how = "by case" if gap.paired else "as two groups"
        text = f"{gap.test.mean:+.3f} ({gap.test.lo:+.3f} to {gap.test.hi:+.3f})"
        yield (f"  {gap.second} against {gap.first}", text, f"{how}; p {_p(gap.p)}")


def _aligned(rows: Iterable[Row]) -> Iterator[str]:
    """Rows as columns, each as wide as its widest part."""
    table = [tuple(harmless(part) for part in row) for row in rows]
    widths = [min(max(len(row[column]) for row in table), _WIDEST) for column in (0, 1)]
    for label, figure, remark in table:
        yield f"{label:<{widths[0]}}  {figure:<{widths[1]}}  {remark}".rstrip()


def _percent(one: Estimate) -> str:
    if one.value is None:
        return "–"
    return f"{one.value:.1%}" + ("" if one.lo is None or one.hi is None else f" ({one.lo:.1%} to {one.hi:.1%})")


def _number(one: Estimate) -> str:
    if one.value is None:
        return "–"
    return f"{one.value:.3f}" + ("" if one.lo is None or one.hi is None else f" ({one.lo:.3f} to {one.hi:.3f})")


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "below 0.001"
