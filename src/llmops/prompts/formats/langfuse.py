"""Langfuse prompts as its API gives them: `{name, version, type, prompt, config, labels, tags}`, or a list of these."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llmops.errors import PromptError
from llmops.prompts.formats.braces import from_braces, to_braces
from llmops.prompts.formats.contents import add_messages
from llmops.prompts.formats.draft import Draft, slug
from llmops.prompts.formats.jinja_text import quoted
from llmops.prompts.formats.leaving import Leaving, model_settings
from llmops.prompts.formats.plain import mapping, read_json, shown
from llmops.prompts.formats.settings import read_description, read_settings, read_tags
from llmops.prompts.formats.shapes import Exported, Imported
from llmops.prompts.template import FilePrompt

_KEYS = ("name", "type", "prompt", "config", "tags", "commitMessage")
_REFERENCE = re.compile(r"@@@langfusePrompt:name=([^|@\n]+)((?:\|[^@\n]*)?)@@@")


def read(text: str, file: str) -> list[Imported]:
    """Every prompt of a file: one, a list, or a list under `data` or `prompts`."""
    data = read_json(text, file)
    for key in ("data", "prompts"):
        if isinstance(data, Mapping) and isinstance(data.get(key), list) and "prompt" not in data:
            data = data[key]
    found = data if isinstance(data, list) else [data]
    if not found:
        raise PromptError("there is no prompt in it", where=file)
    return [_prompt(mapping(one, "a prompt", file), file) for one in found]


def _prompt(data: Mapping[str, Any], file: str) -> Imported:
    draft = Draft(file, data.get("name"))
    body = data.get("prompt")
    if isinstance(body, str):
        draft.add("user", _convert(draft, body), "prompt")
    elif isinstance(body, list):
        kept = [one for n, one in enumerate(body, 1) if not _placeholder(draft, one, n)]
        add_messages(draft, kept, lambda text: _convert(draft, text))
    else:
        raise PromptError("prompt is a text or a list of messages", where=file)
    config = mapping(data.get("config"), "config", file)
    model = config.get("model")
    draft.keep("model", model if isinstance(model, str) else None)
    rest = {key: value for key, value in config.items() if key != "model" or not isinstance(model, str)}
    read_settings(draft, rest, "config: ")
    read_description(draft, data.get("commitMessage"), "commitMessage")
    read_tags(draft, data.get("tags"))
    draft.lose_keys(data, _KEYS)
    return draft.finish()


def _placeholder(draft: Draft, message: Any, number: int) -> bool:
    """True for a place that messages are put into, which a prompt of ours has none of."""
    if not isinstance(message, Mapping) or message.get("type") != "placeholder":
        return False
    draft.lose(f"message {number}: the placeholder {shown(message.get('name'))} for messages")
    return True


def _convert(draft: Draft, text: str) -> str:
    made, at = [], 0
    for found in _REFERENCE.finditer(text):
        made.append(from_braces(text[at : found.start()], draft.names))
        *folder, last = slug(found[1]).split("/")
        file = "/".join([*folder, f"_{last}.md"])
        made.append(f"{{% include {quoted(file)} %}}")
        draft.lose(f"the prompt {shown(found[1] + found[2])} put into the text: save it as {file}")
        at = found.end()
    return "".join(made) + from_braces(text[at:], draft.names)


def write(prompt: FilePrompt) -> Exported:
    """What Langfuse's API takes to create the prompt; a text prompt when there is one user message only."""
    leaving = Leaving(prompt, "Langfuse")
    texts = [to_braces(leaving, number) for number in range(len(leaving.messages))]
    roles = [role for role, _, _ in leaving.messages]
    body: dict[str, Any] = {"name": prompt.name, "type": "text" if roles == ["user"] else "chat"}
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    body["prompt"] = texts[0] if roles == ["user"] else messages
    body["config"] = model_settings(prompt)
    body["labels"] = []
    body["tags"] = list(prompt.front.tags)
    if prompt.front.description:
        body["commitMessage"] = prompt.front.description
    leaving.lose_front("model", "parameters", "output", "tools", "tags", "description")
    if any("@@@langfusePrompt:" in text for text in texts):
        leaving.lose("Langfuse takes @@@langfusePrompt: in a text for a reference")
    return Exported(json.dumps(body, ensure_ascii=False, indent=2) + "\n", tuple(leaving.lost))
