"""A request as people write it: text or messages, and parameters by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmops.errors import InputError
from llmops.types import Message, Request


def request_of(
    messages: str | Iterable[Message],
    *,
    model: str = "",
    parameters: Mapping[str, Any] | None = None,
    tools: Iterable[Mapping[str, Any]] = (),
    output_schema: Mapping[str, Any] | None = None,
    repeat: int = 0,
    **more: Any,
) -> Request:
    """The request for one user message as text, or for messages.

    Parameters of the model (`temperature`, `max_tokens`, …) stand in `parameters` or are given by name. Raises
    `InputError` for messages that aren't any, and for a parameter that is given both ways.
    """
    if isinstance(messages, str):
        messages = ({"role": "user", "content": messages},)
    elif not isinstance(messages, tuple):  # what a prompt rendered knows its prompt, and stays as it is
        messages = tuple(messages) if isinstance(messages, Iterable) and not isinstance(messages, Mapping) else ()
    if not messages or not all(isinstance(message, Mapping) for message in messages):
        raise InputError("messages are text, or a list of {role, content}")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise InputError(f"parameters is {parameters!r}"[:200], hint='parameters={"max_tokens": 50}, or max_tokens=50')
    twice = next((name for name in more if name in (parameters or {})), None)
    if twice is not None:
        raise InputError(f"{twice} is given twice", hint="by name, or in parameters")
    return Request(messages, model, {**(parameters or {}), **more}, tuple(tools), output_schema, repeat)
