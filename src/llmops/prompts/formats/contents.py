"""Messages in OpenAI's shape, with text or parts as content, both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from llmops.prompts.formats.braces import braced, misread, to_braces
from llmops.prompts.formats.draft import Draft
from llmops.prompts.formats.jinja_text import member, quoted
from llmops.prompts.formats.leaving import Leaving
from llmops.prompts.formats.parts import Part, Picture, Text, Variable, has_pictures, take_apart
from llmops.prompts.formats.plain import items, mapping, shown
from llmops.prompts.images import DETAILS

Convert = Callable[[str], str]
_KEYS = ("role", "content", "type")


def add_messages(draft: Draft, value: Any, convert: Convert) -> None:
    """Add every message of a list. `convert` makes a template of ours from a text of theirs."""
    for number, message in enumerate(items(value, "messages", draft.file), 1):
        where = f"message {number}"
        found = mapping(message, where, draft.file)
        draft.lose_keys(found, _KEYS, f"{where}: ")
        if isinstance(found.get("content"), (str, list)):
            draft.add(found.get("role"), content_template(draft, found["content"], convert, where), where)
        else:
            draft.lose(f"{where}: left out, since it has no content")


def content_template(draft: Draft, content: str | list[Any], convert: Convert, where: str) -> str:
    """The template of a message's content."""
    if isinstance(content, str):
        return convert(content)
    made: list[str] = []
    texts = 0
    for number, part in enumerate(content, 1):
        at = f"{where}, part {number}"
        template = _part(draft, {"type": "text", "text": part} if isinstance(part, str) else part, convert, at)
        texts += template is not None and not (isinstance(part, Mapping) and part.get("type") == "image_url")
        if template is not None:
            made.append(template)
    if texts > 1 and texts == len(made):
        draft.lose(f"{where}: its {texts} parts became one text, with line breaks between them")
    return "\n".join(made)


def _part(draft: Draft, part: Any, convert: Convert, where: str) -> str | None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("text", "input_text") and isinstance(part.get("text"), str):
        draft.lose_keys(part, ("type", "text"), f"{where}: ")
        return convert(part["text"])
    if kind == "image_url":
        image = part.get("image_url")
        image = {"url": image} if isinstance(image, str) else image
        if isinstance(image, Mapping) and isinstance(image.get("url"), str):
            draft.lose_keys(image, ("url", "detail"), f"{where}: ")
            return picture_template(draft, image["url"], image.get("detail"), convert, where)
    draft.lose(f"{where}: left out, since {shown(kind)} isn't text or an image")
    return None


def picture_template(draft: Draft, url: str, detail: Any, convert: Convert, where: str) -> str:
    """`{{ … | image }}` for an address that may hold variables."""
    parts = take_apart(convert(url))
    made = [_operand(part) for part in parts]
    if not made or None in made:
        draft.lose(f"{where}: an image's address is more than text and variables")
        return convert(url)
    joined = " ~ ".join(one for one in made if one)
    joined = f"({joined})" if len(made) > 1 else joined
    if detail in DETAILS:
        return f"{{{{ {joined} | image({quoted(detail)}) }}}}"
    if detail is not None:
        draft.lose(f"{where}: detail {shown(detail)}")
    return f"{{{{ {joined} | image }}}}"


def _operand(part: Part) -> str | None:
    if isinstance(part, Text):
        return quoted(part.text)
    if isinstance(part, Variable):
        first, *rest = map(str, part.path)
        return reduce(member, rest, first)
    return None


def brace_messages(leaving: Leaving) -> list[dict[str, Any]]:
    """All messages, their variables as `{{name}}`; with images, as parts."""
    return [
        {"role": role, "content": _content(leaving, number, parts)}
        for number, (role, _, parts) in enumerate(leaving.messages)
    ]


def _content(leaving: Leaving, number: int, parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
    plain = all(isinstance(part, (Text, Variable, Picture)) for part in parts)
    if not has_pictures(parts) or not plain:
        return to_braces(leaving, number)
    if misread(parts):
        leaving.lose(f"message {number + 1}: {leaving.tool} takes the braces in its text for variables")
    return content_parts(parts, _plain)


def content_parts(parts: Sequence[Part], write: Callable[[Sequence[Part]], str]) -> list[dict[str, Any]]:
    """OpenAI's parts: the images, and the text between them as `write` gives it."""
    made: list[dict[str, Any]] = []
    text: list[Part] = []
    for part in [*parts, None]:
        if part is not None and not isinstance(part, Picture):
            text.append(part)
            continue
        between = write(text).strip()
        if between:
            made.append({"type": "text", "text": between})
        text = []
        if part is not None:
            detail = {"detail": part.detail} if part.detail else {}
            made.append({"type": "image_url", "image_url": {"url": write(part.address), **detail}})
    return made


def _plain(parts: Sequence[Part]) -> str:
    return "".join(p.text if isinstance(p, Text) else braced(p) for p in parts if isinstance(p, (Text, Variable)))
