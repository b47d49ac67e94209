"""litellm keeps connections open beyond the loop they belong to; tests that use it clean up after it."""

from __future__ import annotations

import gc
import importlib.util
import sys
import warnings

import pytest

NEEDS_LITELLM = pytest.mark.skipif(importlib.util.find_spec("litellm") is None, reason="needs litellm")
ITS_WARNINGS = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:Items? .* on TypedDict:UserWarning",
)


async def close_clients() -> None:
    """What a process leaves to litellm, done at once: a test's loop ends with the test."""
    if "litellm" in sys.modules:
        library = sys.modules["litellm"]
        await library.close_litellm_async_clients()
        library.in_memory_llm_clients_cache.flush_cache()


def forget() -> None:
    """Let go of what it left open, here and not in somebody else's test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
