"""`telemetry:` of llmops.yaml: where spans and metrics go, with which headers, and what they say about this service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from llmops.errors import ConfigError, InputError, did_you_mean
from llmops.http.addresses import check_url, expand_headers
from llmops.telemetry.delivery import EXIT_S
from llmops.telemetry.spans import Value

ENVIRONMENT = "env"
_KEYS = ("otlp", "headers", "content", "metrics", "service", "resource", "exit_timeout_s")
_TEMPORALITIES = ("cumulative", "delta")
_TRACES, _METRICS = "traces", "metrics"
_ENDPOINT, _HEADERS, _PROTOCOL = "ENDPOINT", "HEADERS", "PROTOCOL"


@dataclass(frozen=True)
class Destination:
    """Where spans or metrics are sent. `headers` hold secrets: they are never shown.

    `content` sends what was said, in spans. `delta` sends what metrics came to since the last time, not since the
    start. `exit_s` is for how many seconds the end of the process waits.
    """

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bool = False
    resource: Mapping[str, Value] = field(default_factory=dict)
    delta: bool = False
    exit_s: float = EXIT_S


def destination_of(settings: Mapping[str, Any], where: str = "") -> Destination | None:
    """The destination of spans in `telemetry:`, or None when there is none: nothing is sent unless it is asked for.

    `otlp` is a base address, or one that ends in `/v1/traces`, or `env`: then OpenTelemetry's own variables say where
    to (`OTEL_EXPORTER_OTLP_ENDPOINT`, `…_HEADERS`, and the `…_TRACES_…` ones), and nothing is sent when they are
    unset. They are read for nothing else. Raises `ConfigError`.
    """
    return _destination(settings, where, _TRACES)


def metrics_destination_of(settings: Mapping[str, Any], where: str = "") -> Destination | None:
    """The same for metrics, at `/v1/metrics` (`…_METRICS_…`), which are sent only where `metrics:` says so.

    `metrics` is true, or `cumulative`, which is the same, or `delta`. Raises `ConfigError`.
    """
    asked = settings.get("metrics", False)
    if not isinstance(asked, bool) and asked not in _TEMPORALITIES:
        hint = f"true, false, {' or '.join(_TEMPORALITIES)}"
        raise ConfigError(f"telemetry: metrics is {asked!r}", where=where, hint=hint)
    found = _destination(settings, where, _METRICS) if asked else None
    return None if found is None else replace(found, content=False, delta=asked == "delta")


def _destination(settings: Mapping[str, Any], where: str, signal: str) -> Destination | None:
    for key in settings:
        if key not in _KEYS:
            raise ConfigError(f"telemetry: unknown key {key!r}", where=where, hint=did_you_mean(str(key), _KEYS))
    if settings and "otlp" not in settings:
        raise ConfigError("telemetry has no otlp", where=where, hint="otlp: http://localhost:6006, or otlp: env")
    content = settings.get("content", False)
    if not isinstance(content, bool):
        raise ConfigError(f"telemetry: content is {content!r}", where=where, hint="true or false")
    exit_s = settings.get("exit_timeout_s", EXIT_S)
    if isinstance(exit_s, bool) or not isinstance(exit_s, (int, float)) or not 0 <= exit_s <= 3600:
        raise ConfigError(f"telemetry: exit_timeout_s is {exit_s!r}", where=where, hint="a number of seconds")
    headers, resource = _headers(settings.get("headers"), where), _resource(settings, where)
    otlp = settings.get("otlp")
    if otlp is None or otlp == "":
        return None
    if not isinstance(otlp, str):
        raise ConfigError(f"telemetry: otlp is {otlp!r}", where=where, hint="an address, or env")
    if otlp != ENVIRONMENT:
        endpoint = _endpoint(otlp, "telemetry: otlp", where, signal)
        return Destination(endpoint, headers, content, resource, exit_s=exit_s)
    endpoint = _endpoint_of_environment(where, signal)
    if not endpoint:
        return None
    known = {**_headers_of_environment(where, signal), **headers}
    return Destination(endpoint, known, content, resource, exit_s=exit_s)


def _endpoint(url: str, what: str, where: str, signal: str, *, whole: bool = False) -> str:
    """The address with its signal's path: of a base, or of an address that ends in either signal's path."""
    try:
        url = check_url(url, what=what)
    except InputError as error:
        raise ConfigError(error.message, where=where, hint=error.hint) from None
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if whole or path.endswith(f"/v1/{signal}"):
        return url
    for known in (_TRACES, _METRICS):
        path = path.removesuffix(f"/v1/{known}")
    return urlunsplit(parts._replace(path=f"{path}/v1/{signal}"))


def _headers(value: Any, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        hint = "headers: {Authorization: Bearer ${LANGFUSE_KEY}}"
        raise ConfigError("telemetry: headers is a mapping of names to values", where=where, hint=hint)
    return expand_headers(value, where=where, owner="telemetry")


def _resource(settings: Mapping[str, Any], where: str) -> dict[str, Value]:
    """What is said of this service: by settings, else by the environment."""
    service, given = settings.get("service"), settings.get("resource") or {}
    if service is not None and not isinstance(service, str):
        raise ConfigError(f"telemetry: service is {service!r}, not a name", where=where)
    if not isinstance(given, Mapping) or not all(isinstance(item, (str, int, float)) for item in given.values()):
        hint = "resource: {deployment.environment.name: production}"
        raise ConfigError("telemetry: resource is a mapping of names to texts or numbers", where=where, hint=hint)
    pairs = _pairs(os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    named = service or os.environ.get("OTEL_SERVICE_NAME") or pairs.get("service.name") or "llmops"
    return {**pairs, "service.name": named, **{str(name): value for name, value in given.items()}}


def _variable(name: str, signal: str) -> tuple[str, str]:
    """OpenTelemetry's variable for a signal, else the one for everything: its name and value."""
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        if value := os.environ.get(variable, "").strip():
            return variable, value
    return "", ""


def _endpoint_of_environment(where: str, signal: str) -> str:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    name, value = _variable(_ENDPOINT, signal)
    _, protocol = _variable(_PROTOCOL, signal)
    if value and protocol == "grpc":
        own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
        hint = f"set {own}=http/protobuf and the address of the HTTP port"
        raise ConfigError("OTEL_EXPORTER_OTLP_PROTOCOL is grpc, only HTTP is spoken", where=where, hint=hint)
    return _endpoint(value, name, where, signal, whole=signal.upper() in name) if value else ""


def _headers_of_environment(where: str, signal: str) -> dict[str, str]:
    name, value = _variable(_HEADERS, signal)
    pairs = {key: text.replace("${", "$${") for key, text in _pairs(value).items()}
    return expand_headers(pairs, where=where, owner=name)


def _pairs(text: str) -> dict[str, str]:
    """`a=b,c=d` with percent-encoded values, as OpenTelemetry's variables are written; the rest is left out."""
    split = (part.partition("=") for part in text.split(","))
    return {key.strip(): unquote(value.strip()) for key, equals, value in split if equals and key.strip()}
