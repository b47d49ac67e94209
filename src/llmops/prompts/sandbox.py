"""Where templates run: a Jinja2 sandbox in which every operation has a price and a rendering has a budget.

The budget is counted, not timed, so that the same template and data always end the same way. A unit is about
one step of a template or 16 characters handled. Everything that could make much out of little (repetition,
powers, joins, paddings, nested lists that share parts) is priced before it runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MethodType
from typing import Any

from jinja2 import StrictUndefined, Undefined, UndefinedError, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Namespace, missing

from llmops.prompts.images import Image, printed

MAX_UNITS = 2_000_000
MAX_OUTPUT = 2_000_000
MAX_INT_BITS = 8192
_SHARE = 4  # 16 characters are one unit

_TEXT_METHODS = frozenset(
    [
        "capitalize",
        "casefold",
        "count",
        "endswith",
        "find",
        "index",
        "isalnum",
        "isalpha",
        "isascii",
        "isdecimal",
        "isdigit",
        "islower",
        "isnumeric",
        "isspace",
        "istitle",
        "isupper",
        "join",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rindex",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
    ]
)
_METHODS: dict[type, frozenset[str]] = {
    str: _TEXT_METHODS,
    dict: frozenset(("get", "items", "keys", "values")),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index")),
    LoopContext: frozenset(("changed", "cycle")),
}
_QUADRATIC = frozenset(("lstrip", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "strip"))


class LimitError(Exception):
    """A template asked for more than a rendering may use."""


class MissingVariableError(UndefinedError):
    """A template used a variable that wasn't given. `name` is the variable's."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class StrictMissing(StrictUndefined):
    """An undefined value that is an error to use, and remembers whether it was a whole variable."""

    __slots__ = ()

    def __init__(
        self, hint: str | None = None, obj: Any = missing, name: str | None = None, exc: Any = UndefinedError
    ) -> None:
        if hint is None and obj is missing and name is not None and exc is UndefinedError:
            variable = name

            def exc(message: str | None) -> MissingVariableError:
                return MissingVariableError(message or "", variable)

        super().__init__(hint, obj, name, exc)


class BudgetContext(Context):
    """A rendering's variables and what is left of its budget."""

    left = MAX_UNITS

    def spend(self, units: int) -> None:
        """Take `units` off the budget. Raises `LimitError` when it is used up."""
        self.left -= units
        if self.left < 0:
            raise LimitError(f"it takes more than {MAX_UNITS:,} steps to render")

    def pay(self, *values: Any) -> None:
        """Pay for handling `values` once, in proportion to their size."""
        for value in values:
            self.spend(weight(value, self.left))

    def grow(self, characters: int) -> None:
        """Pay for a text of that length before it is made."""
        if characters > MAX_OUTPUT:
            raise LimitError(f"it makes a text of more than {MAX_OUTPUT:,} characters")
        self.spend(1 + (max(characters, 0) >> _SHARE))


def weight(value: Any, limit: int = MAX_UNITS) -> int:
    """Size of a value in units, shared parts counted as often as they show. Stops with LimitError over `limit`."""
    kind = type(value)
    if kind is str:
        return 1 + (len(value) >> _SHARE)
    if kind is bool or kind is float or value is None:
        return 1
    total, stack = 0, [value]
    while stack:
        item = stack.pop()
        total += 1
        if isinstance(item, (str, bytes)):
            total += len(item) >> _SHARE
        elif isinstance(item, int):
            total += item.bit_length() >> 6
        elif isinstance(item, Namespace):
            raise SecurityError("a namespace holds values for a loop; it can't be used as a value itself")
        elif isinstance(item, Collection):
            total += len(item)
            if total > limit:
                break
            if isinstance(item, Mapping):
                stack.extend(item.values())
            if not isinstance(item, range):
                stack.extend(item)
        if total > limit:
            break
    if total > limit:
        raise LimitError(f"it takes more than {MAX_UNITS:,} steps to render")
    return total


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """Jinja2's immutable sandbox with prices on operators and calls, and only harmless calls allowed."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))
    context_class = BudgetContext

    def __init__(self) -> None:
        # Not optimised: folding constants would run filters while compiling, outside any budget.
        super().__init__(undefined=StrictMissing, autoescape=False, optimized=False, finalize=printable)
        self.globals = {"range": safe_range, "namespace": Namespace}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        assert isinstance(context, BudgetContext)
        _price_operator(context, operator, left, right)
        return self.binop_table[operator](left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(__context, BudgetContext)
        kwargs.pop("_loop_vars", None)
        kwargs.pop("_block_vars", None)
        if isinstance(__obj, Undefined):
            return __obj()
        __context.pay(*args)
        if kwargs:
            __context.pay(*kwargs.values())
        if __obj is not safe_range and __obj is not Namespace:
            _price_method(__context, __obj, args, kwargs)
        return __obj(*args, **kwargs)


@pass_context
def printable(context: BudgetContext, value: Any) -> Any:
    """Check and price a value that is about to be written into the output."""
    if type(value) is str:
        return value
    if isinstance(value, Undefined):
        return str(value)
    if type(value) is Image:
        return printed(value)
    if callable(value):
        raise SecurityError("a function can't be printed; call it, or write ['name'] for a key of that name")
    context.pay(value)
    return value


def price_replace(context: BudgetContext, text: str, old: str, new: str, count: int | None = None) -> None:
    """Pay for the text that replacing makes."""
    times = text.count(old) if old else len(text) + 1
    if count is not None and count >= 0:
        times = min(times, count)
    context.grow(len(text) + times * len(new))


def price_join(context: BudgetContext, separator: Any, items: Any) -> None:
    """Pay for the text that joining makes."""
    context.pay(items)
    if isinstance(items, Collection):
        context.grow(len(items) * len(str(separator)))


def _price_operator(context: BudgetContext, operator: str, left: Any, right: Any) -> None:
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        context.spend(1)
        if isinstance(left, int) and isinstance(right, int):
            _bound_integer(operator, left, right)
        return
    if operator == "**":
        raise TypeError("only numbers have powers")
    if operator == "%" and isinstance(left, (str, bytes)):
        raise SecurityError("text % values isn't supported; write {{ '%.2f'|format(value) }}")
    if operator == "*":
        times, sequence = (left, right) if isinstance(left, int) else (right, left)
        if isinstance(times, int):
            if isinstance(sequence, (str, bytes)):
                context.grow(len(sequence) * times)
                return
            context.spend(weight(sequence, context.left) * max(times, 0))
            return
    context.pay(left, right)
    if isinstance(left, str) and isinstance(right, str):
        context.grow(len(left) + len(right))


def _bound_integer(operator: str, left: int, right: int) -> None:
    bits = 0
    if operator == "*":
        bits = left.bit_length() + right.bit_length()
    elif operator == "**" and right > 0:
        bits = left.bit_length() * right
    if bits > MAX_INT_BITS:
        raise LimitError(f"it makes a number of more than {MAX_INT_BITS:,} bits")


def _price_method(context: BudgetContext, method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
    if not any(isinstance(owner, kind) and name in names for kind, names in _METHODS.items()):
        if not isinstance(method, MethodType) and not callable(method):
            raise TypeError(f"a {type(method).__name__} can't be called")
        hint = "; use the format filter" if name in ("format", "format_map") else ""
        raise SecurityError(f"{name or type(method).__name__}() can't be called in a prompt{hint}")
    context.pay(owner) if not isinstance(owner, LoopContext) else context.spend(1)
    if not isinstance(owner, str):
        return
    if name == "join" and args:
        price_join(context, owner, args[0])
    elif name == "replace" and len(args) >= 2 and all(isinstance(a, str) for a in args[:2]):
        price_replace(context, owner, args[0], args[1])
    elif name in _QUADRATIC:
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, str):
                context.spend(len(owner) * len(argument) >> 10)
