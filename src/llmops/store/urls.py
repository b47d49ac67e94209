"""A server's URL: read with care, and never shown with its passwords."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from llmops.errors import InputError

HIDDEN = "***"
_SECRET_NAME = re.compile("pass|secret|token", re.IGNORECASE)


def server_url(text: str) -> URL:
    """The URL of a PostgreSQL server. Raises `InputError`, which never repeats the URL."""
    try:
        if "\0" in unquote(text):
            raise ValueError("libpq reads no further than a NUL")
        url = make_url(text.encode().decode())  # a lone surrogate can't be sent
    except (ArgumentError, ValueError):
        raise InputError("the store's URL can't be read", hint="postgresql://user:password@host:5432/name") from None
    if not re.fullmatch(r"postgres(ql)?(\+psycopg)?", url.drivername):
        raise InputError(f"no store for {url.drivername}://", hint="use a SQLite file or a postgresql:// URL")
    if url.password is not None and text.count("@") > 1:
        hint = "inside a password write @ as %40, / as %2F and ? as %3F"
        raise InputError("the store's URL holds more than one @", hint=hint)
    return url


def is_url(location: str) -> bool:
    """True for a URL, and for what was meant as one: a password must not become a file's name."""
    return "://" in location or re.match(r"postgres\w*(\+\w+)?:", location) is not None


def mask(location: str) -> str:
    """A store's location as it may be shown: `***` for what could be a password of a URL.

    All from a user's name to the last `@` is hidden: a password may hold unencoded ones, though such a URL is refused.
    """
    if not is_url(location):
        return location
    shown = re.sub(r"^([^:]*:/*[^:@]*):.*@", rf"\1:{HIDDEN}@", location, flags=re.DOTALL)
    return re.sub(r"([?&][^=&]*=)([^&]*)", _mask_parameter, shown)


def _mask_parameter(found: re.Match[str]) -> str:
    return found[1] + HIDDEN if _SECRET_NAME.search(unquote(found[1])) else found[0]


def secrets_of(url: URL) -> tuple[str, ...]:
    """Every password in a URL, plain and as URLs write it, the longest first."""
    found = {url.password or ""}
    for name, values in url.normalized_query.items():
        if _SECRET_NAME.search(name):
            found.update(values)
    found |= {quote(secret, safe="") for secret in found}
    return tuple(sorted(found - {""}, key=len, reverse=True))


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without the secrets; a driver's messages may repeat what it was given."""
    for secret in secrets:
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text
