"""Prompts of MLflow's registry as JSON: name, version, template, tags, response_format, model_config and aliases.

Both the fields of a `PromptVersion` and a stored model version, whose tags hold the text, are read. A template with
`{%` in it is Jinja2; in any other only `{{name}}` means something.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmops.errors import PromptError
from llmops.prompts.formats.braces import from_braces, misread, to_braces
from llmops.prompts.formats.contents import add_messages
from llmops.prompts.formats.draft import Draft
from llmops.prompts.formats.leaving import Leaving
from llmops.prompts.formats.parts import Text, is_simple
from llmops.prompts.formats.plain import mapping, read_json
from llmops.prompts.formats.settings import read_description, read_response_format, read_settings, read_tags
from llmops.prompts.formats.shapes import Exported, Imported
from llmops.prompts.template import FilePrompt

_TEXT = "mlflow.prompt.text"
_STORED = {
    "_mlflow_prompt_response_format": "response_format",
    "_mlflow_prompt_model_config": "model_config",
    "mlflow.prompt.response_format": "response_format",
}
_OWN_TAGS = ("mlflow.prompt.is_prompt", "_mlflow_prompt_type", "_mlflow_experiment_ids")
_KEYS = ("name", "template", "tags", "response_format", "model_config", "commit_message", "description", "variables",
         "prompt_type", "is_text_prompt")  # fmt: skip


def read(text: str, file: str) -> list[Imported]:
    """Every prompt of a file: one, a list, or a list under `prompts`."""
    data = read_json(text, file)
    if isinstance(data, Mapping) and isinstance(data.get("prompts"), list):
        data = data["prompts"]
    found = data if isinstance(data, list) else [data]
    if not found:
        raise PromptError("there is no prompt in it", where=file)
    return [_prompt(_unpacked(mapping(one, "a prompt", file), file), file) for one in found]


def _unpacked(data: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The fields, with what a model version keeps in its tags in their places."""
    tags = data.get("tags")
    if isinstance(tags, list) and tags and all(isinstance(tag, Mapping) and "key" in tag for tag in tags):
        tags = {str(tag["key"]): tag.get("value") for tag in tags}
    if not isinstance(tags, Mapping):
        return dict(data)
    made = {**data, "tags": {key: v for key, v in tags.items() if key not in (_TEXT, *_STORED, *_OWN_TAGS)}}
    if isinstance(text := tags.get(_TEXT), str) and made.get("template") is None:
        listed = tags.get("_mlflow_prompt_type") == "chat"
        made["template"] = read_json(text, file) if listed else text
    for key, field in _STORED.items():
        if isinstance(tags.get(key), str) and made.get(field) is None:
            made[field] = read_json(tags[key], file)
    return made


def _prompt(data: Mapping[str, Any], file: str) -> Imported:
    draft = Draft(file, data.get("name"))
    template = data.get("template")
    if isinstance(template, str):
        draft.add("user", _convert(draft, template, jinja="{%" in template and "%}" in template), "template")
    elif isinstance(template, list):
        whole = json.dumps(template)
        jinja = "{%" in whole and "%}" in whole
        add_messages(draft, template, lambda text: _convert(draft, text, jinja=jinja))
    else:
        raise PromptError("template is a text or a list of messages", where=file)
    config = dict(mapping(data.get("model_config"), "model_config", file))
    model = config.pop("model_name", None)
    draft.keep("model", model if isinstance(model, str) else None)
    config |= mapping(config.pop("extra_params", None), "extra_params", file)
    provider = config.pop("provider", None)
    draft.lose_keys({"provider": provider}, (), "model_config: ")
    read_settings(draft, config, "model_config: ", unknown=True)
    if data.get("response_format") is not None:
        read_response_format(draft, data["response_format"])
    read_description(draft, data.get("commit_message") or data.get("description"), "commit_message")
    read_tags(draft, data.get("tags"))
    draft.lose_keys(data, _KEYS)
    return draft.finish()


def _convert(draft: Draft, text: str, *, jinja: bool) -> str:
    return text.removesuffix("\n") if jinja else from_braces(text, draft.names)


def write(prompt: FilePrompt) -> Exported:
    """A `PromptVersion`'s fields; the template is a text when there is one user message only."""
    leaving = Leaving(prompt, "MLflow")
    simple = all(is_simple(p) and not misread(p) and "{%" not in _plain(p) for _, _, p in leaving.messages)
    if not simple:
        leaving.lose("templates are Jinja2 here; only MLflow versions that render Jinja2 can use them")
    texts = [to_braces(leaving, n) if simple else text for n, (_, text, _) in enumerate(leaving.messages)]
    if not simple and not any("{%" in text for text in texts):
        texts[0] = "{% if true %}{% endif %}" + texts[0]  # what MLflow tells Jinja2 by
    roles = [role for role, _, _ in leaving.messages]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    body: dict[str, Any] = {"name": prompt.name, "template": texts[0] if roles == ["user"] else messages}
    if prompt.version is not None:
        body["version"] = prompt.version
    body["commit_message"] = prompt.front.description
    body["tags"] = {key: value for key, _, value in (tag.partition("=") for tag in prompt.front.tags)}
    config = ({"model_name": prompt.model} if prompt.model else {}) | _config(prompt.parameters)
    body |= {"model_config": config} if config else {}
    body |= {"response_format": prompt.output_schema} if prompt.output_schema is not None else {}
    leaving.lose_front("model", "parameters", "output", "tags", "description")
    return Exported(json.dumps(body, ensure_ascii=False, indent=2) + "\n", tuple(leaving.lost))


def _plain(parts: Any) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def _config(parameters: Mapping[str, Any]) -> dict[str, Any]:
    stop = parameters.get("stop")
    made = {key: value for key, value in parameters.items() if key != "stop"}
    return made | ({"stop_sequences": [stop] if isinstance(stop, str) else stop} if stop else {})
