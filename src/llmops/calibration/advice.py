"""What to do with a judge, in plain sentences."""

from __future__ import annotations

from llmops.calibration.findings import Findings

FEW, ENOUGH = 30, 50
ALPHA = 0.05
SHRUNK = 0.6
FEW_OF_A_KIND = 20  # labels of one verdict, below which its rate says little
WEAK_KAPPA, WEAK_RHO = 0.4, 0.5


def recommendation(found: Findings) -> str:
    """Whether to gate on this judge, and what to mind: one to a few sentences."""
    if found.n < FEW:
        return f"Too few labels to say: {found.n}, at least {ENOUGH} are needed. Label more, drawn at random."
    if _no_better_than_chance(found):
        return "Don't gate on this judge: its agreement with people can't be told from chance."
    weak = _too_weak(found)
    if weak:
        return f"Don't gate on this judge: {weak}."
    if not found.same_scale:
        return (
            "People and judge are on different scales, so only their order was compared: add"
            " --human-range LO HI, or --threshold X."
        )
    parts = [*_weak(found), *_differing(found), *_place(found), *_length(found), *_shrunk(found)]
    first = "Usable, with care." if parts else "Good enough to gate on."
    parts = [first, *_ceiling(found), *parts]
    if found.n < ENOUGH:
        parts.append(f"With {found.n} labels the intervals are wide: label {ENOUGH} or more.")
    return " ".join(parts)


def _no_better_than_chance(found: Findings) -> bool:
    """κ and AC1 both have to fail: where one answer is rare, κ alone does although people and judge agree."""
    of = (found.kappa, found.ac1) if found.kappa is not None else (found.spearman,)
    return all(one is None or one.value is None or (one.lo if one.lo is not None else one.value) <= 0 for one in of)


def _too_weak(found: Findings) -> str:
    """What makes a verdict of this judge worth little, though it is better than chance."""
    both = [one.value for one in (found.kappa, found.ac1) if one is not None and one.value is not None]
    if both and max(both) < WEAK_KAPPA:
        return "it agrees with people only a little more than chance would"
    rates = () if found.detection is None else (found.detection.sensitivity, found.detection.specificity)
    known = [one.value for one in rates if one.value is not None]
    if found.detection is None or min(found.detection.positives, found.detection.negatives) < FEW_OF_A_KIND:
        return ""
    if len(known) == 2 and sum(known) - 1 < WEAK_KAPPA:
        return f"it shows only {max(0.0, sum(known) - 1):.0%} of a real difference"
    return ""


def _ceiling(found: Findings) -> list[str]:
    if found.people is None or found.agreement is None or found.agreement.value is None:
        return []
    gap = found.people.agreement - found.agreement.value
    if gap <= 0.02:
        return ["It agrees with people as often as they agree with each other."]
    people, judge = found.people.agreement, found.agreement.value
    return [f"People agree with each other more often ({people:.1%}) than with it ({judge:.1%})."]


def _weak(found: Findings) -> list[str]:
    rho = None if found.spearman is None else found.spearman.value
    if rho is not None and rho < WEAK_RHO:
        return [f"It follows people's order only weakly (rho {rho:.2f})."]
    return []


def _differing(found: Findings) -> list[str]:
    gaps = found.variants.gaps if found.variants is not None else ()
    worst = min((gap for gap in gaps if gap.p <= ALPHA), key=lambda gap: gap.p, default=None)
    if worst is None:
        return []
    lenient, other = (worst.first, worst.second) if worst.test.mean > 0 else (worst.second, worst.first)
    return [
        f"It is more lenient to {lenient} than to {other}, by {abs(worst.test.mean):.3g}: don't believe its difference"
        " between them uncorrected."
    ]


def _place(found: Findings) -> list[str]:
    place = found.position
    if place is None or place.p > ALPHA or place.first_slot.value is None:
        return []
    fair = 0.5 if place.people_first_slot is None else place.people_first_slot.value or 0.5
    which = "first" if place.first_slot.value > fair else "second"
    return [f"It prefers the answer shown {which}: show pairs in a balanced random order, or in both orders."]


def _length(found: Findings) -> list[str]:
    if found.length is None or found.length.excess.lo is None or found.length.excess.hi is None:
        return []
    if found.length.excess.lo > 0:
        return ["It likes longer answers more than people do: mind variants that write more."]
    if found.length.excess.hi < 0:
        return ["It likes shorter answers more than people do: mind variants that write less."]
    return []


def _shrunk(found: Findings) -> list[str]:
    """Of a real difference Δ a judge that errs alike on both variants shows (sensitivity + specificity − 1) Δ."""
    if found.detection is None:
        return []
    rates = found.detection.sensitivity.value, found.detection.specificity.value
    if rates[0] is None or rates[1] is None:
        return [
            "All labels are of one kind, so one of sensitivity and specificity isn't known: label some of the other."
        ]
    shown = rates[0] + rates[1] - 1
    if shown >= SHRUNK:
        return []
    share = f"{max(shown, 0):.0%}"
    return [f"It shows only about {share} of a real difference between variants (sensitivity + specificity - 1)."]
