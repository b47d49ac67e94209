"""The filters and tests that templates may use: Jinja2's harmless ones, each paid for from the rendering's budget.

Left out on purpose: what isn't deterministic (`random`), what is for HTML only (`safe`, `urlize`, `xmlattr`), and
what shows Python's insides (`attr`, `pprint`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import markupsafe
from jinja2 import Undefined, pass_context
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.tests import TESTS as JINJA_TESTS

from llmops.prompts.images import image
from llmops.prompts.sandbox import MAX_OUTPUT, BudgetContext, LimitError, price_join, price_replace

Price = Callable[..., None]
FILTERS: Mapping[str, Any] = JINJA_FILTERS
TESTS: Mapping[str, Any] = JINJA_TESTS
_WIDE = re.compile(r"%(\([^)]*\))?[^a-zA-Z%]*?(\d{4,}|\*)")


def _paid(function: Callable[..., Any], price: Price | None = None) -> Callable[..., Any]:
    """`function` as a filter that pays for its arguments first, and never returns a lazy or a huge result."""
    wants = getattr(getattr(function, "jinja_pass_arg", None), "name", "")

    @pass_context
    def run(context: BudgetContext, value: Any, *args: Any, **kwargs: Any) -> Any:
        context.pay(value, *args, *kwargs.values())
        if price is not None:
            price(context, value, *args, **kwargs)
        if wants == "context":
            result = function(context, value, *args, **kwargs)
        elif wants == "eval_context":
            result = function(context.eval_ctx, value, *args, **kwargs)
        elif wants == "environment":
            result = function(context.environment, value, *args, **kwargs)
        else:
            result = function(value, *args, **kwargs)
        if isinstance(result, Iterator):
            return list(result)
        if isinstance(result, str) and len(result) > MAX_OUTPUT:
            raise LimitError(f"it makes a text of more than {MAX_OUTPUT:,} characters")
        return result

    return run


def _price_center(context: BudgetContext, value: Any, width: Any = 80) -> None:
    context.grow(int(width))


def _price_indent(context: BudgetContext, value: Any, width: Any = 4, first: Any = False, blank: Any = False) -> None:
    lines = str(value).count("\n") + 1
    context.grow(lines * (len(width) if isinstance(width, str) else int(width)))


def _price_batch(context: BudgetContext, value: Any, linecount: Any = 1, fill_with: Any = None) -> None:
    context.spend(abs(int(linecount)))


def _price_slice(context: BudgetContext, value: Any, slices: Any = 1, fill_with: Any = None) -> None:
    context.spend(abs(int(slices)))


def _price_wrap(
    context: BudgetContext,
    value: Any,
    width: Any = 79,
    break_long_words: Any = True,
    wrapstring: Any = None,
    break_on_hyphens: Any = True,
) -> None:
    text = str(value)
    lines = text.count("\n") + 1 + 2 * len(text) // max(int(width), 1)
    context.grow(len(text) + lines * len(str(wrapstring or "\n")))
    context.spend(len(text))  # pattern matching: dearer than copying


def _price_trim(context: BudgetContext, value: Any, chars: Any = None) -> None:
    context.spend(len(str(value)) * len(str(chars or "")) >> 10)


def _price_round(context: BudgetContext, value: Any, precision: Any = 0, method: Any = "common") -> None:
    if abs(int(precision)) > 100:
        raise LimitError("it rounds to more than 100 digits")


def _price_replace(context: BudgetContext, value: Any, old: Any, new: Any, count: Any = None) -> None:
    price_replace(context, str(value), str(old), str(new), count)


def _price_join(context: BudgetContext, value: Any, d: Any = "", attribute: Any = None) -> None:
    price_join(context, d, value)


def _price_format(context: BudgetContext, value: Any, *args: Any, **kwargs: Any) -> None:
    pattern = str(value)
    if _WIDE.search(pattern):
        raise LimitError("a format's width may have three digits at most")
    fields = pattern.count("%")
    context.spend(fields * 64)
    for _ in range(fields):
        context.pay(*args, *kwargs.values())


def _escape(value: Any) -> str:
    """HTML-escaped, as plain text: Jinja2's own result would go on escaping whatever is joined to it."""
    return str(markupsafe.escape(value))


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON as models read it: no HTML escapes, no ASCII escapes, keys in their own order."""
    if indent is not None and not 0 <= indent <= 8:
        raise LimitError("tojson indents by 8 at most")
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _sum(value: Any, attribute: Any = None, start: float = 0) -> Any:
    if isinstance(start, Undefined) or not isinstance(start, (int, float)):
        raise TypeError("sum adds numbers")
    items = [item[attribute] for item in value] if attribute is not None else list(value)
    if not all(isinstance(item, (int, float)) for item in items):
        raise TypeError("sum adds numbers")
    return sum(items, start)


_PLAIN = [
    "abs",
    "capitalize",
    "count",
    "dictsort",
    "first",
    "float",
    "groupby",
    "int",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "sort",
    "string",
    "title",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
]
_PRICED: dict[str, Price] = {
    "batch": _price_batch,
    "center": _price_center,
    "format": _price_format,
    "indent": _price_indent,
    "join": _price_join,
    "replace": _price_replace,
    "round": _price_round,
    "slice": _price_slice,
    "trim": _price_trim,
    "wordwrap": _price_wrap,
}


@pass_context
def loop_over(context: BudgetContext, items: Any, steps: int) -> Any:
    """What a `for` runs over, once `steps` for each item are paid."""
    if isinstance(items, (list, tuple, dict, str, range)):
        context.spend(1 + len(items) * steps)
        return items
    taken = []
    for item in items:
        context.spend(steps)
        taken.append(item)
    return taken


@pass_context
def weighed(context: BudgetContext, value: Any) -> Any:
    """`value`, paid for."""
    context.pay(value)
    return value


@pass_context
def concatenated(context: BudgetContext, *values: Any) -> str:
    """`a ~ b ~ c`, with its length checked before it is made."""
    context.pay(*values)
    texts = [str(value) for value in values]
    context.grow(sum(map(len, texts)))
    return "".join(texts)


def filters() -> dict[str, Callable[..., Any]]:
    """Filters by name. Those with a space are put in by the compiler; a template can't name them."""
    table = {name: _paid(FILTERS[name]) for name in _PLAIN}
    table |= {name: _paid(FILTERS[name], price) for name, price in _PRICED.items()}
    table |= {"default": FILTERS["default"], "d": FILTERS["default"]}
    table |= {"e": _paid(_escape), "escape": _paid(_escape), "tojson": _paid(_to_json), "sum": _paid(_sum)}
    table["image"] = _paid(image)
    return table | {"loop over": loop_over, "weighed": weighed, "concatenated": concatenated}


def tests() -> dict[str, Callable[..., Any]]:
    """Tests by name."""
    free = [
        "boolean",
        "defined",
        "divisibleby",
        "even",
        "false",
        "float",
        "integer",
        "iterable",
        "mapping",
        "none",
        "number",
        "odd",
        "sequence",
        "string",
        "true",
        "undefined",
    ]
    paid = [
        "!=",
        "<",
        "<=",
        "==",
        ">",
        ">=",
        "eq",
        "equalto",
        "ge",
        "greaterthan",
        "gt",
        "in",
        "le",
        "lessthan",
        "lower",
        "lt",
        "ne",
        "sameas",
        "upper",
    ]
    table: dict[str, Callable[..., Any]] = {name: TESTS[name] for name in free}
    return table | {name: _paid(TESTS[name]) for name in paid}
