"""One of our templates taken apart for another language: text, variables, images, conditions and loops."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jinja2 import nodes
from jinja2.exceptions import TemplateError

from llmops.errors import PromptError
from llmops.prompts.environment import environment
from llmops.prompts.formats.jinja_text import tokens

Path = tuple[str | int, ...]
_LOOP = re.compile(r"for\s+(\w+)\s+in\s+(.+)", re.S)


@dataclass(frozen=True, slots=True)
class Text:
    """Text as it is rendered."""

    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    """`{{ user.name }}`; `path` is ("user", "name")."""

    path: Path


@dataclass(frozen=True, slots=True)
class Picture:
    """`{{ … | image }}`, with what its address is made of."""

    address: tuple[Text | Variable, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class Note:
    """A comment."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Anything else, as written."""

    source: str


@dataclass(frozen=True, slots=True)
class Block:
    """A condition (`target` is empty) or a loop. `subject` is None when it is more than a variable.

    `head`, `middle` and `tail` are its tags as written; `{% elif %}` is a block of its own in `otherwise`.
    """

    subject: Path | None
    negated: bool
    target: str
    body: tuple[Part, ...]
    otherwise: tuple[Part, ...]
    head: str
    middle: str
    tail: str


Part = Text | Variable | Picture | Note | Code | Block


def take_apart(template: str) -> tuple[Part, ...]:
    """The parts of a template that compiles."""
    return _Reader(template).parts(())


def is_simple(parts: Iterable[Part]) -> bool:
    """True when there are only texts and variables, and no variable's parts or items."""
    return all(isinstance(p, Text) or (isinstance(p, Variable) and len(p.path) == 1) for p in parts)


def has_pictures(parts: Iterable[Part]) -> bool:
    """True when there is an image, in a condition or loop or outside."""
    return any(
        isinstance(p, Picture) or (isinstance(p, Block) and has_pictures((*p.body, *p.otherwise))) for p in parts
    )


@dataclass(frozen=True, slots=True)
class _Piece:
    kind: str  # text, print, tag or comment
    inner: str
    source: str

    @property
    def word(self) -> str:
        return self.inner.split(None, 1)[0] if self.kind == "tag" and self.inner.split() else ""


_BEGINS = {"variable_begin": "print", "block_begin": "tag", "comment_begin": "comment"}


def _pieces(template: str) -> Iterator[_Piece]:
    kind, inner, source = "", [""], [""]
    for token, value in tokens(template):
        if token in _BEGINS:
            kind, inner, source = _BEGINS[token], [], [value]
        elif token in ("variable_end", "block_end", "comment_end"):
            yield _Piece(kind, "".join(inner).strip(), "".join([*source, value]))
            kind = ""
        elif kind:
            inner.append(value)
            source.append(value)
        elif token == "data":  # noqa: S105
            yield _Piece("text", value, value)


class _Reader:
    def __init__(self, template: str) -> None:
        self.pieces = list(_pieces(template))
        self.at = 0

    def parts(self, stops: tuple[str, ...]) -> tuple[Part, ...]:
        """Parts up to a tag of `stops`, or the end."""
        made: list[Part] = []
        while self.at < len(self.pieces) and (not stops or self.pieces[self.at].word not in stops):
            piece = self.take()
            if piece.kind == "tag" and piece.word in ("if", "for"):
                made.append(self.block(piece))
            else:
                _append(made, _single(piece))
        return tuple(made)

    def take(self) -> _Piece:
        if self.at == len(self.pieces):
            raise PromptError("a condition or a loop is never closed")
        self.at += 1
        return self.pieces[self.at - 1]

    def block(self, head: _Piece) -> Block:
        end = "endfor" if head.word == "for" else "endif"
        subject, negated, target = _condition(head)
        body = self.parts(("elif", "else", end))
        middle = self.take()
        if middle.word == "elif":
            return Block(subject, negated, target, body, (self.block(middle),), head.source, "", "")
        if middle.word == end:
            return Block(subject, negated, target, body, (), head.source, "", middle.source)
        otherwise = self.parts((end,))
        return Block(subject, negated, target, body, otherwise, head.source, middle.source, self.take().source)


def _append(made: list[Part], part: Part) -> None:
    if isinstance(part, Text) and made and isinstance(last := made[-1], Text):
        made[-1] = Text(last.text + part.text)
    elif part != Text(""):
        made.append(part)


def _single(piece: _Piece) -> Part:
    if piece.kind == "text":
        return Text(piece.inner)
    if piece.kind == "comment":
        return Note(piece.inner)
    if piece.kind == "tag":
        return Code(piece.source)
    node = _expression(piece.inner)
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        return Text(node.value)
    if isinstance(node, nodes.Filter) and node.name == "image":
        return _picture(node) or Code(piece.source)
    path = _path(node)
    return Variable(path) if path else Code(piece.source)


def _condition(head: _Piece) -> tuple[Path | None, bool, str]:
    """What a block's first tag is about: a variable, whether its opposite counts, and a loop's own variable."""
    if head.word == "for":
        found = _LOOP.fullmatch(head.inner)
        path = _path(_expression(found[2])) if found else None
        return path, False, found[1] if found and path else ""
    node = _expression(head.inner.partition(head.word)[2])
    negated = isinstance(node, nodes.Not)
    return _path(node.node if isinstance(node, nodes.Not) else node), negated, ""


def _expression(source: str) -> nodes.Expr | None:
    try:
        output = environment().parse("{{ " + source + " }}").body
    except TemplateError:
        return None
    if len(output) != 1 or not isinstance(output[0], nodes.Output) or len(output[0].nodes) != 1:
        return None
    return output[0].nodes[0]


def _path(node: nodes.Node | None) -> Path | None:
    path: list[str | int] = []
    while isinstance(node, (nodes.Getattr, nodes.Getitem)):
        if isinstance(node, nodes.Getattr):
            path.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and type(node.arg.value) in (str, int):
            path.append(node.arg.value)
        else:
            return None
        node = node.node
    return (node.name, *reversed(path)) if isinstance(node, nodes.Name) else None


def _picture(node: nodes.Filter) -> Picture | None:
    given = [*node.args, *(pair.value for pair in node.kwargs)]
    details = [one.value for one in given if isinstance(one, nodes.Const) and isinstance(one.value, str)]
    inner = node.node
    address = [_address(one) for one in (inner.nodes if isinstance(inner, nodes.Concat) else [inner])]
    if len(details) != len(given) or len(given) > 1:
        return None
    known = tuple(one for one in address if one is not None)
    return Picture(known, "".join(details)) if len(known) == len(address) else None


def _address(node: nodes.Node | None) -> Text | Variable | None:
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        return Text(node.value)
    path = _path(node)
    return Variable(path) if path else None
