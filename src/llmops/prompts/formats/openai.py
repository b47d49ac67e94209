"""OpenAI chat JSON: a list of messages, or a request body with `messages` in it.

In contents `{{name}}` stands for a variable, as in most files people keep prompts in; all else stays as it is.
"""

from __future__ import annotations

import json
from typing import Any

from llmops.errors import PromptError
from llmops.prompts.formats.braces import from_braces
from llmops.prompts.formats.contents import add_messages, brace_messages
from llmops.prompts.formats.draft import Draft
from llmops.prompts.formats.leaving import Leaving, model_settings
from llmops.prompts.formats.plain import mapping, read_json, shown
from llmops.prompts.formats.settings import read_settings
from llmops.prompts.formats.shapes import Exported, Imported
from llmops.prompts.template import FilePrompt

_STREAMING = ("stream", "stream_options", "store", "metadata", "function_call")


def read(text: str, file: str) -> list[Imported]:
    """The one prompt of a file."""
    data = read_json(text, file)
    return [read_request({"messages": data} if isinstance(data, list) else data, file)]


def read_request(data: Any, file: str) -> Imported:
    """A request body. Raises `PromptError`."""
    body = mapping(data, "a request", file)
    if "messages" not in body:
        raise PromptError("there are no messages", where=file, hint='write [{"role": "user", "content": "…"}]')
    draft = Draft(file)
    model = body.get("model")
    if isinstance(model, str):
        draft.keep("model", model)
    elif model is not None:
        draft.lose(f"model: {shown(model)} isn't text")
    rest = {key: value for key, value in body.items() if key not in ("messages", "model", *_STREAMING)}
    read_settings(draft, rest, "", unknown=True)
    draft.lose_keys({key: body.get(key) for key in _STREAMING}, ())
    add_messages(draft, body["messages"], lambda content: from_braces(content, draft.names))
    return draft.finish()


def write(prompt: FilePrompt) -> Exported:
    """A request body; a bare list of messages when there is nothing else to say."""
    leaving = Leaving(prompt, "OpenAI chat JSON")
    messages = brace_messages(leaving)
    settings = model_settings(prompt)
    leaving.lose_front("model", "parameters", "output", "tools")
    body: Any = {**settings, "messages": messages} if settings else messages
    return Exported(json.dumps(body, ensure_ascii=False, indent=2) + "\n", tuple(leaving.lost))
