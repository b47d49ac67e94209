"""Rows from JSON Lines and JSON files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.datasets import strict_json
from llmops.datasets.reading import Row, as_row, lines_of, not_utf8, nul_byte, text_of
from llmops.errors import DatasetError

_LINE_END = b"\r\n"  # not part of the row: what is missing is missing before it
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class JsonLines:
    """One JSON object a line; blank lines don't count."""

    path: Path
    display: str
    cells = False
    sparse = False

    def rows(self) -> Iterator[Row]:
        for number, line in lines_of(self.path, self.display):
            if not line.isspace() and line:
                where = f"{self.display}:{number}"
                try:
                    value = strict_json.parse(line.rstrip(_LINE_END).decode())
                except UnicodeDecodeError as error:
                    yield where, not_utf8(error, where)
                except DatasetError as error:
                    yield where, self._explained(error, line, where)
                else:
                    yield (where, value) if type(value) is dict else as_row(value, where)

    def _explained(self, error: DatasetError, line: bytes, where: str) -> DatasetError:
        if b"\0" in line:
            return nul_byte(where)
        if error.message.startswith("not valid") and line.strip() in (b"[", b"{"):
            error.hint = "write one object a line, or rename a JSON list to .json"
        error.where = where
        return error


@dataclass(frozen=True)
class JsonList:
    """One JSON list of objects. The text is held; parsed rows aren't."""

    path: Path
    display: str
    cells = False
    sparse = False

    def rows(self) -> Iterator[Row]:
        text = text_of(self.path, self.display).rstrip(" \t\r\n")  # what is missing is missing before these
        at = _skip(text, 0)
        if at == len(text):
            return
        line, counted = 1, 0
        if text[at] != "[":
            hint = "write a list of objects, [{…}, {…}]; one object a line goes in a .jsonl file"
            raise DatasetError("doesn't hold a list", where=self._where(text, at), hint=hint)
        at = _skip(text, at + 1)
        while text[at : at + 1] != "]":
            line, counted = line + text.count("\n", counted, at), at
            where = f"{self.display}:{line}"
            value, end = self._value(text, at, where)
            yield as_row(value, where)
            at = _skip(text, end)
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
                if text[at : at + 1] != "]":
                    continue
            elif text[at : at + 1] == "]":
                continue
            hint = "separate rows by one comma and close the list with ]"
            raise DatasetError("not valid JSON: expected ',' or ']'", where=self._where(text, at), hint=hint)
        if _skip(text, at + 1) < len(text):
            where = self._where(text, _skip(text, at + 1))
            raise DatasetError("there is more after the list", where=where, hint="keep one list in the file")

    def _where(self, text: str, at: int) -> str:
        return f"{self.display}:{text.count(chr(10), 0, at) + 1}"

    def _value(self, text: str, at: int, where: str) -> tuple[Any, int]:
        try:
            value, end = strict_json.DECODER.raw_decode(text, at)
            brackets = text.count("[", at, end) + text.count("{", at, end)
            return strict_json.shallow(value, brackets), end
        except DatasetError as error:
            error.where = where
            raise
        except (ValueError, RecursionError) as problem:
            refused = strict_json.refused(problem)
            line = getattr(problem, "lineno", 0)
            refused.where = f"{self.display}:{line}" if line else where
            raise refused from None


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
