"""promptfoo's prompts: text files (several prompts between lines `---`), chats as JSON or YAML, and its config file.

Its templates are Nunjucks, which is Jinja2 but for details.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from jinja2 import nodes

from llmops.errors import PromptError
from llmops.prompts.environment import environment
from llmops.prompts.formats.contents import add_messages, content_parts
from llmops.prompts.formats.draft import Draft, stem
from llmops.prompts.formats.leaving import Leaving
from llmops.prompts.formats.parts import Part, has_pictures
from llmops.prompts.formats.parts_source import source_of
from llmops.prompts.formats.plain import items, mapping, read_json, read_yaml, shown
from llmops.prompts.formats.settings import read_settings
from llmops.prompts.formats.shapes import Exported, Imported
from llmops.prompts.template import FilePrompt

_ELSE_IF = re.compile(r"(\{%[-+]?\s*)else\s?if\b")
_DUMP = re.compile(r"\|\s*dump\b")
_ELSEWHERE = ("file://", "exec:", "langfuse://", "portkey://", "helicone://", "http://", "https://")
_FILE = re.compile(r"[\w./*-]+\.(?:txt|json|ya?ml|md|j2|csv|jsx?|tsx?|mjs|cjs|py|sh|rb|pl)(?::\w+)?")
_NUNJUCKS = (
    "abs batch capitalize center d default dictsort e escape first float groupby indent int join last length list "
    "lower reject rejectattr replace reverse round select selectattr slice sort string sum title trim truncate "
    "upper urlencode wordcount image"
)


def read(text: str, file: str) -> list[Imported]:
    """Every prompt of a file."""
    if text.lstrip()[:1] in ("[", "{") and not text.lstrip().startswith(("{{", "{%", "{#")):
        data = _json(text, file)
        if data is not None:
            return _data(data, file)
    if is_yaml(text):
        return _data(read_yaml(text, file).data, file)
    return _texts(text, file)


def _json(text: str, file: str) -> Any:
    """The value of a chat or a config; None for a text that only starts like one."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        if re.search(r'"(?:role|prompts)"\s*:', text):
            return read_json(text, file)
        return None
    return read_json(text, file)


def is_yaml(text: str) -> bool:
    """True for a config file or a chat in YAML, as far as its first look tells."""
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return False
    return any(re.match(r"prompts\s*:", line) for line in lines) or bool(re.match(r"-\s+(role|content)\s*:", lines[0]))


def _data(data: Any, file: str) -> list[Imported]:
    if isinstance(data, Mapping) and "prompts" in data:
        return _config(data, file)
    if isinstance(data, Mapping) and isinstance(data.get("messages"), list):
        data = data["messages"]
    if not isinstance(data, list) or not data or not all(isinstance(one, Mapping) and "role" in one for one in data):
        raise PromptError("this is neither a chat nor a promptfoo config", where=file)
    draft = Draft(file)
    add_messages(draft, data, lambda text: _convert(draft, text))
    return [draft.finish()]


def _texts(text: str, file: str) -> list[Imported]:
    """The prompts of a text file."""
    lines = text.split("\n")
    cuts = [-1, *(i for i, line in enumerate(lines) if line.strip() == "---"), len(lines)]
    found: list[tuple[str, int]] = []
    for start, end in pairwise(cuts):
        inner = lines[start + 1 : end]
        skipped = next((i for i, line in enumerate(inner) if line.strip()), len(inner))
        if body := "\n".join(inner).strip():
            found.append((body, start + 2 + skipped))
    if not found:
        raise PromptError("there is no prompt in it", where=file)
    several = len(found) > 1
    return [
        _text(body, file, f"{stem(file)}-{number}" if several else None, line)
        for number, (body, line) in enumerate(found, 1)
    ]


def _text(body: str, file: str, name: str | None, line: int = 0, draft: Draft | None = None) -> Imported:
    draft = draft or Draft(file, name)
    draft.add("user", _convert(draft, body), "message 1", line)
    return draft.finish()


def _config(data: Mapping[str, Any], file: str) -> list[Imported]:
    """The prompts that a config file holds itself; those in other files are noted."""
    prompts = data["prompts"]
    entries = [prompts] if isinstance(prompts, str) else items(prompts, "prompts", file)
    made: list[Draft] = []
    lost = [key for key, value in data.items() if key not in ("prompts", "description") and value]
    skipped: list[str] = []
    for number, entry in enumerate(entries, 1):
        draft = _entry(entry, number, file, skipped)
        made += [draft] if draft else []
    if not made:
        hint = "import those files" if skipped else ""
        message = f"there is no prompt in it, only {', '.join(skipped[:5])}" if skipped else "there is no prompt in it"
        raise PromptError(message, where=file, hint=hint)
    for one in skipped:
        made[0].lose(f"the prompt {one}, which is elsewhere")
    for key in lost:
        made[0].lose(f"{key!r:.60}: there is no place for it")
    return [draft.finish() for draft in made]


def _entry(entry: Any, number: int, file: str, skipped: list[str]) -> Draft | None:
    data = {"raw": entry} if isinstance(entry, str) else mapping(entry, f"prompt {number}", file)
    raw = data.get("raw") or data.get("id")
    if not isinstance(raw, str):
        raise PromptError(f"prompt {number} is neither a text nor a mapping with raw or id", where=file)
    if raw.startswith(_ELSEWHERE) or _FILE.fullmatch(raw):
        skipped.append(shown(raw))
        return None
    draft = Draft(file, data.get("label") or (data.get("id") if "raw" in data else None) or f"{stem(file)}-{number}")
    read_settings(draft, mapping(data.get("config"), "config", file), f"prompt {number}, config: ", unknown=True)
    draft.lose_keys(data, ("raw", "id", "label", "config"), f"prompt {number}: ")
    chat = _json(raw, file) if raw.lstrip().startswith(("[", "{")) and not raw.lstrip().startswith("{{") else None
    if isinstance(chat, list) and chat and all(isinstance(one, Mapping) and "role" in one for one in chat):
        add_messages(draft, chat, lambda text: _convert(draft, text))
    else:
        draft.add("user", _convert(draft, raw.strip("\n")), "message 1")
    return draft


def _convert(draft: Draft, text: str) -> str:
    """Jinja2 for Nunjucks. What only one of them has is found when the template is checked."""
    if _DUMP.search(text):
        draft.lose("the filter dump is tojson here, which writes spaces behind commas and colons")
        text = _DUMP.sub("| tojson", text)
    return _ELSE_IF.sub(r"\1elif", text)


def write(prompt: FilePrompt) -> Exported:
    """A chat as JSON."""
    leaving = Leaving(prompt, "promptfoo's prompt file")
    messages: list[dict[str, Any]] = []
    for number, (role, text, parts) in enumerate(leaving.messages, 1):
        _differences(leaving, text, f"message {number}")
        messages.append({"role": role, "content": _content(leaving, text, parts, number)})
    leaving.lose_front()
    return Exported(json.dumps(messages, ensure_ascii=False, indent=2) + "\n", tuple(leaving.lost))


def _content(leaving: Leaving, text: str, parts: Sequence[Part], number: int) -> Any:
    if not has_pictures(parts):
        return text
    made = content_parts(parts, source_of)
    if any("| image" in json.dumps(one) for one in made):
        leaving.lose(f"message {number}: an image in a condition or a loop is kept as written")
    return made


def _differences(leaving: Leaving, text: str, where: str) -> None:
    tree = environment().parse(text)
    for node in tree.find_all((nodes.Filter, nodes.Call)):
        if isinstance(node, nodes.Filter) and node.name not in _NUNJUCKS.split():
            leaving.lose(f"{where}: Nunjucks has no filter {node.name}")
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
            leaving.lose(f"{where}: Nunjucks has no method .{node.node.attr}()")
