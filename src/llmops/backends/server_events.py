"""Server-sent events read from bytes as they come, however they are split."""

from __future__ import annotations

import re

_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")


def is_event_stream(beginning: bytes) -> bool:
    """True when a body that begins like this is one, whatever its Content-Type says."""
    return _BEGINNING.match(beginning) is not None


class EventParser:
    """Feed it bytes; it gives back the data of each event that is whole.

    Follows the event-stream format of the HTML standard: lines end in CRLF, LF or CR, comments and other fields
    are skipped, several `data` lines of one event are joined by a newline. Each byte is handled a fixed number
    of times, so a long line in many pieces costs no more than in one.
    """

    def __init__(self) -> None:
        self._tail: list[bytes] = []
        self._data: list[bytes] = []
        self._after_cr = False
        self._first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that `chunk` completes."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[:1] == b"\n":  # second half of a CRLF
                chunk = chunk[1:]
        if not chunk:
            return []
        if b"\n" not in chunk and b"\r" not in chunk:
            self._tail.append(chunk)
            return []
        self._tail.append(chunk)
        lines = b"".join(self._tail).splitlines(keepends=True)
        self._tail = [] if lines[-1].endswith((b"\n", b"\r")) else [lines.pop()]
        self._after_cr = chunk.endswith(b"\r")
        return self._events(lines)

    def finish(self) -> list[bytes]:
        """What a stream that ended without a last blank line still held: one event's data, perhaps cut."""
        lines = b"".join(self._tail).splitlines()
        self._tail = []
        return self._events([*lines, b""])

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events = []
        for raw in lines:
            line = raw.rstrip(b"\r\n")
            if self._first:
                line, self._first = line.removeprefix(b"\xef\xbb\xbf"), False
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data = []
                continue
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line == b"data":
                self._data.append(b"")
        return events
