"""Secrets kept out of everything that is shown or stored: which names hold them, and their values masked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

MASK = "***"
MIN_LENGTH = 6  # shorter values stand in ordinary text too often to be masked
_SECRET_NAME = re.compile(r"key|token|secret|pass|credential|auth", re.IGNORECASE)
_COUNT_NAME = re.compile(r"(^|_)tokens(_|$)|^token_f1$|^author", re.IGNORECASE)
_KEY_INSIDE = re.compile(r"([\w-]+)['\"]?\s*:")


def looks_secret(name: str) -> bool:
    """Whether a variable or key of this name holds a secret: KEY, TOKEN, SECRET, PASS, CREDENTIAL, AUTH in any case."""
    return bool(_SECRET_NAME.search(name))


def _key_looks_secret(part: str) -> bool:
    return part.lower() == "headers" or (looks_secret(part) and not _COUNT_NAME.search(part))


def secret_values(value: Any, path: Sequence[str | int] = ()) -> Iterator[str]:
    """The texts in `value`, which stands at `path`, whose key or a key above looks secret or is `headers`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from secret_values(item, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from secret_values(item, path)
    elif any(_key_looks_secret(str(part)) for part in path):
        text = str(value)
        if len(text) >= MIN_LENGTH and "${" not in text and not isinstance(value, (bool, float)):
            yield text


def longest_first(values: Iterable[str]) -> tuple[str, ...]:
    """Distinct values worth Masking, so that one which holds another goes first."""
    return tuple(sorted({v for v in values if len(v) >= MIN_LENGTH}, key=lambda v: (-len(v), v)))


def masked(value: Any, secrets: Sequence[str]) -> Any:
    """`value` with each of `secrets` in its texts, keys included, replaced by `***`; mappings and lists are copied."""
    ordered = longest_first(secrets)
    return _masked(value, ordered) if ordered else value


def _masked(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, Mapping):
        return {_masked(key, secrets): _masked(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_masked(item, secrets) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, int) and not isinstance(value, bool):
        return MASK if str(value) in secrets else value
    return value


def masked_message(text: str, secrets: Sequence[str]) -> str:
    """`text` without `secrets`, nor the beginning of one where the text was cut and an ellipsis follows."""
    ordered = longest_first(secrets)
    text = str(_masked(text, ordered))
    for secret in ordered if "…" in text else ():
        for length in range(len(secret) - 1, MIN_LENGTH - 1, -1):
            text = text.replace(f"{secret[:length]}…", f"{MASK}…")
    return text


def masked_override(text: str) -> str:
    """`key=value` as it may be stored: `key=***` when a part of the key, or a key in the value, holds a secret."""
    key, equals, value = text.partition("=")
    secret = any(_key_looks_secret(part) for part in (*key.split("."), *_KEY_INSIDE.findall(value)))
    return f"{key}={MASK}" if equals and secret else text
