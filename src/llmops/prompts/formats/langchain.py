"""LangChain's serialised prompts, read as plain JSON: no class of LangChain is made from what a file says."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from functools import reduce
from typing import Any

from llmops.errors import PromptError
from llmops.prompts.formats.contents import content_template, picture_template
from llmops.prompts.formats.draft import Draft
from llmops.prompts.formats.jinja_text import literal, member
from llmops.prompts.formats.langchain_objects import Template, constructor, langchain_prompts, metadata, templates
from llmops.prompts.formats.leaving import Leaving
from llmops.prompts.formats.mustache import from_mustache
from llmops.prompts.formats.plain import items, mapping, read_json, shown
from llmops.prompts.formats.settings import read_tags
from llmops.prompts.formats.shapes import Exported, Imported
from llmops.prompts.template import FilePrompt

_TEMPLATES = {"SystemMessagePromptTemplate": "system", "HumanMessagePromptTemplate": "user",
              "AIMessagePromptTemplate": "assistant"}  # fmt: skip
_MESSAGES = {"SystemMessage": "system", "HumanMessage": "user", "AIMessage": "assistant", "ToolMessage": "tool",
             "FunctionMessage": "function"}  # fmt: skip
_CHATS = ("ChatPromptTemplate", "StructuredPrompt")
_KEYS = ("input_variables", "optional_variables", "partial_variables", "messages", "template", "template_format",
         "tags", "metadata", "validate_template", "input_types", "schema_", "_type")  # fmt: skip


def read(text: str, file: str) -> list[Imported]:
    """The one prompt of a file: what `langchain_core.load.dumps` or a prompt's `save` wrote."""
    data = read_json(text, file)
    if isinstance(data, Mapping) and data.get("_type") == "prompt":
        data = {"id": ["PromptTemplate"], "kwargs": data}
    return [read_serialised(data, file)]


def read_serialised(data: Any, file: str, name: str | None = None) -> Imported:
    """A serialised `ChatPromptTemplate` or `PromptTemplate`. Raises `PromptError`."""
    kind, fields = _unpacked(data, file)
    if kind not in (*_CHATS, "PromptTemplate"):
        raise PromptError(f"{shown(kind)} can't be read", where=file, hint="only ChatPromptTemplate and PromptTemplate")
    about = mapping(fields.get("metadata"), "metadata", file)
    draft = Draft(file, about.get("prompt") or name)
    draft.lose_keys(about, ("prompt", "content_id"), "metadata: ")
    if kind == "PromptTemplate":
        draft.add("user", _text(draft, fields, "template"), "template")
    for number, message in enumerate(items(fields.get("messages"), "messages", file), 1):
        _message(draft, message, f"message {number}")
    _partials(draft, fields)
    if isinstance(fields.get("schema_"), Mapping):
        draft.front["output"] = dict(fields["schema_"])
    read_tags(draft, fields.get("tags"))
    draft.lose_keys(fields, _KEYS)
    return draft.finish()


def from_template(template: Any) -> Imported:
    """One of our prompts. Raises `PromptError` for what isn't a chat or text template."""
    chat = langchain_prompts("from_langchain")
    from langchain_core.load import dumpd

    kind = type(template).__name__
    if not isinstance(template, chat.BasePromptTemplate):
        raise PromptError(f"{kind} isn't a LangChain prompt template")
    try:
        return read_serialised(dumpd(template), kind, "prompt")
    except RecursionError:
        raise PromptError("nested too deeply", where=kind) from None


def _unpacked(data: Any, file: str) -> tuple[str, Mapping[str, Any]]:
    """A serialised object's class and fields."""
    found = mapping(data, "a LangChain object", file)
    names = items(found.get("id"), "id", file)
    if not names or not isinstance(names[-1], str):
        raise PromptError("this isn't a LangChain object", where=file, hint="write it with langchain_core.load.dumps")
    return names[-1], mapping(found.get("kwargs"), "kwargs", file)


def _message(draft: Draft, data: Any, where: str) -> None:
    kind, fields = _unpacked(data, draft.file)
    if kind == "MessagesPlaceholder":
        draft.lose(f"{where}: MessagesPlaceholder {shown(fields.get('variable_name'))}, a place for messages")
    elif kind in _MESSAGES or kind == "ChatMessage":
        content = fields.get("content")
        draft.lose_keys(fields, ("content", "type", "role"), f"{where}: ")
        content = content if isinstance(content, list) else "" if content is None else str(content)
        draft.add(_MESSAGES.get(kind) or fields.get("role"), content_template(draft, content, literal, where), where)
    elif kind in _TEMPLATES or kind == "ChatMessagePromptTemplate":
        draft.lose_keys(fields, ("prompt", "role"), f"{where}: ")
        draft.add(_TEMPLATES.get(kind) or fields.get("role"), _content(draft, fields.get("prompt"), where), where)
    else:
        draft.lose(f"{where}: left out, since it is a {shown(kind)}")


def _content(draft: Draft, prompt: Any, where: str) -> str:
    if not isinstance(prompt, list):
        return _text(draft, _unpacked(prompt, draft.file)[1], where)
    made = []
    for part in prompt:
        kind, fields = _unpacked(part, draft.file)
        if kind == "PromptTemplate":
            made.append(_text(draft, fields, where))
        elif kind == "ImagePromptTemplate":
            made.append(_picture(draft, fields, where))
        else:
            draft.lose(f"{where}: a {shown(kind)} is left out")
    if len(made) > 1 and not any("image" in one for one in made):
        draft.lose(f"{where}: its {len(made)} parts became one text, with line breaks between them")
    return "\n".join(made)


def _picture(draft: Draft, fields: Mapping[str, Any], where: str) -> str:
    template = mapping(fields.get("template"), "an image", draft.file)
    draft.lose_keys(template, ("url", "detail"), f"{where}, image: ")
    form = fields.get("template_format") or "f-string"

    def convert(text: str) -> str:
        return _convert(draft, text, form, where)

    return picture_template(draft, str(template.get("url") or ""), template.get("detail"), convert, where)


def _text(draft: Draft, fields: Mapping[str, Any], where: str) -> str:
    template = fields.get("template")
    if not isinstance(template, str):
        raise PromptError(f"{where}: its template isn't text", where=draft.file)
    if fields.get("partial_variables") and where != "template":
        _partials(draft, fields)
    return _convert(draft, template, fields.get("template_format") or "f-string", where)


def _convert(draft: Draft, template: str, form: Any, where: str) -> str:
    if form == "f-string":
        return from_f_string(draft, template, where)
    if form == "mustache":
        return from_mustache(draft, template, {}, where)
    if form == "jinja2":
        return template.removesuffix("\n")
    raise PromptError(f"{where}: no template format is called {shown(form)}", where=draft.file)


def from_f_string(draft: Draft, template: str, where: str) -> str:
    """A template of ours for one in Python's format syntax."""
    made = []
    try:
        for text, field, spec, conversion in string.Formatter().parse(template):
            made.append(literal(text))
            if field is None:
                continue
            if spec or conversion:
                draft.lose(f"{where}: how {{{field[:40]}}} is formatted, {shown((conversion or '') + (spec or ''))}")
            made.append(f"{{{{ {_field(draft, field)} }}}}")
    except (ValueError, RecursionError) as problem:
        raise PromptError(f"{where}: not a format text: {problem}", where=draft.file) from None
    return "".join(made)


def _field(draft: Draft, field: str) -> str:
    """`user.name` or `items[0]` as an expression."""
    first, *rest = field.replace("[", ".").replace("]", "").split(".")
    return reduce(member, rest, draft.names.name(first or "input"))


def _partials(draft: Draft, fields: Mapping[str, Any]) -> None:
    optional = fields.get("optional_variables")
    for name, value in mapping(fields.get("partial_variables"), "partial_variables", draft.file).items():
        if isinstance(value, Mapping) and value.get("lc"):
            draft.lose(f"the partial variable {shown(name)}, which is code or an object")
        elif not (isinstance(optional, list) and name in optional):
            draft.declare(name, {"default": value} | ({} if isinstance(value, str) else {"type": "any"}))


def write(prompt: FilePrompt) -> Exported:
    """What `langchain_core.load.dumps` writes for `to_langchain(prompt)`."""
    leaving = Leaving(prompt, "LangChain")
    found = templates(leaving)
    partial = {name: one.default for name, one in prompt.inputs.items() if one.has_default}
    names = sorted({name for one in found for name in one.variables} - set(partial))
    fields: dict[str, Any] = {"input_variables": names}
    fields |= {"partial_variables": partial} if partial else {}
    fields |= {"metadata": metadata(prompt)}
    fields |= {"tags": list(prompt.front.tags)} if prompt.front.tags else {}
    fields["messages"] = [_written(one) for one in found]
    leaving.lose_front("tags", "default")
    data = constructor("chat", "ChatPromptTemplate", fields)
    return Exported(json.dumps(data, ensure_ascii=False, indent=2) + "\n", tuple(leaving.lost))


def _written(template: Template) -> dict[str, Any]:
    kind = next(kind for kind, role in _TEMPLATES.items() if role == template.role)
    parts = [part.serialised() for part in template.parts]
    return constructor("chat", kind, {"prompt": parts if template.listed else parts[0]}, named=False)
