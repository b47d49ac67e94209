"""A model's settings in the shapes other tools write them, as our `parameters`, `tools` and `output`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmops.prompts.formats.draft import Draft
from llmops.prompts.formats.plain import items, mapping, shown
from llmops.secrets import looks_secret

PARAMETERS = frozenset(
    (
        "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "min_p", "n",
        "parallel_tool_calls", "presence_penalty", "reasoning_effort", "repetition_penalty", "seed", "service_tier",
        "stop", "temperature", "tool_choice", "top_k", "top_logprobs", "top_p", "user", "verbosity",
    )
)  # fmt: skip
_OTHER_NAMES = {"max_output_tokens": "max_tokens", "stop_sequences": "stop", "allow_multiple_tool_calls":
                "parallel_tool_calls"}  # fmt: skip


def read_settings(draft: Draft, data: Mapping[str, Any], where: str, *, unknown: bool = False) -> None:
    """Settings named as in an OpenAI request, or in camel case. `unknown` keeps those that aren't known, too."""
    for key, value in data.items():
        name = re.sub(r"(?<=[a-z])([A-Z])", lambda m: "_" + m[1].lower(), key)
        name = _OTHER_NAMES.get(name, name)
        if value is None:
            continue
        if name == "tools":
            read_tools(draft, value)
        elif name == "functions":
            read_tools(draft, [{"type": "function", "function": one} for one in items(value, key, draft.file)])
        elif name == "response_format":
            read_response_format(draft, value)
        elif name in PARAMETERS or (unknown and not looks_secret(key)):
            draft.parameter(name if name in PARAMETERS else key, value)
        else:
            draft.lose(f"{where}{key!r:.60}: there is no place for it")


def read_tools(draft: Draft, value: Any) -> None:
    """OpenAI's tools; those of other kinds than functions are noted."""
    kept = []
    for number, tool in enumerate(items(value, "tools", draft.file), 1):
        if isinstance(tool, str):
            draft.lose(f"tool {shown(tool)}: only its name is known")
            tool = {"type": "function", "function": {"name": tool}}
        found = mapping(tool, f"tool {number}", draft.file)
        function = found.get("function", found)
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            kept.append(tool)
        else:
            draft.lose(f"tool {number}: {shown(found.get('type', ''))} isn't a function")
    draft.keep("tools", kept)


def read_response_format(draft: Draft, value: Any) -> None:
    """OpenAI's `response_format`, or a bare JSON Schema."""
    if not isinstance(value, Mapping):
        draft.lose(f"response_format: {shown(value)} isn't a mapping")
        return
    inner = value.get("json_schema")
    if value.get("type") == "json_schema" and isinstance(inner, Mapping):
        schema = inner.get("schema")
        if isinstance(schema, Mapping):
            draft.front["output"] = dict(schema)
        draft.lose_keys(inner, ("schema", "name"), "response_format: ")
        if inner.get("name") not in (None, "answer"):
            draft.lose(f"response_format: the schema's name {shown(inner['name'])}")
    elif value.get("type") == "json_object":
        draft.parameter("response_format", value)
    elif value.get("type") != "text":
        draft.front["output"] = dict(value)


def read_tags(draft: Draft, value: Any) -> None:
    """A list of tags, or a mapping, as `key=value`."""
    if isinstance(value, Mapping):
        draft.keep("tags", [f"{key}={one}" if one not in ("", None) else key for key, one in value.items()])
    else:
        draft.keep("tags", [tag if isinstance(tag, str) else shown(tag) for tag in items(value, "tags", draft.file)])


def read_description(draft: Draft, value: Any, what: str) -> None:
    """A description, or a commit message in its place."""
    if isinstance(value, str):
        draft.keep("description", value)
    elif value is not None:
        draft.lose(f"{what}: {shown(value)} isn't text")
