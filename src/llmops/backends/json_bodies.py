"""JSON that a server answered with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmops.errors import BadResponseError
from llmops.http import shown


def parse_json(body: bytes, url: Any) -> Mapping[str, Any]:
    """A JSON object. Raises `BadResponseError` on anything else."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        start = shown(body[:400].decode("utf-8", "replace"), 60)
        error = BadResponseError(f"{url} answered something that isn't JSON: {start!r}")
        if body.lstrip().startswith(b"<"):  # a page of a login, a proxy, or a server of another kind
            error.hint = "is the address right?"
        raise error from None
    if not isinstance(data, Mapping):
        raise BadResponseError(f"{url} answered {type(data).__name__}, not a JSON object")
    return data
