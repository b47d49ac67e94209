"""Mustache templates as ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmops.errors import PromptError
from llmops.prompts.formats.double_braces import MAX_DEPTH, Literal, Tag, read_tags
from llmops.prompts.formats.draft import Draft, slug
from llmops.prompts.formats.jinja_text import literal, member, quoted
from llmops.prompts.formats.plain import shown


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    item: str  # what a name in it is looked up in, "" for the variables themselves
    end: str


def from_mustache(draft: Draft, template: str, types: Mapping[str, str], where: str, line: int = 1) -> str:
    """A template of ours. `types` are the types of variables by Mustache's name, as far as they are known.

    What a section does depends on its value in Mustache. Here it is a loop for an array, a condition for a flag, a
    look into an object; without a type it is a loop if there are names in it, and a condition if not.
    """
    tags = read_tags(template, draft.file, line, handlebars=False)
    made: list[str] = []
    inside: list[_Section] = []
    for number, tag in enumerate(tags):
        if isinstance(tag, Literal):
            made.append(literal(tag.text))
        elif tag.kind in ("#", "^"):
            text, section = _open(draft, tags, number, tag, inside, types, where)
            made.append(text)
            inside.append(section)
            if len(inside) > MAX_DEPTH:
                raise PromptError(f"nested more than {MAX_DEPTH} deep", where=f"{draft.file}:{tag.line}")
        elif tag.kind == "/":
            if not inside or inside[-1].name != tag.inner:
                raise PromptError(f"{shown(tag.source)} closes nothing", where=f"{draft.file}:{tag.line}")
            made.append(inside.pop().end)
        else:
            made.append(_plain(draft, tag, inside, where))
    if inside:
        raise PromptError(f"the section {shown(inside[-1].name)} is never closed", where=draft.file)
    return "".join(made)


def _plain(draft: Draft, tag: Tag, inside: list[_Section], where: str) -> str:
    if tag.kind == "!":
        return f"{{# {tag.inner} #}}" if "#}" not in tag.inner else ""
    if tag.kind == "=":
        raise PromptError("other delimiters than {{ }} aren't supported", where=f"{draft.file}:{tag.line}")
    if tag.kind == ">":
        file = f"_{slug(tag.inner) or 'partial'}.md"
        draft.lose(f"{where}: the partial {shown(tag.inner)}; save it as {file}")
        return f"{{% include {quoted(file)} %}}"
    if not tag.kind:
        draft.lose("values go in as they are; Mustache escapes & < > and quotes in {{name}} for HTML")
    return f"{{{{ {_name(draft, tag.inner, inside)} }}}}"


def _name(draft: Draft, name: str, inside: list[_Section]) -> str:
    item = next((section.item for section in reversed(inside) if section.item), "")
    if name == ".":
        return item or draft.names.name("item")
    if not item:
        return draft.names.path(name)
    for key in name.split("."):
        item = member(item, key)
    return item


def _open(
    draft: Draft, tags: list[Tag | Literal], number: int, tag: Tag, inside: list[_Section], types: Mapping[str, str],
    where: str,
) -> tuple[str, _Section]:  # fmt: skip
    value = _name(draft, tag.inner, inside)
    if tag.kind == "^":
        return f"{{% if not {value} %}}", _Section(tag.inner, "", "{% endif %}")
    names = _names_in(tags, number)
    kind = types.get(tag.inner, "") if not inside else ""
    if not kind:
        kind = "array" if names else "boolean"
        what = "a loop over a list, with the names in it as an item's fields" if names else "a condition"
        what = "a loop over a list" if names == {"."} else what
        draft.lose(f"{where}: the section {shown(tag.inner)} is read as {what}")
    if kind == "array":
        item = draft.names.fresh("item")
        return f"{{% for {item} in {value} %}}", _Section(tag.inner, item, "{% endfor %}")
    return f"{{% if {value} %}}", _Section(tag.inner, value if kind == "object" else "", "{% endif %}")


def _names_in(tags: list[Tag | Literal], number: int) -> set[str]:
    depth, names = 0, set()
    for tag in tags[number:]:
        if isinstance(tag, Tag):
            if tag.kind in ("", "{", "&"):
                names.add(tag.inner)
            depth += {"#": 1, "^": 1, "/": -1}.get(tag.kind, 0)
            if depth == 0:
                break
    return names
