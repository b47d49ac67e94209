"""Addresses and headers from suites: checked early, and never a place where a secret ends up in a report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from llmops.errors import ConfigError, InputError
from llmops.secrets import longest_first
from llmops.variables import fill_in

_SECRET_NAME = re.compile(r"key|token|secret|password|passwd|signature|^sig$|^auth", re.IGNORECASE)
_HARMLESS = re.compile(r"accept(-.*)?|cache-control|connection|content-type|user-agent", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def check_url(url: str, *, what: str = "url") -> str:
    """`url` without a fragment. Raises `InputError` unless it is http(s) with a host and holds no credentials."""
    if not url.isprintable() or " " in url:
        raise InputError(
            f"{what} is {_without_secrets(url)!r}: it holds spaces or characters that can't be in an address"
        )
    try:
        parts = urlsplit(url)
        host, user = parts.hostname, parts.username or parts.password
        _ = parts.port  # raises on a port that isn't one
        (host or "").encode("idna")
    except ValueError as error:  # its text may quote a password with a / in it as the port
        said = "not an address" if "@" in url else str(error)
        raise InputError(f"{what} is {_without_secrets(url)!r}: {said}") from None
    if parts.scheme not in ("http", "https") or not host:
        hint = "write it with http:// or https://, such as http://localhost:8000/v1"
        raise InputError(f"{what} is {_without_secrets(url)!r}, not an http(s) address", hint=hint)
    if user:
        raise InputError(f"{what} holds a user name or password", hint="put ${VAR} into headers: instead")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if _SECRET_NAME.search(name):
            raise InputError(f"{what} holds a secret in ?{name[:40]}=", hint="put ${VAR} into headers: instead")
    return urlunsplit(parts._replace(fragment=""))


def _without_secrets(url: str) -> str:
    """An address that was refused, as it may be shown: no user, no password, no query."""
    shown, question, _ = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", r"\1…@", url, flags=re.DOTALL).partition("?")
    return f"{shown}{question and '?…'}"[:200]


def expand_headers(headers: Mapping[str, str], *, where: str = "", owner: str = "") -> dict[str, str]:
    """Headers with `${VAR}` and `${VAR:-default}` filled in from the environment; `$${` stands for `${`.

    Raises `ConfigError` on a variable that isn't set (`owner` says whose headers they are) and on text that can't be
    a header; never shows a value.
    """
    return {name: _expanded(name, value, where, owner)[0] for name, value in headers.items()}


def header_secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What must be masked wherever these headers may be echoed: values, their parts, and variables' values."""
    found: list[str] = []
    for name, written in headers.items():
        value, taken = _expanded(name, written, "", "")
        found += [text.strip() for text in taken.values()]
        if not _HARMLESS.fullmatch(name):
            scheme, _, rest = value.partition(" ")
            found += [value, rest.strip() if scheme.isalpha() else ""]
            found += [part.partition("=")[2] for part in value.split("; ")]
    return longest_first(found)


def _expanded(name: str, value: str, where: str, owner: str) -> tuple[str, dict[str, str]]:
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise ConfigError(f"{str(name)[:60]!r} can't be the name of a header", where=where)
    if not isinstance(value, str):
        raise ConfigError(f"the value of header {name} isn't text", where=where, hint="put it in quotes")
    of = f"it is in the headers of {owner}: " if owner else ""

    def missing(variable: str) -> ConfigError:
        message = f"header {name} needs ${variable}, which isn't set"
        return ConfigError(message, where=where, hint=f"{of}export {variable}=…")

    def malformed(_: str) -> ConfigError:
        hint = f"{of}write ${{NAME}} or ${{NAME:-default}}, and $${{ for a literal ${{"
        return ConfigError(f"header {name} holds a ${{ that isn't a reference to a variable", where=where, hint=hint)

    filled, taken = fill_in(value, missing=missing, malformed=malformed, needs_text=True)
    return header_value(name, filled, where=where), taken


def header_value(name: str, value: str, *, where: str = "") -> str:
    """`value` without spaces around it. Raises `ConfigError`, without showing it, when it can't be a header's."""
    value = value.strip()
    if not value.isprintable() or not value.isascii():
        hint = "it must be printable ASCII on one line"
        raise ConfigError(f"the value of header {name} can't be sent", where=where, hint=hint)
    return value
