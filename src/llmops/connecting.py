"""From a project's settings to its backends and its tracker: names, prices, budgets and the call log, wired once."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from llmops.config import Config, load_config, store_location
from llmops.errors import InputError, NotFoundError
from llmops.registry import Spec, create, parse_short_form
from llmops.types import Backend, Build, CallSink, Prompt, Request
from llmops.usage.tracked import TrackedBackend

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
        outer, self._making = self._making, (*self._making, form) if named is not None else self._making
        try:
            build = Build(self._base, _no_prompt, lambda inner: self.make(inner, where).backend, where)
            backend: Backend = create("backends", spec, build=build, where=where)
        except NotFoundError as error:
            if self._config.backends and spec.name == (form if isinstance(form, str) else spec.name):
                error.hint += f" (and from llmops.yaml: {', '.join(sorted(self._config.backends))})"
            raise
        finally:
            self._making = outer
        name = form if named is not None else spec.label or spec.name
        return Made(self._wrapped(backend, name, spec), spec)

    def use(self, tracker: Tracker | None) -> None:
        """Have every backend made so far write its calls with this tracker."""
        for backend in self._tracked:
            backend.tracker = tracker

    @property
    def any_tracked(self) -> bool:
        """True when there is a backend that sends requests."""
        return bool(self._tracked)

    def _wrapped(self, backend: Backend, name: str, spec: Spec) -> Backend:
        if getattr(backend, "local", False) or getattr(backend, "backends", None) is not None:
            return backend  # nothing is sent, or its own backends send it
        from llmops.usage.providers import provider_of

        address = address_of(backend)
        provider = getattr(backend, "provider", "") or provider_of(address, spec.name)
        tracked = TrackedBackend(backend, None, name=name, provider=provider, address=address)
        self._tracked.append(tracked)
        return tracked

    def _check_circle(self, name: str, where: str) -> None:
        if name in self._making:
            raise InputError(f"backend {name} is made of itself: {' → '.join((*self._making, name))}", where=where)


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
        if inner is not None:
            return sum(bound(request, one) for one in inner)
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
    return Budgets(rules, book, spent=spent, settle_dead=settle_dead)


def sinks_of(config: Config) -> tuple[CallSink, ...]:
    """Where the project's calls are sent beside its log. Raises `ConfigError` and `MissingExtraError`."""
    if not config.telemetry:
        return ()
    from llmops.telemetry.otlp import sink_of

    sink = sink_of(config.telemetry, config.where_of("telemetry"))
    return (sink,) if sink is not None else ()


def make_tracker(config: Config, location: str) -> Tracker:
    """A tracker of a project that writes to the store at `location`. Raises `InputError` and `StoreError`."""
    from llmops.store.call_log import open_call_log
    from llmops.usage.tracker import Tracker

    book = price_book(config)
    threading.Thread(target=book.warm, name="llmops-prices", daemon=True).start()  # or the first answer waits for it
    return Tracker(
        open_call_log(location),
        book,
        budgets=budgets_of(config, book, location),
        sinks=sinks_of(config),
        keep_text=config.calls.keep_text,
        on_failure=config.calls.on_failure,
    )


@contextlib.contextmanager
def tracking(backends: Backends, config: Config, location: str) -> Iterator[None]:
    """Every request inside is a call in the log at `location`, committed at the end."""
    if not backends.any_tracked:
        yield
        return
    tracker = make_tracker(config, location)
    backends.use(tracker)
    try:
        yield
    finally:
        backends.use(None)
        tracker.close()


def project_tracker(start: Path | None = None, store: str | Path | None = None) -> Tracker:
    """This process's tracker of the project around `start`; the same one for every caller."""
    wanted = (os.getpid(), str(start or os.getcwd()), "" if store is None else str(store))  # noqa: PTH109
    with _LOCK:
        found = _TRACKERS.get(wanted)
        if found is None:
            config = load_config(start)
            location = store_location(None if store is None else str(store), start)
            key = (os.getpid(), str(config.root), location)
            found = _TRACKERS.get(key) or make_tracker(config, location)
            _TRACKERS[wanted] = _TRACKERS[key] = found
        return found


_LOCK = threading.Lock()
_TRACKERS: dict[tuple[int, str, str], Tracker] = {}
