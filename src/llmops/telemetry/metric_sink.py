"""Calls as metrics over OTLP: added up here, sent every minute and at the end."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping

from llmops.identity import new_id
from llmops.telemetry import semconv
from llmops.telemetry.delivery import EXIT_S, Delivery, Pause
from llmops.telemetry.encoding import check_installed
from llmops.telemetry.metric_encoding import encoded_metrics
from llmops.telemetry.metrics import Aggregate
from llmops.telemetry.posting import TIMEOUT_S, Poster, suppress_instrumentation
from llmops.telemetry.settings import Destination
from llmops.telemetry.spans import Value
from llmops.types import Call, CallText

EVERY_S = 60.0  # as OpenTelemetry's own readers do
_logger = logging.getLogger("llmops.telemetry")


class MetricSink:
    """Adds up every call it is told of and sends the sums every `every_s` seconds. Implements `types.CallSink`.

    Sums count from when this was made, or with `delta` from the last time they were sent. Each process is an instance
    of its own (`service.instance.id`), a forked one too, so that one's sums don't replace another's. Never waits and
    never raises: calls whose sums didn't arrive are counted in `dropped`, and said through Python's logging
    (`llmops.telemetry`). Raises `MissingExtraError` when made without the library.
    """

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        *,
        resource: Mapping[str, Value] | None = None,
        delta: bool = False,
        every_s: float = EVERY_S,
        timeout_s: float = TIMEOUT_S,
        exit_s: float = EXIT_S,
        where: str = "",
    ) -> None:
        check_installed(where)
        self._given = dict(resource or {"service.name": "llmops"})
        self._delta = delta
        self._poster = Poster(endpoint, headers or {}, timeout_s=timeout_s)
        self._every_s = every_s
        self._warned = False
        self._begin()
        self._delivery: Delivery[Call] = Delivery(
            self._add, of="measured calls", publish=self._send, every_s=every_s, exit_s=exit_s
        )

    @classmethod
    def to(cls, to: Destination, where: str = "") -> MetricSink:
        """The exporter to a destination from settings."""
        return cls(to.endpoint, to.headers, resource=to.resource, delta=to.delta, exit_s=to.exit_s, where=where)

    @property
    def sent(self) -> int:
        """Calls that are in the sums which the collector took."""
        return self._delivery.sent - self._unsent

    @property
    def dropped(self) -> int:
        """Calls that are in no sums which the collector took, nor will be."""
        return self._delivery.lost

    def record(self, call: Call, text: CallText | None) -> None:
        """Take a settled call. What was said in it is left out."""
        self._delivery.put(call)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Send the sums of every call so far; False when that takes longer (than `exit_s` by default)."""
        return self._delivery.flush(self._delivery.exit_s if timeout_s is None else timeout_s)

    def close(self, timeout_s: float | None = None) -> None:
        """Send the sums for the last time, for at most `timeout_s` (`exit_s` by default). Later calls are dropped."""
        self._delivery.close(self._delivery.exit_s if timeout_s is None else timeout_s)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._resource = {semconv.SERVICE_INSTANCE: new_id(), **self._given}
        self._aggregate = Aggregate()
        self._unsent = 0
        self._since_ns = time.time_ns()

    def _add(self, batch: list[Call], _: Pause) -> tuple[int, str]:
        if self._pid != os.getpid():
            self._begin()
        lost, why = 0, ""
        for call in batch:
            try:
                self._aggregate.add(call)
            except Exception as error:
                lost, why = lost + 1, f"a call can't be measured: {type(error).__name__}"
        self._unsent += len(batch) - lost
        return lost, why

    def _send(self, pause: Pause, last: bool) -> tuple[int, str]:
        """Sends the sums; says how many calls they leave untold for good, and why."""
        if not self._aggregate.points or (not self._unsent and (last or self._delta)):
            return 0, ""
        suppress_instrumentation()
        now = time.time_ns()
        why = self._post(now, pause)
        if self._delta:
            self._aggregate, self._since_ns = Aggregate(), now
        if why and not (self._delta or last):  # the next sums tell of these calls too
            self._warn(why)
            return 0, ""
        untold, self._unsent = (self._unsent if why else 0), 0
        return untold, why

    def _post(self, now_ns: int, pause: Pause) -> str:
        """Why some of the sums didn't arrive, empty when all did."""
        why = ""
        try:
            points = self._aggregate.points
            for body, count in encoded_metrics(points, self._resource, self._since_ns, now_ns, delta=self._delta):
                lost, reason = self._poster.post(body, count, pause)
                why = (reason or "lost") if lost else why
        except Exception as error:
            why = f"metrics can't be encoded: {type(error).__name__}"
        return why

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning("metrics were not exported (%s), they are tried again every %g s", why, self._every_s)
