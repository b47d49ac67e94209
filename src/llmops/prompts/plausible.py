"""Whether a text could be a real secret, or is a placeholder, an example or an ordinary word."""

from __future__ import annotations

import math
import re
from collections import Counter

_PLACEHOLDER = re.compile(
    r"example|your|placeholder|dummy|changeme|change[_-]me|redacted|sample|fake|mock|insert|replace|hidden|masked|"
    r"here|todo|secret|passw|token|api[_-]?key|(.)\1{4}|0123|1234567|12345678|abcdef|abc123|\.\.\.|…|[<>{}]|\$[A-Za-z_(]|%[(sd]|\*\*",
    re.IGNORECASE,
)
_TELLING = re.compile(
    r"example|placeholder|redacted|changeme|(.)\1{5}|123456789|abcdefgh|your[_-]|[_-]here\b|[_-](?:key|token)\b|\.\.\.",
    re.IGNORECASE,
)
_COMMON_PASSWORDS = frozenset({
    "admin", "admin123", "administrator", "default", "devpass", "guest", "letmein", "minioadmin", "mysql", "neo4j",
    "pass1234", "postgres", "postgresql", "qwerty", "rabbitmq", "redis", "rootroot", "test1234", "tester", "testing",
    "testtest", "test", "username", "user", "welcome",
})  # fmt: skip
_PARTS = re.compile(r"[-_./:@+]")
MIN_BITS = 2.8  # per character: random hex of 32 has about 3.6, English words of that length below 3.5


def bits(text: str) -> float:
    """Shannon entropy of the characters of `text`, in bits per character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def random_looking(text: str) -> bool:
    """Whether the part of a key behind its provider's mark looks random."""
    if _TELLING.search(text) or bits(text) < MIN_BITS:
        return False
    mixed = any(c.islower() for c in text) and any(c.isupper() for c in text)
    return mixed or any(c.isdigit() for c in text)


def real_token(text: str) -> bool:
    """Whether the value given to a name such as `api_key` looks like a real one."""
    if len(text) < 16 or _PLACEHOLDER.search(text) or "://" in text or text.startswith(("/", "~", "./")):
        return False
    letters, digits = sum(c.isalpha() for c in text), sum(c.isdigit() for c in text)
    return bool(letters >= 3 and digits >= 2 and bits(text) >= MIN_BITS and not _slug(text))


def real_password(text: str, *, digits: int = 1) -> bool:
    """Whether the value given to a name such as `password`, or standing in a URL, looks like a real one.

    It needs at least `digits` digits; 0 also takes words.
    """
    if _PLACEHOLDER.search(text) or text.lower() in _COMMON_PASSWORDS or bits(text) < 2:
        return False
    if not digits:
        return True
    return sum(c.isdigit() for c in text) >= digits and any(c.isalpha() for c in text) and not _slug(text)


def _slug(text: str) -> bool:
    """Words and numbers joined by dashes, dots or slashes, as names of models, files and paths are."""
    parts = [part for part in _PARTS.split(text) if part]
    return len(parts) > 1 and all(part.isdigit() or part.isalpha() or len(part) <= 4 for part in parts)
