"""Content hashes, canonical JSON and our own ids."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from typing import Any

SHORT = 12
_RANDOM = random.Random()  # seeded by the system; asking it for every id would cost a system call
os.register_at_fork(after_in_child=_RANDOM.seed)
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode  # `dumps` would make one at every call


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, ASCII only. Raises TypeError on what isn't JSON."""
    return _encode(value)


def content_hash(value: Any) -> str:
    """sha256 (64 hex digits) of a value's canonical JSON; show the first 12."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def new_id() -> str:
    """A UUIDv7 (RFC 9562): sorts by time, unique across processes."""
    value = (time.time_ns() // 1_000_000) << 80 | _RANDOM.getrandbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
