"""Gates on comparisons, `no-regression: token_f1`, and the settings of a comparison, as suites write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from llmops.errors import SuiteError, did_you_mean
from llmops.types import MetricInfo

Demand = Literal["no-regression", "no-worse", "better"]
DEMANDS: tuple[Demand, ...] = get_args(Demand)
MEASURES = {
    info.name: info
    for info in (
        MetricInfo("latency_mean", 0.0, None, "lower", "s", "Seconds an answer took"),
        *(
            MetricInfo(f"latency_p{q}", 0.0, None, "lower", "s", f"Seconds that {q} % of the answers stay below")
            for q in (50, 90, 95, 99)
        ),
        MetricInfo("tokens_per_case", 0.0, None, "lower", "tokens", "Tokens of a case, input and output"),
        MetricInfo("cost_per_case", 0.0, None, "lower", "$", "Dollars of a case, where every request has a price"),
    )
}
DEFAULT_MARGIN = "5%"
LARGEST_MARGIN = 1e100
CANDIDATE_UNSCORED = "cases have no score of the candidate's"
_RULE = re.compile(
    r"\s*(?P<demand>no-regression|no-worse|better)\s*(?::\s*(?P<names>.*?))?(?:\s+for\s+variant:(?P<variant>.+?))?\s*"
)
_NAME = re.compile(r"(?P<name>.+?)(?:\s+within\s+(?P<margin>\S+))?")
_MARGIN = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*(?P<unit>%|ms|s)?")
_HINT = 'write "no-regression: token_f1", or {no-regression: [token_f1, recall@5], margin: 3%}'


@dataclass(frozen=True, slots=True)
class ComparisonSettings:
    """How candidates are compared: `alpha` two-sided; `margin` as written, for metrics whose gate names none.

    `population` is `sample` when the cases stand for more of their kind, `fixed` when only these count (which needs
    repeats). `early_stop` ends a run whose guard metrics all have a verdict, at one of at most `looks` looks. `canary`
    is the share of a baseline's cached answers that is asked again.
    """

    alpha: float = 0.05
    power: float = 0.8
    margin: str = DEFAULT_MARGIN
    population: Literal["sample", "fixed"] = "sample"
    early_stop: bool = True
    looks: int = 10
    canary: float = 0.0


@dataclass(frozen=True, slots=True)
class ComparisonGate:
    """What a comparison must say of `metrics`, each with its margin as written (empty: the suite's)."""

    rule: str
    demand: Demand
    metrics: tuple[tuple[str, str], ...]
    variant: str | None = None


def is_comparison(rule: str) -> bool:
    """True for a rule about a comparison with a baseline."""
    return _RULE.fullmatch(rule) is not None


def parse_comparison_gate(
    rule: str, *, metrics: Sequence[MetricInfo], variants: Iterable[str], where: str = ""
) -> ComparisonGate:
    """Read `DEMAND: METRIC [within MARGIN], … [for variant:NAME]`. Without metrics, all that have a direction.

    Raises `SuiteError` at `where` for what isn't such a rule.
    """
    found = _RULE.fullmatch(rule)
    if found is None:
        raise SuiteError(f"gate {rule[:100]!r} isn't a rule", where=where, hint=_HINT)
    variant = found["variant"]
    if variant is not None and variant not in set(variants):
        raise SuiteError(
            f"gate {rule!r}: no variant is called {variant!r}", where=where, hint=did_you_mean(variant, variants)
        )
    known = {info.name: info for info in (*MEASURES.values(), *metrics)}
    directed = [(info.name, "") for info in metrics if info.direction != "none"]
    named = [_named(rule, part.strip(), known, where) for part in _parts(found["names"] or "", known)]
    if not named and found["names"] is not None:
        raise SuiteError(f"gate {rule!r} names no metric", where=where, hint=_HINT)
    if not named and not directed:
        raise SuiteError(f"gate {rule!r}: no metric says whether higher or lower is better", where=where)
    return ComparisonGate(rule.strip(), found["demand"], tuple(named or directed), variant)  # type: ignore[arg-type]


def _parts(names: str, known: Mapping[str, MetricInfo]) -> list[str]:
    """Names between commas; a metric's own name may hold some."""
    return [names] if names in known else [part for part in names.split(",") if part.strip()]


def _named(rule: str, part: str, known: Mapping[str, MetricInfo], where: str) -> tuple[str, str]:
    found = _NAME.fullmatch(part)
    name, margin = (part, "") if part in known or found is None else (found["name"], found["margin"] or "")
    if name not in known:
        hint = did_you_mean(name, known)
        raise SuiteError(f"gate {rule!r}: nothing is measured as {name!r}", where=where, hint=hint)
    if known[name].direction == "none":
        raise SuiteError(f"gate {rule!r}: {name} doesn't say whether higher or lower is better", where=where)
    check_margin(margin, where, unit=known[name].unit)
    return name, margin


def check_margin(text: str, where: str = "", *, unit: str = "") -> None:
    """Raises `SuiteError` for a margin that is no number, percentage or time."""
    found = _MARGIN.fullmatch(text)
    if found is not None and float(found[0].removesuffix(found["unit"] or "")) > LARGEST_MARGIN:
        raise SuiteError(f"margin {text[:40]!r} lets everything pass", where=where, hint="write 0.03 or 3%")
    if text and found is None:
        hint = "write 0.03 in the metric's unit, or 3% of its range"
        raise SuiteError(f"margin {text!r} isn't an amount of 0 or more", where=where, hint=hint)
    if found is not None and found["unit"] in ("ms", "s") and unit != "s":
        raise SuiteError(f"margin {text!r}: the metric isn't a time", where=where, hint="write 0.03 or 3%")


def margin_amount(text: str, info: MetricInfo, baseline_mean: float) -> float:
    """A margin in the metric's unit. A percentage is of its range, or of the baseline's mean where it has none."""
    found = _MARGIN.fullmatch(text or DEFAULT_MARGIN)
    assert found is not None  # checked when the suite was read
    unit = found["unit"] or ""
    number = float(found[0].removesuffix(unit).strip())
    if unit == "%":
        whole = info.high - info.low if info.low is not None and info.high is not None else abs(baseline_mean)
        return number / 100 * whole
    return number / 1000 if unit == "ms" else number


def gate_rule(form: Any, where: str = "") -> str:
    """A gate as a suite writes it (text, or a mapping for comparisons) as one line of text.

    Raises `SuiteError` at `where` for any other form.
    """
    if isinstance(form, str):
        return form
    if not isinstance(form, Mapping):
        raise SuiteError(f"a gate is text or a mapping, not {form!r}"[:200], where=where, hint=_HINT)
    demand = next((key for key in form if key in DEMANDS), None)
    if demand is None:
        key = str(next(iter(form), ""))
        raise SuiteError(f"a gate can't start with {key!r}", where=where, hint=did_you_mean(key, DEMANDS))
    for key in form:
        if key not in (demand, "margin", "variant"):
            raise SuiteError(
                f"unknown key {key!r} of a gate", where=where, hint=did_you_mean(str(key), ("margin", "variant"))
            )
    margin = _text(form.get("margin"), "margin", where)
    names = _margins(form[demand], margin, where)
    if margin and not names:
        raise SuiteError("margin: name the metrics it is for", where=where, hint=_HINT)
    variant = _text(form.get("variant"), "variant", where)
    listed = ", ".join(f"{name} within {limit}" if limit else name for name, limit in names)
    return f"{demand}: {listed}".removesuffix(": ") + (f" for variant:{variant}" if variant else "")


def _margins(value: Any, margin: str, where: str) -> list[tuple[str, str]]:
    """Metrics with their margins: a name, a list of names, or names with a margin each. None is all of them."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [(str(name), _text(limit, f"margin of {name}", where) or margin) for name, limit in value.items()]
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise SuiteError("a gate on comparisons names one or more metrics", where=where, hint=_HINT)
    return [(name.strip(), margin) for name in names]


def _text(value: Any, what: str, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise SuiteError(f"{what} of a gate is {value!r}"[:200], where=where, hint=_HINT)
    text = str(value).strip()
    if what.startswith("margin"):
        text = text.replace(" ", "")
        check_margin(text, where, unit="s")
    return text


def check_one_margin(gates: Iterable[tuple[ComparisonGate, str]]) -> None:
    """Raises `SuiteError` where two gates give one metric of one variant different margins: it has one verdict."""
    seen: list[tuple[str, str, str | None]] = []
    for gate, where in gates:
        for name, margin in gate.metrics:
            for other, limit, variant in seen:
                same = variant is None or gate.variant is None or variant == gate.variant
                if other == name and same and margin and limit and limit != margin:
                    raise SuiteError(
                        f"two margins for {name}: {limit} and {margin}", where=where, hint="keep one of them"
                    )
            seen.append((name, margin, gate.variant))


def check_margins(
    infos: Sequence[MetricInfo], gates: Sequence[ComparisonGate], settings: ComparisonSettings, where: str = ""
) -> None:
    """Raises `SuiteError` for a margin that would let everything pass: the whole range of a metric."""
    for info in infos:
        check_margin(settings.margin, where, unit=info.unit)
        if info.low is None or info.high is None:
            continue
        told = [margin for gate in gates for name, margin in gate.metrics if name == info.name and margin]
        for margin in (settings.margin, *told):
            if margin_amount(margin, info, 0.0) >= info.high - info.low > 0:
                hint = f"it goes from {info.low:g} to {info.high:g}: write 3% of that, or an amount in its unit"
                raise SuiteError(f"margin {margin} is all of {info.name}'s range", where=where, hint=hint)
