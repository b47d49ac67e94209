"""From a project's settings to its backends and its tracker: names, prices, budgets and the call log, wired once."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from llmops.config import FILE, Config, load_config, store_location
from llmops.errors import InputError, NotFoundError, StoreError, did_you_mean
from llmops.flushing import keep_flushed
from llmops.registry import BUILT_INS, Spec, create, names, parse_short_form
from llmops.types import Backend, Build, CallLog, CallSink, Pricer, Prompt, Request
from llmops.usage.tracked import TrackedBackend
from llmops.usage.unopened import UnopenedLog
from llmops.usage.warming import warm

if TYPE_CHECKING:
    from llmops.usage.budgets import Budgets
    from llmops.usage.price_book import PriceBook
    from llmops.usage.tracker import Tracker


class Made(NamedTuple):
    """A backend, and the short form it came from."""

    backend: Backend
    spec: Spec


class Backends:
    """Makes the backends that a project names; those that send requests are tracked once `use` gave them a tracker."""

    def __init__(self, config: Config, base: Path) -> None:
        self._config = config
        self._base = base
        self._tracked: list[TrackedBackend] = []
        self._making: tuple[str, ...] = ()

    def make(self, form: Any, where: str = "") -> Made:
        """The backend of a short form or of a name in llmops.yaml. Raises `InputError` with its place."""
        named = self._config.backends.get(form) if isinstance(form, str) else None
        if named is not None:
            where = self._config.where_of("backends", form) or where
            self._check_circle(form, where)
        spec = parse_short_form(named if named is not None else form, what="backend", where=where)
        if spec.name not in BUILT_INS["backends"] and spec.name not in names("backends"):
            raise unknown_backend(self._config, spec.name, where)
        outer, self._making = self._making, (*self._making, form) if named is not None else self._making
        try:
            build = Build(self._base, _no_prompt, lambda inner: self.make(inner, where).backend, where)
            backend: Backend = create("backends", spec, build=build, where=where)
        finally:
            self._making = outer
        name = form if named is not None else spec.label or spec.name
        return Made(self._wrapped(backend, name, spec), spec)

    def use(self, tracker: Tracker | None) -> None:
        """Have every backend made so far write its calls with this tracker."""
        for backend in self._tracked:
            backend.tracker = tracker

    def use_prices(self, pricer: Pricer) -> None:
        """Have kept answers priced where no request is sent."""
        for backend in self._tracked:
            backend.pricer = pricer

    @property
    def providers(self) -> set[str]:
        """Who runs the servers that requests are sent to."""
        return {backend.provider for backend in self._tracked}

    @property
    def any_tracked(self) -> bool:
        """True when there is a backend that sends requests."""
        return bool(self._tracked)

    def _wrapped(self, backend: Backend, name: str, spec: Spec) -> Backend:
        if getattr(backend, "local", False) or getattr(backend, "backends", None) is not None:
            return backend  # nothing is sent, or its own backends send it
        from llmops.usage.providers import kind_at_an_address, provider_of

        address = address_of(backend)
        kind = getattr(backend, "server_kind", "") or spec.name
        kind = kind_at_an_address(kind) if address else kind
        provider = getattr(backend, "provider", "") or provider_of(address, kind)
        tracked = TrackedBackend(backend, None, name=name, provider=provider, address=address)
        self._tracked.append(tracked)
        return tracked

    def _check_circle(self, name: str, where: str) -> None:
        if name in self._making:
            raise InputError(f"backend {name} is made of itself: {' → '.join((*self._making, name))}", where=where)


def unknown_backend(config: Config, name: str, where: str = "") -> NotFoundError:
    """The error for a name that nothing has: where llmops.yaml was looked for, and what to write."""
    message = f"no backend is called {name!r}"
    if is_address(name):
        url = name if "://" in name else f"http://{name}"
        return NotFoundError(message, where=where, hint=f'it is an address: write {{"openai_http": "{url}"}}')
    kinds = names("backends")
    alike = did_you_mean(name, (*config.backends, *kinds))
    if config.backends or alike.startswith("did"):
        return NotFoundError(message, where=where, hint=alike)
    looked = f"{config.where} has no backends" if config.where else f"no {FILE} is in {config.root} or above"
    line = f"backends: {{{name}: {{openai_http: {{base_url: …, model: …}}}}}}"
    return NotFoundError(message, where=where, hint=f"{looked}: write {line} there, or use {', '.join(kinds)}")


def is_address(name: str) -> bool:
    """True for what is a server's address and no name: it has a scheme, or a port."""
    return "://" in name or re.fullmatch(r"[\w.\[\]-]+:\d+(/.*)?", name) is not None


def address_of(backend: Backend) -> str:
    """Host and port of the server behind a backend, or empty."""
    url = str(getattr(backend, "base_url", "") or "")
    return urlsplit(url).netloc.rpartition("@")[2]


def _no_prompt(reference: str) -> Prompt:
    raise InputError("a backend can't use a prompt")


def price_book(config: Config) -> PriceBook:
    """The project's prices: its own, then those of the libraries that are installed. Raises `InputError`."""
    from llmops.usage.price_book import PriceBook

    if isinstance(config.prices, Mapping):
        return PriceBook.load(None, config.prices, where=config.where_of("prices"))
    return PriceBook.load(config.prices)


def worst_cost(config: Config) -> Callable[[Request, Backend], int]:
    """What a request may cost at worst on a backend, in nano-dollars: of a fallback, if all its backends are asked."""
    from llmops.usage.bounds import cost_bound

    book = price_book(config)

    def bound(request: Request, backend: Backend) -> int:
        if getattr(backend, "local", False):
            return 0
        inner = getattr(backend, "backends", None)
        if inner is not None:  # later ones are asked for their own model, where they have one
            own = replace(request, model="")
            return bound(request, inner[0]) + sum(
                bound(own if getattr(one, "model", "") else request, one) for one in inner[1:]
            )
        model = request.model or str(getattr(backend, "model", "") or "")
        provider, name = str(getattr(backend, "provider", "")), str(getattr(backend, "name", ""))
        return cost_bound(book, request, provider=provider, model=model, backend=name)

    return bound


def budgets_of(config: Config, book: PriceBook, location: str) -> Budgets | None:
    """The project's budgets, or None when it has none. Raises `InputError`."""
    if not config.budgets:
        return None
    from llmops.store.call_queries import Calls
    from llmops.usage.budgets import Budgets, parse_budgets

    def spent(windows: Sequence[str]) -> Mapping[str, int]:
        with Calls.open(location) as calls:
            return {one.window: one.spent for one in calls.ledger() if one.window in windows}

    def settle_dead() -> int:
        with Calls.open(location) as calls:
            return calls.settle_dead()

    rules = parse_budgets(config.budgets, lambda path: config.where_of("budgets", *path))
    tell = _TELLING[-1] if _TELLING else None
    return Budgets(rules, book, tell=tell, spent=spent, settle_dead=settle_dead)


@contextlib.contextmanager
def telling(tell: Callable[[object], None]) -> Iterator[None]:
    """Trackers made inside tell of budgets that fill up with `tell` instead of Python's warnings."""
    _TELLING.append(tell)
    try:
        yield
    finally:
        _TELLING.remove(tell)


def sinks_of(config: Config) -> tuple[CallSink, ...]:
    """Where the project's calls are sent beside its log. Raises `ConfigError` and `MissingExtraError`."""
    if not config.telemetry:
        return ()
    from llmops.telemetry.otlp import sink_of

    sink = sink_of(config.telemetry, config.where_of("telemetry"))
    return (sink,) if sink is not None else ()


def make_tracker(config: Config, location: str, providers: Iterable[str] | None = None) -> Tracker:
    """A tracker of a project that writes to the store at `location`, for calls to these providers (None: to any).

    Raises `InputError` and `StoreError`.
    """
    from llmops.usage.tracker import Tracker

    book = price_book(config)
    budgets, sinks = budgets_of(config, book, location), sinks_of(config)
    tracker = Tracker(
        _call_log(config, location),
        book,
        budgets=budgets,
        sinks=sinks,
        keep_text=config.calls.keep_text,
        on_failure=config.calls.on_failure,
    )
    if providers is None or any(map(book.is_listed, providers)):
        warm(book)  # or the first answer waits for it
    keep_flushed(tracker)
    return tracker


def _call_log(config: Config, location: str) -> CallLog:
    from llmops.store.call_log import open_call_log

    try:
        return open_call_log(location)
    except StoreError as error:
        if config.calls.on_failure == "raise":
            raise
        return UnopenedLog(error, lambda: open_call_log(location))


def _after_fork() -> None:
    global _LOCK  # one that another thread held is never let go in the child
    _LOCK = threading.Lock()


@contextlib.contextmanager
def tracking(backends: Backends, config: Config, location: str) -> Iterator[None]:
    """Every request inside is a call in the log at `location`, committed at the end."""
    if not backends.any_tracked:
        yield
        return
    tracker = make_tracker(config, location, backends.providers)
    backends.use(tracker)
    try:
        yield
    except BaseException:
        backends.use(None)
        with contextlib.suppress(StoreError):  # what ended it is what to know about
            tracker.close()
        raise
    backends.use(None)
    tracker.close()


def project_tracker(start: Path | None = None, store: str | Path | None = None) -> Tracker:
    """This process's tracker of the project around `start`; the same one for every caller.

    A new one when it was closed, or when prices, budgets or what is kept of calls changed in llmops.yaml since.
    """
    config = load_config(start)
    location = store_location(None if store is None else str(store), start)
    settings = (config.prices, _changed_at(config.prices), config.budgets, config.calls, config.telemetry)
    key = (os.getpid(), str(config.root), location)
    with _LOCK:
        found = _TRACKERS.get(key)
        if found is None or found[0].is_closed or found[1] != settings:
            found = _TRACKERS[key] = make_tracker(config, location), settings
        return found[0]


def _changed_at(prices: object) -> int:
    """When a price file was last changed, in nanoseconds since 1970."""
    try:
        return prices.stat().st_mtime_ns if isinstance(prices, Path) else 0
    except OSError:
        return 0


_LOCK = threading.Lock()
_TELLING: list[Callable[[object], None]] = []
_TRACKERS: dict[tuple[int, str, str], tuple[Tracker, object]] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
