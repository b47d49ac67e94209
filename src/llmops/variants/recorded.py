"""Outputs produced elsewhere, as a variant: `{recorded: outputs.jsonl}`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from llmops.errors import InputError, NotRecordedError, did_you_mean
from llmops.jsonlines import open_rows, parse_row
from llmops.types import Build, Output, Trial, VariantInfo
from llmops.variants.output_fields import (
    MISSING,
    at_path,
    read_contexts,
    read_failure,
    read_seconds,
    read_tokens,
    read_tool_calls,
)

COLUMNS = ("id", "text", "contexts", "usage", "latency_s", "error", "repeat", "tool_calls", "metadata")
_SHOWN_VALUES = 5


class RecordedVariant:
    """Answers from a JSONL file, one row a case (and repeat), checked in full before anything runs.

    `fields` says under which column (a dotted path) each of our names stands; then other columns are ignored.
    `only` keeps the rows whose columns have the given values, so that one file can hold several systems. Texts
    stay on disk: memory holds an id and a position a row.
    """

    local = True  # no server, so rates a minute don't apply

    def __init__(
        self, build: Build, path: str, fields: dict[str, str] | None = None, only: dict[str, Any] | None = None
    ) -> None:
        self.path = build.base / path
        self._shown = path
        self._fields = {name: name for name in COLUMNS} | _checked(fields or {})
        self._open = bool(fields)
        self._only = dict(only or {})
        self._rows: dict[str | tuple[str, int], tuple[int, int]] = {}
        self._seen: dict[str, set[str]] = {column: set() for column in self._only}
        digest = self._index(build.where)
        if not self._rows:
            raise self._no_rows(build.where)
        details: dict[str, Any] = {"path": path, "sha256": digest}
        details |= {k: dict(v) for k, v in (("fields", fields), ("only", only)) if v}
        self.info = VariantInfo("", "recorded", details, f"recorded: outputs read from {path}")

    async def answer(self, trial: Trial) -> Output:
        """The row of the case. Raises `NotRecordedError` when there is none."""
        found = self._rows.get(_key(trial.case.id, trial.repeat))
        if found is None:
            of = f" (repeat {trial.repeat})" if trial.repeat else ""
            hint = "record it, or leave the case out"
            if trial.repeat and trial.case.id in self._rows:
                hint = "record each repeat with repeat: 0, 1, …, or set repeats: 1"
            raise NotRecordedError(f"{self._shown} has no output for case {trial.case.id!r}{of}", hint=hint)
        return self._read(*found, trial)

    def _read(self, offset: int, number: int, trial: Trial) -> Output:
        where = f"{self._shown}:{number}"
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                row = parse_row(file.readline(), where=where)
            if self._identify(row, where) != _key(trial.case.id, trial.repeat):
                raise InputError("another row")
            return self._output(row, where)
        except (OSError, InputError):
            raise NotRecordedError(f"{where} changed while it was in use", hint="run again") from None

    def _index(self, where_from: str) -> str:
        digest = hashlib.sha256()
        for number, offset, line in open_rows(self.path, shown_as=self._shown, where=where_from):
            digest.update(line)
            where = f"{self._shown}:{number}"
            row = parse_row(line, where=where)
            if not self._kept(row):
                continue
            key = self._identify(row, where)
            self._output(row, where)
            if key in self._rows:
                what = f"id {key!r}" if isinstance(key, str) else f"id {key[0]!r}, repeat {key[1]}"
                hint = "each case and repeat has one row"
                raise InputError(f"{what} is also on line {self._rows[key][1]}", where=where, hint=hint)
            self._rows[key] = offset, number
        return digest.hexdigest()

    def _kept(self, row: Mapping[str, Any]) -> bool:
        kept = True
        for column, wanted in self._only.items():
            value = at_path(row, column)
            kept = kept and value is not MISSING and (value == wanted or str(value) == str(wanted))
            if len(self._seen[column]) < _SHOWN_VALUES and value is not MISSING:
                self._seen[column].add(str(value)[:40])
        return kept

    def _no_rows(self, where: str) -> InputError:
        if not self._only:
            return InputError(f"{self._shown} holds no rows", where=where)
        wanted = ", ".join(f"{column} = {value!r}" for column, value in self._only.items())
        column = next((c for c in self._only if not self._seen[c]), None)
        if column is not None:
            return InputError(f"no row of {self._shown} has a column {column!r}", where=where)
        seen = "; ".join(f"{c} is {', '.join(sorted(v))}" for c, v in self._seen.items())
        return InputError(f"no row of {self._shown} has {wanted}", where=where, hint=f"for example {seen}")

    def _identify(self, row: Mapping[str, Any], where: str) -> str | tuple[str, int]:
        key = at_path(row, self._fields["id"])
        if key is MISSING or key is None or key == "":
            hint = "" if self._open else "fields: {id: …} names another column"
            raise InputError(f"a row needs {self._fields['id']}", where=where, hint=hint)
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise InputError(f"{self._fields['id']} is {type(key).__name__}, not text", where=where)
        repeat = at_path(row, self._fields["repeat"])
        repeat = 0 if repeat is MISSING or repeat is None else repeat
        if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 0:
            raise InputError(f"{self._fields['repeat']} is {str(repeat)[:40]!r}, not 0, 1, 2, …", where=where)
        return _key(str(key), repeat)

    def _output(self, row: Mapping[str, Any], where: str) -> Output:
        if not self._open:
            self._check_columns(row, where)
        values = {name: at_path(row, column) for name, column in self._fields.items()}
        values = {name: None if value is MISSING else value for name, value in values.items()}
        try:
            error = read_failure(values["error"], "recorded_error")
            calls = read_tool_calls(values["tool_calls"])
            return Output(
                text=self._text(values["text"], needed=error is None and not calls),
                contexts=read_contexts(values["contexts"]),
                tool_calls=calls,
                usage=read_tokens(values["usage"]),
                latency_s=read_seconds(values["latency_s"], self._fields["latency_s"]),
                error=error,
                cached=True,
                metadata=_metadata(values["metadata"]),
            )
        except ValueError as problem:
            raise InputError(str(problem), where=where) from None

    def _text(self, value: Any, *, needed: bool) -> str:
        column = self._fields["text"]
        if value is None:
            if needed:
                raise ValueError(f"a row needs {column} (or error)")
            return ""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise ValueError(f"{column} is {type(value).__name__}, not text")
        return value

    def _check_columns(self, row: Mapping[str, Any], where: str) -> None:
        allowed = {*COLUMNS, *self._only, *(column.split(".")[0] for column in self._only)}
        for name in row:
            if name not in allowed:
                hint = did_you_mean(name, COLUMNS)
                if not hint.startswith("did you mean"):
                    hint = "say which columns to read with fields: {id: …, text: …}"
                raise InputError(f"unknown column {name[:60]!r}", where=where, hint=hint)


def _key(case_id: str, repeat: int) -> str | tuple[str, int]:
    return (case_id, repeat) if repeat else case_id


def _checked(fields: Mapping[str, str]) -> dict[str, str]:
    for name in fields:
        if name not in COLUMNS:
            raise InputError(f"fields has no {name!r}", hint=did_you_mean(name, COLUMNS))
    return dict(fields)


def _metadata(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"metadata is {type(value).__name__}, not an object")
    return value
