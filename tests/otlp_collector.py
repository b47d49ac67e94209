"""A loopback OTLP collector that does what a test tells it to, and decodes what it gets.

    with Collector() as collector:
        sink = OtlpSink(collector.endpoint)
        ...
    assert collector.spans[0].name == "chat gpt-4o"

`answers` are used up in order, then 200 repeats: a status, or `(status, headers, body)`. With `hold=True` requests are
not answered until `release()`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Answer = int | tuple[int, dict[str, str], bytes]


class Collector:
    def __init__(self, answers: Iterable[Answer] = (), *, hold: bool = False) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.metric_requests: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.arrived = threading.Event()
        self._answers = iter(answers)
        self._held = threading.Event()
        if not hold:
            self._held.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def endpoint(self) -> str:
        return f"{self.url}/v1/traces"

    @property
    def spans(self) -> list[Any]:
        """Every span of every request that was answered with 200."""
        return [
            span
            for request in self.requests
            for whole in request.resource_spans
            for scoped in whole.scope_spans
            for span in scoped.spans
        ]

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics of the last request, by name."""
        [whole] = self.metric_requests[-1].resource_metrics
        [scoped] = whole.scope_metrics
        return {metric.name: metric for metric in scoped.metrics}

    def release(self) -> None:
        """Answer what was held."""
        self._held.set()

    def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.paths.append(self.path)
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                collector.arrived.set()
                collector._held.wait(30)
                answer = next(collector._answers, 200)
                status, headers, text = (answer, {}, b"") if isinstance(answer, int) else answer
                if status == 200 and self.path.endswith("/v1/metrics"):
                    collector.metric_requests.append(ExportMetricsServiceRequest.FromString(body))
                elif status == 200:
                    collector.requests.append(ExportTraceServiceRequest.FromString(body))
                try:
                    self.send_response(status)
                    for name, value in {**headers, "Content-Length": str(len(text))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:  # the client has gone
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def plain(value: Any) -> Any:
    """An OTLP value as Python's."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    return getattr(value, kind)


def attributes(message: Any) -> dict[str, Any]:
    """The attributes of a span or resource."""
    return {pair.key: plain(pair.value) for pair in message.attributes}


def points(metric: Any) -> dict[frozenset[tuple[str, Any]], Any]:
    """The points of a metric by their attributes."""
    data = getattr(metric, metric.WhichOneof("data"))
    return {frozenset(attributes(point).items()): point for point in data.data_points}
