"""Token counts: read from what servers and libraries say, or estimated from text when nobody counted."""

from llmops.token_usage.reading import INPUT_NAMES, OUTPUT_NAMES, read_usage
from llmops.token_usage.reporting import reported_cost, service_tier
from llmops.token_usage.shapes import usage_in
from llmops.token_usage.writing import written, written_beside

__all__ = [
    "INPUT_NAMES",
    "OUTPUT_NAMES",
    "read_usage",
    "reported_cost",
    "service_tier",
    "usage_in",
    "written",
    "written_beside",
]
