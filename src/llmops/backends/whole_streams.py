"""A stream read to its end, for whoever asked for the whole."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from llmops.errors import BadResponseError
from llmops.http.client import SENDING
from llmops.types import Completion


async def whole(stream: AsyncGenerator[str | Completion, None], where: object) -> Completion:
    """The completion that `stream` ends in; whoever follows the request is told of each piece.

    Raises what the stream does, and `BadResponseError` when it has no end.
    """
    sending: Any = SENDING.get()
    async with contextlib.aclosing(stream) as parts:
        async for part in parts:
            if isinstance(part, Completion):
                return part
            if sending is not None:
                sending.received(part)
    raise BadResponseError(f"{where} streamed nothing")
