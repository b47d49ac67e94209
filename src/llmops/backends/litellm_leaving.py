"""When a request leaves litellm: what ends before that was never sent."""

from __future__ import annotations

from typing import Any

from llmops.http.client import SENDING

_TELLS = frozenset({"openai", "hosted_vllm", "anthropic", "gemini"})
"""Providers whose code in litellm calls `logger_fn` right before it sends a request."""


class Leaving:
    """Marks whose request it is (`SENDING`) as sent when litellm is about to send it; at once where it doesn't tell.

    `arguments` go along with litellm's own.
    """

    def __init__(self, model: str) -> None:
        self._sending: Any = SENDING.get()
        self.tells = model.partition("/")[0] in _TELLS
        self.has_left = False
        self.arguments: dict[str, Any] = {"logger_fn": self._leave} if self.tells else {}
        if not self.tells:
            self.mark(True)

    def mark(self, sent: bool) -> None:
        """Say whether the request may have reached the server."""
        self.has_left = sent
        if self._sending is not None:
            self._sending.sent = sent

    def _leave(self, details: object) -> None:
        self.mark(True)
