"""The one Jinja2 sandbox that every prompt is parsed, compiled and run in."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from llmops.prompts.filters import filters, tests
from llmops.prompts.sandbox import PromptEnvironment


@cache
def environment() -> PromptEnvironment:
    """The sandbox with the filters and tests that prompts may use."""
    made = PromptEnvironment()
    made.filters = cast(Any, filters())
    made.tests = cast(Any, tests())
    return made
