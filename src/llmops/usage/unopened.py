"""A call log that could not be opened: calls may go on without it, and it is tried again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from llmops.errors import StoreError
from llmops.types import Call, CallLog, CallText, Hold

AGAIN_S = 30.0


class UnopenedLog:
    """A `CallLog` that raises why it can't be opened, and opens with `open_log` once that works.

    It is tried at most every `again_s` seconds, by the call that begins then.
    """

    def __init__(self, error: StoreError, open_log: Callable[[], CallLog], *, again_s: float = AGAIN_S) -> None:
        self._error = error
        self._open_log = open_log
        self._again_s = again_s
        self._tried_at = time.monotonic()
        self._log: CallLog | None = None
        self._lock = threading.Lock()

    async def begin(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        """Raises `StoreError` while the log can't be opened."""
        log = await asyncio.to_thread(self._opened) if self._log is None else self._log
        await log.begin(call, holds)

    def begin_now(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        """The same for threads without an event loop."""
        self._opened().begin_now(call, holds)

    def settle(self, call: Call, holds: tuple[Hold, ...] = (), text: CallText | None = None) -> None:
        """Hand over how a call ended that was begun."""
        self._opened().settle(call, holds, text)

    def discard(self, call: Call, holds: tuple[Hold, ...] = ()) -> None:
        """Nothing, when nothing could be begun."""
        if self._log is not None:
            self._log.discard(call, holds)

    def flush(self, timeout_s: float = 30) -> None:
        """Nothing, when nothing could be begun."""
        if self._log is not None:
            self._log.flush(timeout_s)

    def close(self) -> None:
        """End the log, if it was opened."""
        if self._log is not None:
            getattr(self._log, "close", lambda: None)()

    def _opened(self) -> CallLog:
        with self._lock:
            if self._log is None:
                if time.monotonic() - self._tried_at < self._again_s:
                    raise StoreError(self._error.message, where=self._error.where, hint=self._error.hint)
                try:
                    self._log = self._open_log()
                except StoreError as error:
                    self._tried_at, self._error = time.monotonic(), error
                    raise
            return self._log
