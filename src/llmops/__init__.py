"""llmops: know whether a change to a prompt, a model or a retrieval pipeline made things better."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmops.attribution import track
    from llmops.client import connect
    from llmops.errors import BudgetExceededError, LlmopsError
    from llmops.flushing import flush
    from llmops.prompting import load_prompt
    from llmops.sdk import compare, evaluate
    from llmops.types import Case, Completion, Context, Output, Request, Sample, Score, ToolCall, Usage

__version__ = "0.1.0"

_PUBLIC = {
    "BudgetExceededError": "llmops.errors",
    "Case": "llmops.types",
    "Completion": "llmops.types",
    "Context": "llmops.types",
    "LlmopsError": "llmops.errors",
    "Output": "llmops.types",
    "Request": "llmops.types",
    "Sample": "llmops.types",
    "Score": "llmops.types",
    "ToolCall": "llmops.types",
    "Usage": "llmops.types",
    "compare": "llmops.sdk",
    "connect": "llmops.client",
    "evaluate": "llmops.sdk",
    "flush": "llmops.flushing",
    "load_prompt": "llmops.prompting",
    "track": "llmops.attribution",
}
__all__ = [
    "BudgetExceededError", "Case", "Completion", "Context", "LlmopsError", "Output", "Request", "Sample", "Score",
    "ToolCall", "Usage", "compare", "connect", "evaluate", "flush", "load_prompt", "track",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'llmops' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
