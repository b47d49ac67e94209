"""What a project's backends can do: `list_backends` reads it off llmops.yaml, `check_backends` asks the servers."""

from llmops.backend_checks.checking import check_backends
from llmops.backend_checks.findings import Checked, Finding, Latency
from llmops.backend_checks.listing import Named, list_backends

__all__ = ["Checked", "Finding", "Latency", "Named", "check_backends", "list_backends"]
