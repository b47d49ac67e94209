"""Synchronous functions of litellm that are refused like asynchronous ones: by a hard budget, or without a log."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from contextvars import ContextVar
from copy import copy
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from llmops.attribution import CALL_LIMIT
from llmops.errors import BudgetExceededError, InputError, LlmopsError

if TYPE_CHECKING:
    from llmops.usage.tracker import OpenCall, Tracker

P = ParamSpec("P")
R = TypeVar("R")
_REFUSES: ContextVar[bool] = ContextVar("llmops_litellm_refuses", default=False)
_LISTS = ("callbacks", "input_callback")


class _Refused(BaseException):
    """Carries an error through litellm, which goes on after any `Exception` that a callback raises. Never gets out."""

    def __init__(self, error: LlmopsError) -> None:
        self.error = error


def tracked(function: Callable[P, R]) -> Callable[P, R]:
    """A synchronous function of litellm, such as `litellm.completion` or a router's, that can be refused.

    The same function, but what a `CallLogger` refuses isn't sent, nor tried again, nor sent to a fallback: the caller
    gets `BudgetExceededError` or `StoreError`, as from asynchronous functions, which are returned as they are. Raises
    `InputError` at a call while no `CallLogger` is among `litellm.callbacks`.
    """
    if inspect.iscoroutinefunction(function):
        return function  # type: ignore[return-value]  # R is what it returns

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        _check_logged(kwargs.get("callbacks"))
        token = _REFUSES.set(True)
        try:
            return function(*args, **kwargs)
        except _Refused as refused:
            raise refused.error from None
        finally:
            _REFUSES.reset(token)

    return call


def refuse(error: LlmopsError) -> None:
    """Raise `error` where a `tracked` function was called; return when this call isn't made by one."""
    if _REFUSES.get():
        raise _Refused(error)


def opened_over_budget(tracker: Tracker, **known: Any) -> OpenCall:
    """A call that can't be refused, begun all the same: every budget counts it, over its limit if need be."""
    counting = copy(tracker)
    if counting.budgets is not None:
        counting.budgets = copy(counting.budgets)
        counting.budgets.refuses = False
    try:
        return counting.open_now(**known)
    except BudgetExceededError:  # the limit of an evaluation, whose end this is
        token = CALL_LIMIT.set(None)
        try:
            return counting.open_now(**known)
        finally:
            CALL_LIMIT.reset(token)


def _check_logged(callbacks: Any) -> None:
    litellm = sys.modules.get("litellm")
    listed = [one for name in _LISTS for one in getattr(litellm, name, ())]
    given = callbacks if isinstance(callbacks, (list, tuple)) else ()
    if not any(getattr(one, "refuses", False) is True for one in (*listed, *given)):
        hint = "litellm.callbacks = [CallLogger()]"
        raise InputError("tracked: no CallLogger is among litellm's callbacks", hint=hint)
