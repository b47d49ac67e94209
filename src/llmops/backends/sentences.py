"""Text cut into units that can stand as an answer: sentences, list items and table rows, with their headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BOUNDARY = re.compile(r"""(?<![.!?])[.!?]++["')\]”’*_]*+\s++(?=[^\sa-zß-öø-ÿ.,;:)])|[。！？]++["」』”’)]*+\s*+""")
_SHORT = """
    e.g i.e cf vs etc approx ca al no nos fig figs eq sec ch vol ver v p pp mr mrs ms dr prof st jr sr inc ltd
    co corp dept est jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k a.m p.m min
    max incl excl resp
"""
_ABBREVIATIONS = frozenset(_SHORT.split())
_HEADING = re.compile(r"#{1,6}\s+(.*\S)")
_LIST_ITEM = re.compile(r"(?:[-*+•]|\d{1,3}[.)])\s+")
_RULE_CHARACTERS = frozenset(" \t:|-")
_LABEL = re.compile(r"(?:\[[^\]]{1,60}\]|[^.!?|]{1,80}:)")


@dataclass(frozen=True, slots=True)
class Unit:
    """A sentence, item or row; `heading` is the text that stands over it, `block` tells neighbours apart."""

    text: str
    heading: str
    block: int


def split_units(text: str) -> list[Unit]:
    """The units of a Markdown or plain text, in order. A table row is `header: cell; header: cell`."""
    return list(_Splitter().run(text))


def split_sentences(text: str) -> list[str]:
    """The sentences of a paragraph. Decimals, versions, initials and usual abbreviations don't end one."""
    sentences = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        if match[0][0] == "." and _abbreviated(text, match.start()):
            continue
        sentences.append(text[start : match.end()].strip())
        start = match.end()
    last = text[start:].strip()
    if last:
        sentences.append(last)
    return sentences


def _abbreviated(text: str, dot: int) -> bool:
    before = text[max(0, dot - 12) : dot]
    word = before.split()[-1].lstrip("(\"'[*_") if before.strip() else ""
    return (len(word) == 1 and word.isupper() and word != "I") or word.lower() in _ABBREVIATIONS


def _is_rule(line: str) -> bool:
    """True for the line under a table's header, such as `|---|:--:|`."""
    return "-" in line and _RULE_CHARACTERS.issuperset(line)


class _Splitter:
    def __init__(self) -> None:
        self.block = 0
        self.headings: list[tuple[int, str]] = []
        self.over = ""
        self.paragraph: list[str] = []
        self.header: list[str] | None = None
        self.fenced = False

    def run(self, text: str) -> Iterator[Unit]:
        lines = text.splitlines()
        for number, raw in enumerate(lines):
            line = raw.strip()
            if line.startswith(("```", "~~~")):
                yield from self.flush()
                self.fenced = not self.fenced
            elif self.fenced:
                if line:
                    yield self.unit(line)
            elif not line:
                yield from self.flush()
                self.header = None
            elif "|" in line:
                yield from self.flush()
                following = lines[number + 1].strip() if number + 1 < len(lines) else ""
                yield from self.row(line, following)
            else:
                self.header = None
                yield from self.plain(line)
        yield from self.flush()

    def plain(self, line: str) -> Iterator[Unit]:
        heading = _HEADING.match(line)
        if heading is not None:
            yield from self.flush()
            level = len(line) - len(line.lstrip("#"))
            self.headings = [*(h for h in self.headings if h[0] < level), (level, heading[1].strip("# "))]
            self.name("")
        elif _LABEL.fullmatch(line):
            yield from self.flush()
            self.name(line.strip("[]: "))
        elif (item := _LIST_ITEM.match(line)) is not None:
            yield from self.flush(new_block=False)
            self.paragraph.append(line[item.end() :])
        else:
            self.paragraph.append(line)

    def name(self, label: str) -> None:
        """Take up what stands over the units that follow."""
        self.over = " ".join([*(heading for _, heading in self.headings), label]).strip()

    def row(self, line: str, following: str) -> Iterator[Unit]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if self.header is not None:
            if _is_rule(line):
                return
            pairs = [*zip(self.header, cells, strict=False), *(("", cell) for cell in cells[len(self.header) :])]
            yield self.unit("; ".join(f"{head}: {cell}" if head else cell for head, cell in pairs if cell))
        elif "|" in following and _is_rule(following):
            self.header = cells
        else:
            yield self.unit(" | ".join(cell for cell in cells if cell))

    def flush(self, new_block: bool = True) -> Iterator[Unit]:
        if self.paragraph:
            for sentence in split_sentences(" ".join(self.paragraph)):
                yield self.unit(sentence)
            self.paragraph = []
        if new_block:
            self.block += 1

    def unit(self, text: str) -> Unit:
        return Unit(text, self.over, self.block)
