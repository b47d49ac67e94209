"""Calls that a library tells of by events: begun, and not yet known to be over."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from llmops.attribution import ATTRIBUTION, attributed
from llmops.errors import BackendTimeoutError, BackendUnavailableError
from llmops.http.failures import refused
from llmops.integrations.afterwards import AFTERWARDS
from llmops.usage.nested import Around, put_around
from llmops.usage.providers import kind_at_an_address, provider_of
from llmops.usage.tracker import OpenCall

OWN_NAMES = ("team", "feature", "user", "prompt")
_LONGEST = 200
_DEEPEST = 8
_NO_CONNECTION = {"ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionRefusedError", "PoolTimeout"}


class OpenCalls:
    """Open calls of a library, a Python package, by its own id. What is open when the process ends, ends as forgotten.

    `before_end` is called first then, for a library that has events left to tell.
    """

    def __init__(self, library: str, before_end: Callable[[], None] = lambda: None) -> None:
        self._before_end = before_end
        self._library = library
        self._calls: dict[Hashable, OpenCall] = {}
        self._ends: dict[Hashable, Callable[[OpenCall], None]] = {}
        self._around: dict[Hashable, Around] = {}
        self._ending = 0
        self._lock = threading.Lock()
        self._pid = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._calls

    def keys(self) -> list[Hashable]:
        """Of the calls of this process that are open."""
        return list(self._calls) if self._pid == os.getpid() else []

    def are_over(self, keys: Collection[Hashable]) -> bool:
        """True when these calls have ended, and none is about to."""
        return not self._ending and not any(key in self._calls for key in keys)

    def add(self, key: Hashable, call: OpenCall) -> None:
        """Keep a call until it ends, or what sends its request takes it over."""
        AFTERWARDS.start(self._end)
        around = Around(call, self._library, partial(self._take, key))
        with self._lock:
            if self._pid != os.getpid():  # a fork: the calls that came along are the parent's
                self._pid = os.getpid()
                self._calls.clear()
                self._ends.clear()
                self._around.clear()
                self._ending = 0
            self._calls[key] = call
            self._around[key] = around
        put_around(around)

    def get(self, key: Hashable) -> OpenCall | None:
        """A call that stays open."""
        return self._calls.get(key)

    @contextlib.contextmanager
    def ending(self, key: Hashable) -> Iterator[OpenCall | None]:
        """A call that ends inside; None when it has ended, or ends elsewhere."""
        with self._lock:
            self._ends.pop(key, None)
            call = self._calls.pop(key, None)
            around = self._around.pop(key, None)
            if around is not None:
                around.end()
            self._ending += call is not None
        try:
            yield call
        finally:
            with self._lock:
                self._ending -= call is not None

    def unless_told(self, key: Hashable, end: Callable[[OpenCall], None]) -> None:
        """How a call is ended when the library drops it without a word."""
        if key in self._calls:
            self._ends[key] = end

    def forget_with(self, owner: Any, key: Hashable) -> None:
        """End a call when the library's own object of it is gone, if nobody said how it ended until then."""
        if owner is not None:
            weakref.finalize(owner, AFTERWARDS.do, partial(self.forget, key)).atexit = False

    def forget(self, key: Hashable) -> None:
        """Nobody holds on to a call any more, and nobody said how it ended."""
        end = self._ends.get(key, left)
        with self.ending(key) as call:
            if call is not None and self._pid == os.getpid():
                end(call)

    def _take(self, key: Hashable) -> bool:
        with self._lock:
            self._ends.pop(key, None)
            return self._calls.pop(key, None) is not None

    def _end(self) -> None:
        self._before_end()
        for key in list(self._calls):
            self.forget(key)


def left(call: OpenCall) -> None:
    """End a call that nobody waits for any more."""
    if call.call.stream:
        call.abandoned()
    else:
        call.cancelled()


@contextlib.contextmanager
def labelled(metadata: Any, tags: Collection[str]) -> Iterator[None]:
    """Attribute what is begun inside by a library's metadata: team, feature, user, prompt, and the names in `tags`.

    What `track` says holds where the metadata says nothing.
    """
    given = metadata if isinstance(metadata, Mapping) else {}
    known: dict[str, Any] = {name: _text(given[name]) for name in OWN_NAMES if _text(given.get(name))}
    if _text(given.get("run")) and not ATTRIBUTION.get().run:  # inside of an evaluation, its run is meant
        known["run"] = _text(given["run"])
    own = {name: _text(given[name]) for name in tags if _text(given.get(name))}
    if own:
        known["tags"] = tuple(sorted({**dict(ATTRIBUTION.get().tags), **own}.items()))
    if not known:
        yield
        return
    with attributed(**known):
        yield


def _text(value: Any) -> str:
    return str(value)[:_LONGEST] if isinstance(value, (str, int, float)) else ""


def server_of(url: str, kind: str) -> tuple[str, str]:
    """Who runs the server at a URL, reached by a library that calls it `kind`; and its host and port."""
    host = urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")[2]
    return provider_of(host, kind_at_an_address(kind) if host else kind), host


def never_sent(error: Any) -> bool:
    """Whether an error, or what it came from, says that there was no connection at all."""
    for _ in range(_DEEPEST):
        if not isinstance(error, BaseException):
            return False
        if {made.__name__ for made in type(error).__mro__} & _NO_CONNECTION:
            return True
        error = error.__cause__ or error.__context__
    return False


def as_ours(error: BaseException) -> BaseException:
    """A provider library's error as one of ours, by its name and HTTP status."""
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    names = " ".join(made.__name__ for made in type(error).__mro__)
    said = type(error).__name__
    if isinstance(error, TimeoutError) or "Timeout" in names:
        return BackendTimeoutError(said)
    if "Connect" in names:  # before the status: litellm gives such errors a made-up 500
        return BackendUnavailableError(said)
    if isinstance(status, int) and 300 <= status < 600:
        return refused(status, {}, b"", url=said)
    return error
