"""The rules of the Agent Skills specification, and what makes a skill hard to use: S1 to S9 and W1 to W8.

A finding of an S rule is an error where the specification forbids it, and a warning where clients may differ.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmops.errors import did_you_mean
from llmops.prompts.agent_skills.skill_collisions import same_descriptions, shadowed
from llmops.prompts.agent_skills.skill_contents import check_files, check_references
from llmops.prompts.agent_skills.skill_files import SKILL_FILES, SkillError, list_files, printable
from llmops.prompts.agent_skills.skills import Skill, read_skill
from llmops.prompts.problems import Problem

KEYS = ("allowed-tools", "compatibility", "description", "license", "metadata", "name")
MAX_NAME, MAX_DESCRIPTION, MAX_COMPATIBILITY = 64, 1024, 500
MAX_LINES, MAX_TOKENS = 500, 5_000
BYTES_PER_TOKEN = 4  # what common tokenizers make of English
MIN_DESCRIPTION = 40
_PLAIN_NAME = re.compile(r"[a-z0-9-]*")
_NAME_SIGNS = re.compile(r"(?:[^\W_]|-)*")  # letters and digits of any script
_WHEN = re.compile(
    r"\b(?:use|uses|using|used|useful|when|whenever|while|if|trigger\w*|invoke\w*|activate\w*|asks?|needs?|wants?|"
    r"cuando|quand|lorsque|quando|wenn|bei)\b|когда|если|当|當|时|時|とき|场景|사용|때",
    re.IGNORECASE,
)
_TOOL = re.compile(r"[^\s(),]+(?:\([^()]*\))?")


def lint_skills(folders: Sequence[Path], root: Path, scopes: Sequence[Path] = ()) -> list[Problem]:
    """Every finding for skills under `root`, those between them included.

    `scopes` are folders that clients load skills from, such as `.agents/skills/` and `.claude/skills/`.
    """
    problems: list[Problem] = []
    skills: list[Skill] = []
    for folder in folders:
        skill, found = _lint(folder, root)
        problems += found
        if skill is not None:
            skills.append(skill)
    return [*problems, *shadowed(skills, scopes), *same_descriptions(skills)]


def lint_skill(folder: Path, root: Path) -> list[Problem]:
    """Every finding for the skill in `folder`, a folder under `root`; none raises."""
    return _lint(folder, root)[1]


def _lint(folder: Path, root: Path) -> tuple[Skill | None, list[Problem]]:
    files, troubles = list_files(folder)
    problems = [_from_error(trouble) for trouble in troubles]
    try:
        skill = read_skill(folder, root)
    except SkillError as problem:
        found = _from_error(problem)
        return None, problems if found in problems else [found, *problems]
    checks = [
        *_source(skill), *_keys(skill), *_name(skill), *_description(skill), *_compatibility(skill), *_metadata(skill),
        *_allowed_tools(skill), *_length(skill), *check_references(skill, files), *check_files(skill, files),
    ]  # fmt: skip
    return skill, [*problems, *checks]


def _from_error(error: SkillError) -> Problem:
    return Problem(error.where, error.message, error.hint, error.rule)


def _error(skill: Skill, rule: str, key: str, message: str, hint: str = "") -> Problem:
    return Problem(skill.source.document.where((key,)), message, hint, rule)


def _warning(skill: Skill, rule: str, key: str, message: str, hint: str = "") -> Problem:
    return Problem(skill.source.document.where((key,)), message, hint, rule, "warning")


def _source(skill: Skill) -> Iterator[Problem]:
    """How `SKILL.md` is written: accepted here, but not by every client."""
    source = skill.source
    if source.file != SKILL_FILES[0]:
        hint = f"rename {source.file} to {SKILL_FILES[0]}"
        yield _warning(skill, "S1", "", f"some clients look for {SKILL_FILES[0]} only", hint)
    where = skill.source.document.name
    at = source.front_text.find("---")
    if at >= 0:
        line = source.front_text.count("\n", 0, at) + 2
        message = "--- inside the front matter: some clients end it here"
        yield Problem(f"{where}:{line}", message, "write another dash", "S2", "warning")
    for line, what in _beyond_strict_yaml(source.front_text):
        message = f"{what} in the front matter: the reference validator refuses it"
        yield Problem(f"{where}:{line}", message, "write one key: value per line", "S3", "warning")


def _beyond_strict_yaml(text: str) -> list[tuple[int, str]]:
    """Line and name of the first of each kind of YAML that strict readers of front matter don't take."""
    import yaml

    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    found: dict[str, int] = {}
    for event in yaml.parse(text, Loader=loader):
        line = (event.start_mark.line if event.start_mark else 0) + 2
        if getattr(event, "flow_style", False):
            found.setdefault("braces or brackets", line)
        if getattr(event, "anchor", None):
            found.setdefault("an anchor or alias", line)
    return [(line, what) for what, line in found.items()]


def _keys(skill: Skill) -> Iterator[Problem]:
    for key in skill.front:
        if key not in KEYS:
            near = did_you_mean(key, KEYS)
            hint = near if near.startswith("did") else f"keys: {', '.join(KEYS)}; put your own under metadata"
            yield _error(skill, "S4", key, f"no key is called {key!r:.60}", hint)


def _name(skill: Skill) -> Iterator[Problem]:
    value = skill.front.get("name")
    if not isinstance(value, str) or not value.strip():
        yield _missing(skill, "S5", "name", value, f"write name: {printable(skill.folder.absolute().name)}")
        return
    name = unicodedata.normalize("NFKC", value.strip())
    place = unicodedata.normalize("NFKC", skill.folder.absolute().name)
    if len(name) > MAX_NAME:
        yield _error(skill, "S5", "name", f"name has {len(name)} characters; {MAX_NAME} are allowed")
    if name != name.lower():
        yield _error(skill, "S5", "name", "name has capital letters", f"write {name.lower()!r:.60}")
    if name.startswith("-") or name.endswith("-") or "--" in name:
        yield _error(skill, "S5", "name", "name starts or ends with a hyphen, or has two in a row")
    if not _NAME_SIGNS.fullmatch(name):
        yield _error(skill, "S5", "name", f"name {name!r:.60} holds more than letters, digits and hyphens")
    if name != place:
        hint = "rename the folder or the skill"
        yield _error(skill, "S5", "name", f"name is {name!r:.60}, but the folder is {place!r:.60}", hint)
    elif _NAME_SIGNS.fullmatch(name) and name == name.lower() and not _PLAIN_NAME.fullmatch(value):
        yield _warning(skill, "S5", "name", "name holds more than a-z, 0-9 and -, which not every client accepts")


def _missing(skill: Skill, rule: str, key: str, value: Any, hint: str) -> Problem:
    if value is None or isinstance(value, str):
        return _error(skill, rule, key, f"{key} is missing or empty", hint)
    return _error(skill, rule, key, f"{key} is a text, not {value!r:.60}", "put it in quotes")


def _description(skill: Skill) -> Iterator[Problem]:
    value = skill.front.get("description")
    if not isinstance(value, str) or not value.strip():
        hint = "say what the skill does and when to use it"
        yield _missing(skill, "S6", "description", value, hint)
        return
    if len(value) > MAX_DESCRIPTION:
        message = f"description has {len(value):,} characters; {MAX_DESCRIPTION:,} are allowed"
        yield _error(skill, "S6", "description", message, "move the details into the body")
    if len(value.strip().encode("utf-8", "replace")) < MIN_DESCRIPTION:  # bytes: a Chinese sign says more than a letter
        message = f"description has only {len(value.strip())} characters: agents choose a skill by it"
        yield _warning(skill, "W2", "description", message, "say what it does and when to use it")
    elif not _WHEN.search(value):
        hint = "add a sentence such as: Use when …"
        yield _warning(skill, "W2", "description", "description doesn't say when to use the skill", hint)
    if "<" in value or ">" in value:
        message = "description holds < or >, which some clients refuse because it goes into a tagged prompt"
        yield _warning(skill, "W2", "description", message, "write it without them")


def _compatibility(skill: Skill) -> Iterator[Problem]:
    if "compatibility" not in skill.front:
        return
    value = skill.front["compatibility"]
    if not isinstance(value, str) or not value.strip():
        yield _missing(skill, "S7", "compatibility", value, "say what the skill needs, or leave the key out")
    elif len(value) > MAX_COMPATIBILITY:
        message = f"compatibility has {len(value):,} characters; {MAX_COMPATIBILITY} are allowed"
        yield _error(skill, "S7", "compatibility", message)


def _metadata(skill: Skill) -> Iterator[Problem]:
    if "metadata" not in skill.front:
        return
    value = skill.front["metadata"]
    if not isinstance(value, dict):
        yield _error(skill, "S8", "metadata", f"metadata is a mapping of keys to texts, not {value!r:.60}")
        return
    for key, item in value.items():
        where = skill.source.document.where(("metadata", key))
        if isinstance(item, (dict, list)):
            yield Problem(where, f"metadata {key!r:.60} isn't a text", "write one text", "S8")
        elif not isinstance(item, str):
            message = f"metadata {key!r:.60} is a text that YAML reads as {item!r:.60}"
            yield Problem(where, message, "put it in quotes", "S8", "warning")
    if "version" in value:
        where = skill.source.document.where(("metadata", "version"))
        message = "no client reads metadata.version, so nothing notices when it is out of date"
        yield Problem(where, message, "leave versions to releases or git", "W8", "warning")


def _allowed_tools(skill: Skill) -> Iterator[Problem]:
    if "allowed-tools" not in skill.front:
        return
    value = skill.front["allowed-tools"]
    hint = "write one text such as: Bash(git:*) Read"
    if not isinstance(value, str) or not value.strip():
        yield _error(skill, "S9", "allowed-tools", "allowed-tools is one text with spaces between tools", hint)
    elif "," in _TOOL.sub("", value):
        yield _error(skill, "S9", "allowed-tools", "allowed-tools has commas; spaces go between tools", hint)
    elif _TOOL.sub("", value).strip():
        yield _error(skill, "S9", "allowed-tools", "allowed-tools has parentheses that don't match", hint)


def _length(skill: Skill) -> Iterator[Problem]:
    body = skill.body.strip()
    lines, tokens = body.count("\n") + 1, len(body.encode("utf-8", "replace")) // BYTES_PER_TOKEN
    where = f"{skill.source.document.name}:{skill.source.body_line}"
    hint = "move details into files it refers to"
    if lines > MAX_LINES:
        message = f"the body has {lines:,} lines; more than {MAX_LINES} fill an agent's context"
        yield Problem(where, message, hint, "W1", "warning")
    if tokens > MAX_TOKENS:
        message = f"the body has about {tokens:,} tokens; more than {MAX_TOKENS:,} fill an agent's context"
        yield Problem(where, message, hint, "W1", "warning")
