"""Calls as spans over OTLP: an exporter for every backend that takes OpenTelemetry traces."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from llmops.telemetry.delivery import EXIT_S, QUEUE, Delivery, Pause
from llmops.telemetry.encoding import check_installed, encoded
from llmops.telemetry.metric_sink import MetricSink
from llmops.telemetry.posting import TIMEOUT_S, Poster, suppress_instrumentation
from llmops.telemetry.settings import Destination, destination_of, metrics_destination_of
from llmops.telemetry.spans import Parent, Span, Value, span_of
from llmops.types import Call, CallText

_QUEUE_WITH_TEXT = 2_000  # texts are long: the queue must not fill the memory
_MOST_UNDER_WAY = 100_000
_Item = tuple[Call, CallText | None, Parent | None]
_UNSEEN = Parent("", "")


def sink_of(settings: Mapping[str, Any], where: str = "") -> OtlpSink | MetricSink | None:
    """The exporter that `telemetry:` in llmops.yaml describes, or None when it names no place to send to.

    `where` is `file:line` for errors. Raises `ConfigError` on a wrong setting, `MissingExtraError` without the library.
    """
    to, measured = destination_of(settings, where), metrics_destination_of(settings, where)
    metrics = None if measured is None else MetricSink.to(measured, where=where)
    return metrics if to is None else OtlpSink.to(to, where=where, metrics=metrics)


class OtlpSink:
    """Sends every call it is told of as a span, in batches, in the background. Implements `types.CallSink`.

    Never waits and never raises: what can't be sent is counted in `dropped`, and said once through Python's logging
    (`llmops.telemetry`). `content` puts messages and answers into the spans. `metrics` is told of every call as well,
    and closed with this. Raises `MissingExtraError` when made without the library.
    """

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        *,
        content: bool = False,
        resource: Mapping[str, Value] | None = None,
        queue_size: int | None = None,
        timeout_s: float = TIMEOUT_S,
        exit_s: float = EXIT_S,
        metrics: MetricSink | None = None,
        where: str = "",
    ) -> None:
        check_installed(where)
        self.content = content
        self._resource = dict(resource or {"service.name": "llmops"})
        self._poster = Poster(endpoint, headers or {}, timeout_s=timeout_s)
        limit = queue_size or (_QUEUE_WITH_TEXT if content else QUEUE)
        self._delivery: Delivery[_Item] = Delivery(self._send, of="calls", limit=limit, exit_s=exit_s)
        self._parents: dict[str, Parent | None] = {}
        self.metrics = metrics

    @classmethod
    def to(cls, to: Destination, where: str = "", metrics: MetricSink | None = None) -> OtlpSink:
        """The exporter to a destination from settings."""
        return cls(
            to.endpoint,
            to.headers,
            content=to.content,
            resource=to.resource,
            exit_s=to.exit_s,
            metrics=metrics,
            where=where,
        )

    @property
    def sent(self) -> int:
        """Calls that the collector took."""
        return self._delivery.sent

    @property
    def dropped(self) -> int:
        """Calls that didn't get there."""
        return self._delivery.lost

    def begun(self, call: Call) -> None:
        """Remember the caller's own span, if it is in one, as the parent. Call it where the call starts."""
        if len(self._parents) >= _MOST_UNDER_WAY:
            self._parents.clear()
        self._parents[call.id] = current_parent()

    def record(self, call: Call, text: CallText | None) -> None:
        """Take a settled call. One that `begun` wasn't told of is a child of the span that is current now."""
        parent = self._parents.pop(call.id, _UNSEEN) if self._parents else _UNSEEN
        if parent is _UNSEEN:
            parent = current_parent()
        self._delivery.put((call, text if self.content else None, parent))
        if self.metrics is not None:
            self.metrics.record(call, None)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every call so far is sent or dropped; False when that takes longer (than `exit_s` by default)."""
        timeout_s = self._delivery.exit_s if timeout_s is None else timeout_s
        end = time.monotonic() + timeout_s
        spans = self._delivery.flush(timeout_s)
        return (self.metrics is None or self.metrics.flush(max(end - time.monotonic(), 0))) and spans

    def close(self, timeout_s: float | None = None) -> None:
        """Send what is left, for at most `timeout_s` (`exit_s` by default). Calls that come later are dropped."""
        timeout_s = self._delivery.exit_s if timeout_s is None else timeout_s
        end = time.monotonic() + timeout_s
        self._delivery.close(timeout_s)
        if self.metrics is not None:
            self.metrics.close(max(end - time.monotonic(), 0))

    def _send(self, batch: list[_Item], pause: Pause) -> tuple[int, str]:
        suppress_instrumentation()
        spans, why = _spans(batch)
        lost = len(batch) - len(spans)
        try:
            bodies = iter(encoded(spans, self._resource))
            done = 0
            for body, count in bodies:
                missed, reason = self._poster.post(body, count, pause)
                lost, why, done = lost + missed, reason or why, done + count
        except Exception as error:
            return lost + len(spans) - done, f"spans can't be encoded: {type(error).__name__}"
        return lost, why


def _spans(batch: list[_Item]) -> tuple[list[Span], str]:
    """Spans of the calls that can be told; one that can't takes no other along."""
    made: list[Span] = []
    why = ""
    for call, text, parent in batch:
        try:
            made.append(span_of(call, text, parent))
        except Exception as error:
            why = f"a call can't be told as a span: {type(error).__name__}"
    return made, why


def current_parent() -> Parent | None:
    """The caller's current OpenTelemetry span, if the caller uses OpenTelemetry and the span is sampled.

    A span that isn't sampled is no parent: the call is sent all the same, as a trace of its own, so that totals of
    tokens and dollars stay whole.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    try:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid or not context.trace_flags.sampled:
            return None
        state = ",".join(f"{key}={value}" for key, value in context.trace_state.items())
        return Parent(f"{context.trace_id:032x}", f"{context.span_id:016x}", state)
    except Exception:  # an application's tracing must not break its calls
        return None
