"""Server-sent events, however they are split."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.backends.server_events import EventParser


def events_of(chunks: list[bytes]) -> list[bytes]:
    parser = EventParser()
    return [data for chunk in chunks for data in parser.feed(chunk)]


STREAM = (
    '\ufeff: hello\n\ndata: {"a": 1}\nid: 3\n\nevent: x\ndata:two\ndata: lines é😀\n\n\n\ndata\n\ndata:  [DONE]\n\n'
)
EXPECTED = [b'{"a": 1}', "two\nlines é😀".encode(), b"", b" [DONE]"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_events_split_at_every_byte(ending: str) -> None:
    raw = STREAM.replace("\n", ending).encode()
    for cut in range(len(raw) + 1):
        assert events_of([raw[:cut], raw[cut:]]) == EXPECTED
    assert events_of([raw[i : i + 1] for i in range(len(raw))]) == EXPECTED


@given(st.lists(st.integers(0, len(STREAM.encode()) + 30)), st.sampled_from(["\n", "\r\n", "\r"]))
def test_events_split_anywhere(cuts: list[int], ending: str) -> None:
    raw = STREAM.replace("\n", ending).encode()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    assert events_of([raw[a:b] for a, b in pairwise(edges)]) == EXPECTED


@given(st.lists(st.binary(max_size=20)))
def test_no_bytes_break_the_event_parser(chunks: list[bytes]) -> None:
    whole = events_of([b"".join(chunks)])
    assert events_of(chunks) == whole


def test_a_long_line_in_small_pieces_costs_no_more_than_its_length() -> None:
    def seconds(size: int) -> float:
        parser = EventParser()
        began = time.process_time()
        parser.feed(b"data: ")
        for _ in range(size):
            parser.feed(b"xxxxxxxx")
        assert len(parser.feed(b"\n\n")[0]) == 8 * size
        return time.process_time() - began

    small = min(seconds(20_000) for _ in range(3))
    assert seconds(160_000) < 30 * max(small, 0.002)  # eight times the bytes; sixty-four times if it were quadratic
