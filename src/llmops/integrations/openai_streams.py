"""Bodies of answers, passed on as they come and read on the way; with one event taken out where we asked for it."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache
from typing import Any

from llmops.backends.server_events import EventParser
from llmops.integrations.openai_sending import Sending

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


class UsageHider:
    """Takes the event that holds only the usage out of a stream of chat chunks; all other bytes stay as they are."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """The events that are whole by now, without that one."""
        whole: list[bytes] = []
        self._held += chunk
        start = 0
        for end in _EVENT_END.finditer(self._held):
            event = self._held[start : end.end()]
            start = end.end()
            if not _is_only_usage(event):
                whole.append(event)
        self._held = self._held[start:]
        return b"".join(whole)

    def rest(self) -> bytes:
        """What is left of a stream that ended inside of an event."""
        held, self._held = self._held, b""
        return held


def _is_only_usage(event: bytes) -> bool:
    if not _NO_CHOICES.search(event):
        return False
    try:
        data = [json.loads(found) for found in EventParser().feed(event)]
    except (ValueError, RecursionError):
        return False
    return len(data) == 1 and isinstance(data[0], Mapping) and isinstance(data[0].get("usage"), Mapping)


@cache
def body_streams(library: str) -> tuple[type, type]:
    """Sync and async bodies for `httpx` or `httpx2`, which accept only subclasses of their own types."""
    httpx: Any = importlib.import_module(library)

    class TrackedBody(httpx.SyncByteStream):  # type: ignore[misc]
        def __init__(self, inner: Any, sending: Sending) -> None:
            self.inner = inner
            self.sending = sending

        def __iter__(self) -> Iterator[bytes]:
            hider = UsageHider() if self.sending.hides_usage else None
            try:
                for chunk in self.inner:
                    self.sending.feed(chunk)
                    if hider is None:
                        yield chunk
                    elif kept := hider.feed(chunk):
                        yield kept
            except GeneratorExit:  # read no further for now: `close` says when it is for good
                raise
            except BaseException as error:
                self.sending.failed(error)
                raise
            self.sending.ended()
            if hider is not None and (kept := hider.rest()):
                yield kept

        def close(self) -> None:
            self.sending.left()
            self.inner.close()

    class TrackedAsyncBody(httpx.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, inner: Any, sending: Sending) -> None:
            self.inner = inner
            self.sending = sending

        async def __aiter__(self) -> AsyncIterator[bytes]:
            hider = UsageHider() if self.sending.hides_usage else None
            try:
                async for chunk in self.inner:
                    self.sending.feed(chunk)
                    if hider is None:
                        yield chunk
                    elif kept := hider.feed(chunk):
                        yield kept
            except GeneratorExit:
                raise
            except BaseException as error:
                self.sending.failed(error)
                raise
            self.sending.ended()
            if hider is not None and (kept := hider.rest()):
                yield kept

        async def aclose(self) -> None:
            self.sending.left()
            await self.inner.aclose()

    return TrackedBody, TrackedAsyncBody
