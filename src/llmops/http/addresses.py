"""Addresses and headers from suites: checked early, and never a place where a secret ends up in a report."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from llmops.errors import ConfigError, InputError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET_NAME = re.compile(r"key|token|secret|password|passwd|signature|^sig$|^auth", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def check_url(url: str, *, what: str = "url") -> str:
    """`url` without a fragment. Raises `InputError` unless it is http(s) with a host and holds no credentials."""
    if not url.isprintable() or " " in url:
        raise InputError(f"{what} is {url[:200]!r}: it holds spaces or characters that can't be in an address")
    try:
        parts = urlsplit(url)
        host, user = parts.hostname, parts.username or parts.password
        _ = parts.port  # raises on a port that isn't one
        (host or "").encode("idna")
    except ValueError as error:
        raise InputError(f"{what} is {url[:200]!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        hint = "write it with http:// or https://, such as http://localhost:8000/v1"
        raise InputError(f"{what} is {_without_user(url)[:200]!r}, not an http(s) address", hint=hint)
    if user:
        raise InputError(f"{what} holds a user name or password", hint="put ${VAR} into headers: instead")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if _SECRET_NAME.search(name):
            raise InputError(f"{what} holds a secret in ?{name[:40]}=", hint="put ${VAR} into headers: instead")
    return urlunsplit(parts._replace(fragment=""))


def _without_user(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)


def expand_headers(headers: Mapping[str, str], *, where: str = "") -> dict[str, str]:
    """Headers with `${VAR}` and `${VAR:-default}` filled in from the environment.

    Raises `ConfigError` on a variable that isn't set and on text that can't be a header; never shows a value.
    """
    expanded = {}
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigError(f"{name[:60]!r} can't be the name of a header", where=where)
        expanded[name] = header_value(name, _filled_in(name, value, where), where=where)
    return expanded


def _filled_in(name: str, value: str, where: str) -> str:
    return _VARIABLE.sub(lambda match: _variable(match, name, where), value)


def header_value(name: str, value: str, *, where: str = "") -> str:
    """`value` without spaces around it. Raises `ConfigError`, without showing it, when it can't be a header's."""
    value = value.strip()
    if not value.isprintable() or not value.isascii():
        hint = "it must be printable ASCII on one line"
        raise ConfigError(f"the value of header {name} can't be sent", where=where, hint=hint)
    return value


def _variable(match: re.Match[str], header: str, where: str) -> str:
    value = os.environ.get(match[1]) or match[2]
    if value is None:
        hint = f"export {match[1]}=…"
        raise ConfigError(f"header {header} needs ${match[1]}, which isn't set", where=where, hint=hint)
    return value
