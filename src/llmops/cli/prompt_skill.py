"""How `llmops prompt show` and `diff` show Agent Skills."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from llmops.cli.terminal import print_json
from llmops.prompts.agent_skills.skill_finding import FoundSkill, find_skill
from llmops.prompts.agent_skills.skills import read_skill
from llmops.reports.plain import printable

if TYPE_CHECKING:
    from llmops.prompts.store import PromptStore

MAX_TEXT = 200_000


def show_skill(store: PromptStore, reference: str, as_json: bool) -> None:
    """Print a skill: its folder, its files and its SKILL.md."""
    found = find_skill(store, reference)
    skill = read_skill(found.folder, found.folder.parent)
    files = [file.as_posix() for file in skill.files]
    if as_json:
        facts: dict[str, Any] = {
            "name": found.name, "version": found.version, "label": found.label, "content_id": found.content_id,
            "kind": "skill", "folder": str(found.folder), "description": skill.description, "files": files,
            "body": skill.body,
        }  # fmt: skip
        print_json(facts)
        return
    title = found.name + (f"@{found.version}" if found.version else "") + (f" ({found.label})" if found.label else "")
    lines = [f"{title}  skill, content {found.content_id[:12]}", f"folder: {found.folder}"]
    lines += [f"description: {skill.description}"] if skill.description else []
    for line in (*lines, f"files: {', '.join(files)}"):
        typer.echo(printable(line, len(line) + 1, one_line=True))
    typer.echo()
    typer.echo(printable(skill.body.strip("\n"), len(skill.body) + 1))


def diff_skills(store: PromptStore, old: str, new: str, as_json: bool) -> None:
    """Print what differs between two versions of a skill, file by file."""
    before, after = find_skill(store, old), find_skill(store, new)
    changes = _changes(before, after)
    if as_json:
        print_json({"old": old, "new": new, "files": {name: kind for name, (kind, _) in changes.items()}})
        return
    if not changes:
        typer.echo("no difference")
    for name, (kind, lines) in changes.items():
        for line in (f"{kind} {name}", *lines):
            typer.echo(printable(line.rstrip("\n"), len(line) + 1, one_line=False))


def _changes(before: FoundSkill, after: FoundSkill) -> dict[str, tuple[str, list[str]]]:
    old, new = _files(before), _files(after)
    found: dict[str, tuple[str, list[str]]] = {}
    for name in sorted({*old, *new}):
        if name not in new:
            found[name] = ("removed", [])
        elif name not in old:
            found[name] = ("added", [])
        elif (was := old[name].read_bytes()) != (now := new[name].read_bytes()):
            found[name] = ("changed", _lines(was, now))
    return found


def _files(found: FoundSkill) -> dict[str, Path]:
    skill = read_skill(found.folder, found.folder.parent)
    return {file.as_posix(): found.folder / file for file in skill.files}


def _lines(was: bytes, now: bytes) -> list[str]:
    if max(len(was), len(now)) > MAX_TEXT:
        return []
    try:
        old, new = was.decode().splitlines(), now.decode().splitlines()
    except UnicodeDecodeError:
        return []
    return [line for line in difflib.unified_diff(old, new, n=2, lineterm="") if not line.startswith(("---", "+++"))]
