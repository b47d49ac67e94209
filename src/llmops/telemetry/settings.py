"""`telemetry:` of llmops.yaml: where spans go, with which headers, and what they say about this service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from llmops.errors import ConfigError, InputError, did_you_mean
from llmops.http.addresses import check_url, expand_headers
from llmops.telemetry.spans import Value

ENVIRONMENT = "env"
_KEYS = ("otlp", "headers", "content", "service", "resource")
_PATH = "/v1/traces"
_ENDPOINT, _HEADERS, _PROTOCOL = "ENDPOINT", "HEADERS", "PROTOCOL"


@dataclass(frozen=True)
class Destination:
    """Where spans are sent. `headers` hold secrets: they are never shown. `content` sends what was said."""

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bool = False
    resource: Mapping[str, Value] = field(default_factory=dict)


def destination_of(settings: Mapping[str, Any], where: str = "") -> Destination | None:
    """The destination in `telemetry:`, or None when there is none: nothing is sent unless it is asked for.

    `otlp` is a base address, or one that ends in `/v1/traces`, or `env`: then OpenTelemetry's own variables say where
    to (`OTEL_EXPORTER_OTLP_ENDPOINT`, `…_HEADERS`, and the `…_TRACES_…` ones), and nothing is sent when they are
    unset. They are read for nothing else. Raises `ConfigError`.
    """
    for key in settings:
        if key not in _KEYS:
            raise ConfigError(f"telemetry: unknown key {key!r}", where=where, hint=did_you_mean(str(key), _KEYS))
    if settings and "otlp" not in settings:
        raise ConfigError("telemetry has no otlp", where=where, hint="otlp: http://localhost:6006, or otlp: env")
    content = settings.get("content", False)
    if not isinstance(content, bool):
        raise ConfigError(f"telemetry: content is {content!r}", where=where, hint="true or false")
    headers, resource = _headers(settings.get("headers"), where), _resource(settings, where)
    otlp = settings.get("otlp")
    if otlp is None or otlp == "":
        return None
    if not isinstance(otlp, str):
        raise ConfigError(f"telemetry: otlp is {otlp!r}", where=where, hint="an address, or env")
    if otlp != ENVIRONMENT:
        return Destination(_endpoint(otlp, "telemetry: otlp", where), headers, content, resource)
    endpoint = _endpoint_of_environment(where)
    if not endpoint:
        return None
    return Destination(endpoint, {**_headers_of_environment(where), **headers}, content, resource)


def _endpoint(url: str, what: str, where: str, *, whole: bool = False) -> str:
    try:
        url = check_url(url, what=what)
    except InputError as error:
        raise ConfigError(error.message, where=where, hint=error.hint) from None
    parts = urlsplit(url)
    if whole or parts.path.rstrip("/").endswith(_PATH):
        return url
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + _PATH))


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


def _variable(name: str) -> tuple[str, str]:
    """OpenTelemetry's variable for traces, else the one for everything: its name and value."""
    for variable in (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        if value := os.environ.get(variable, "").strip():
            return variable, value
    return "", ""


def _endpoint_of_environment(where: str) -> str:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    name, value = _variable(_ENDPOINT)
    _, protocol = _variable(_PROTOCOL)
    if value and protocol == "grpc":
        hint = "set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf and the address of the HTTP port"
        raise ConfigError("OTEL_EXPORTER_OTLP_PROTOCOL is grpc, only HTTP is spoken", where=where, hint=hint)
    return _endpoint(value, name, where, whole="TRACES" in name) if value else ""


def _headers_of_environment(where: str) -> dict[str, str]:
    name, value = _variable(_HEADERS)
    pairs = {key: text.replace("${", "$${") for key, text in _pairs(value).items()}
    return expand_headers(pairs, where=where, owner=name)


def _pairs(text: str) -> dict[str, str]:
    """`a=b,c=d` with percent-encoded values, as OpenTelemetry's variables are written; the rest is left out."""
    split = (part.partition("=") for part in text.split(","))
    return {key.strip(): unquote(value.strip()) for key, equals, value in split if equals and key.strip()}
