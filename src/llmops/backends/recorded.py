"""A backend that answers from a JSONL file of earlier answers, matched by messages and model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from llmops.errors import InputError, NotRecordedError, did_you_mean
from llmops.identity import content_hash
from llmops.jsonlines import open_rows, parse_row
from llmops.token_usage import read_usage
from llmops.types import Build, Completion, Request, ToolCall, Usage

_KEYS = ("messages", "prompt", "model", "text", "usage", "tool_calls", "finish_reason", "latency_s", "repeat")


class Recorded:
    """Answers that were recorded before, one JSON object a line.

    A row holds `messages` (or `prompt`, one user message) and `text`; it may hold `model`, `usage`, `tool_calls`
    (name, arguments, id), `finish_reason`, `latency_s` and `repeat`. A row without `model` answers for any model,
    one without `repeat` for any repeat. The file is checked when the backend is made; texts stay on disk.
    """

    local = True  # no server, so rates a minute don't apply

    def __init__(self, build: Build, path: str) -> None:
        self.path = build.base / path
        self._shown = path
        self._rows: dict[str, tuple[int, int]] = {}
        digest = hashlib.sha256()
        for number, offset, line in open_rows(self.path, shown_as=path, where=build.where):
            digest.update(line)
            where = f"{path}:{number}"
            row = parse_row(line, where=where)
            _completion(row, where)
            key = _row_key(row, where)
            if key in self._rows:
                raise InputError(f"the same request as on line {self._rows[key][1]}", where=where, hint="drop one")
            self._rows[key] = offset, number
        if not self._rows:
            raise InputError(f"{path} holds no answers", where=build.where)
        self.identity: Mapping[str, Any] = {"kind": "recorded", "sha256": digest.hexdigest()}
        self.note = f"recorded: answers read from {path}"

    async def complete(self, request: Request) -> Completion:
        """The recorded answer, marked as cached. Raises `NotRecordedError` when there is none."""
        for model in dict.fromkeys((request.model, "")):
            for repeat in (request.repeat, None):
                found = self._rows.get(_key(request.messages, model, repeat))
                if found is not None:
                    return self._read(*found)
        asked = str(request.messages[-1].get("content") if request.messages else "")
        raise NotRecordedError(
            f"{self._shown} has no answer for a request that ends {asked[-60:]!r}",
            hint="record it, or use another backend",
        )

    def _read(self, offset: int, number: int) -> Completion:
        where = f"{self._shown}:{number}"
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                row = parse_row(file.readline(), where=where)
            return _completion(row, where)
        except (OSError, InputError):
            raise NotRecordedError(f"{where} changed while it was in use", hint="run again") from None


def _key(messages: Iterable[Mapping[str, Any]], model: str, repeat: int | None) -> str:
    return content_hash({"messages": [dict(m) for m in messages], "model": model, "repeat": repeat})


def _row_key(row: Mapping[str, Any], where: str) -> str:
    for name in row:
        if name not in _KEYS:
            raise InputError(f"unknown key {name!r}", where=where, hint=did_you_mean(name, _KEYS))
    messages, prompt = row.get("messages"), row.get("prompt")
    if (messages is None) == (prompt is None):
        raise InputError("a row needs messages or prompt, and not both", where=where)
    if messages is None:
        if not isinstance(prompt, str):
            raise InputError(f"prompt is {type(prompt).__name__}, not text", where=where)
        messages = [{"role": "user", "content": prompt}]
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise InputError("messages isn't a list of objects with role and content", where=where)
    model, repeat = row.get("model", ""), row.get("repeat")
    if not isinstance(model, str):
        raise InputError(f"model is {type(model).__name__}, not text", where=where)
    if repeat is not None and (isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 0):
        raise InputError(f"repeat is {str(repeat)[:40]!r}, not 0, 1, 2, …", where=where)
    return _key(messages, model, repeat)


def _completion(row: Mapping[str, Any], where: str) -> Completion:
    text, usage, latency = row.get("text"), row.get("usage"), row.get("latency_s")
    calls = row.get("tool_calls") or []
    if text is None and not calls:
        raise InputError("a row needs text", where=where)
    if text is not None and not isinstance(text, str):
        raise InputError(f"text is {type(text).__name__}, not text", where=where)
    read = read_usage(usage)
    if usage is not None and read is None:
        raise InputError("usage has no input_tokens or output_tokens", where=where)
    if latency is not None and not _is_seconds(latency):
        raise InputError(f"latency_s is {str(latency)[:40]!r}, not seconds", where=where)
    return Completion(
        text=text or "",
        usage=read or Usage(requests=1),
        tool_calls=_tool_calls(calls, where),
        finish_reason=str(row.get("finish_reason") or "stop"),
        model=str(row.get("model") or ""),
        latency_s=latency,
        cached=True,
    )


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _tool_calls(calls: Any, where: str) -> tuple[ToolCall, ...]:
    fits = isinstance(calls, list) and all(
        isinstance(c, dict)
        and isinstance(c.get("name"), str)
        and isinstance(c.get("arguments", {}), dict)
        and isinstance(c.get("id", ""), str)
        for c in calls
    )
    if not fits:
        raise InputError("tool_calls isn't a list of objects with name and arguments", where=where)
    return tuple(ToolCall(c["name"], c.get("arguments", {}), c.get("id", "")) for c in calls)
