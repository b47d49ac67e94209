"""What a skill's text refers to, whether its scripts can be run, and what must not be in its files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from urllib.parse import unquote

from llmops.prompts.agent_skills.skill_files import SkillError, SkillFile, folder_names, left_out, read_bytes, shown
from llmops.prompts.agent_skills.skills import Skill
from llmops.prompts.leaks import find_secrets, has_marks
from llmops.prompts.parsing import MAX_SOURCE_BYTES
from llmops.prompts.problems import Problem

MAX_SHOWN = 20  # findings of one kind per file
_FENCE = re.compile(r"\s{0,3}(```+|~~~+)")
_CODE = re.compile(r"`[^`\n]{0,500}`")
_LINK = re.compile(r"\]\([ \t]{0,3}(<[^<>\n]{1,300}>|[^()\s<>]{1,300})")
_DEFINITION = re.compile(r"[ \t]{0,3}\[[^\]\n]{1,200}\]:[ \t]{1,3}(<[^<>\n]{1,300}>|\S{1,300})")
_PATH = re.compile(
    r"(?<![\w./\\~$}{>-])(?:\./)?((?:scripts|references|assets)/(?:[\w.-]{1,100}/){0,10}[\w-][\w.-]{0,100}\.[A-Za-z]\w{0,7})"
    r"(?![\w/*{<$])"
)
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|#|//")
_ABSOLUTE = re.compile(r"[/~\\]|[A-Za-z]:[\\/]|file:")
_UNFINISHED = re.compile(r"[{}<>*$]|\.\.\.|…")
_RUN_BY_NAME = (".sh", ".bash", ".zsh", ".rb", ".pl")
_INTERPRETER = re.compile(
    r"(?:\b(?:python[0-9.]*|uv run|uvx|bash|sh|zsh|ruby|perl|node|bun|deno run|pwsh|source)|(?<!\S)\.)\s+"
    r"(?:[-\w.=/]{1,60}\s+){0,4}[\"']?[\w.${}/-]{0,100}\Z"
)
_FETCH = r"(?:curl|wget|fetch|iwr|irm|invoke-webrequest|invoke-restmethod)\b"
_SUBSTITUTED = r"(?:<\(|[\"']?\$\(|[\"']?`)\s{0,3}(?:curl|wget)\b"
_REMOTE_CODE = [
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        rf"\b{_FETCH}[^\n|]{{0,400}}\|\s{{0,3}}(?:sudo\s{{1,3}}(?:-\S{{1,20}}\s{{1,3}}){{0,3}})?"
        r"(?:/usr/bin/env\s{1,3}|/(?:usr/)?bin/)?"
        r"(?:(?:ba|z|da|k|fi)?sh\b|(?:iex|invoke-expression)\b|(?:python[0-9.]{0,4}|perl|ruby|node)(?:\s{1,3}-)?\s{0,3}"
        r"(?:[;&|\n`\"')]|\Z))",
        rf"\b(?:(?:ba|z|da|k)?sh|python[0-9.]{{0,4}}|perl|ruby|node)\s{{1,3}}(?:-\w{{1,10}}\s{{1,3}}){{0,3}}{_SUBSTITUTED}",
        rf"(?:\b(?:eval|source)|(?<!\S)\.)\s{{1,3}}{_SUBSTITUTED}",
        rf"\b(?:iex|invoke-expression)\b[\s(&\"'$]{{0,6}}(?:{_FETCH}|\(?new-object\s{{1,3}}(?:system\.)?net\.webclient)",
        r"\b(?:exec|eval)\(\s{0,3}(?:requests\.get|httpx\.get|(?:urllib\.request\.)?urlopen)\(",
    )
]
_REMOTE_MARKS = (b"curl", b"wget", b"iex", b"nvoke-", b"fetch", b"iwr", b"irm", b"IEX", b"exec(", b"eval(")
_REMOTE_LIMIT = 1_000_000  # characters of a file; longer ones are data


def check_references(skill: Skill, files: Sequence[SkillFile]) -> Iterator[Problem]:
    """W3: files the body refers to that are missing, outside the folder or far down in it; each once."""
    names = [file.name for file in files]
    present = {*names, *folder_names(names)}
    seen: set[str] = set()
    for line, target in _targets(skill.body, skill.source.body_line):
        if target not in seen:
            seen.add(target)
            message, hint = _judge(skill, target, present)
            if message:
                where = f"{skill.source.document.name}:{line}"
                yield Problem(where, f"{target!r:.100} {message}", hint, "W3", "warning")


def _targets(body: str, first_line: int) -> Iterator[tuple[int, str]]:
    """Line and path of everything in Markdown that names a file of the skill."""
    fence = ""
    for number, line in enumerate(body.split("\n"), first_line):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence:
            prose = _CODE.sub("", line)
            links = [match[1] for match in _LINK.finditer(prose)]
            definition = _DEFINITION.match(prose)
            for target in [*links, definition[1]] if definition else links:
                path = _path(target)
                if path:
                    yield number, path
        yield from ((number, match[1]) for match in _PATH.finditer(line))


def _path(target: str) -> str:
    """The file a link names, or nothing for web addresses, anchors and placeholders."""
    target = target.strip("<>")
    if _ABSOLUTE.match(target) and not target.startswith("//"):
        return target
    if _ELSEWHERE.match(target) or _UNFINISHED.search(target):
        return ""
    path = unquote(re.split(r"[#?]", target, maxsplit=1)[0])
    return path.removeprefix("./").rstrip("/")


def _judge(skill: Skill, target: str, present: set[str]) -> tuple[str, str]:
    if _ABSOLUTE.match(target):
        return "is an absolute path", "write it from the skill's folder"
    parts = target.split("/")
    if ".." in parts:
        return "goes up with ..", "copy the file into the skill, and write its path from the skill's folder"
    if target not in present and not (any(map(left_out, parts)) and _exists(skill, target)):
        return "isn't in the skill's folder", "add the file or correct the path"
    if len(parts) > 2:
        return "lies more than one folder deep", "agents may read such files in part; move it up"
    return "", ""


def _exists(skill: Skill, target: str) -> bool:
    try:
        return (skill.folder / target).exists()
    except (OSError, ValueError):
        return False


def check_files(skill: Skill, files: Sequence[SkillFile]) -> Iterator[Problem]:
    """W4 and W6 for each file, and S1 for one that can't be read."""
    instructions = _instructions(skill, files)
    for file in files:
        try:
            data = read_bytes(skill.folder, file.name)
        except SkillError as problem:
            yield Problem(problem.where, problem.message, problem.hint, problem.rule)
            continue
        where = shown(skill.folder / file.name)
        yield from _runnable(file, data, where, instructions)
        if b"\0" not in data[:8000]:
            yield from _leaks(data, where)


def _instructions(skill: Skill, files: Sequence[SkillFile]) -> str:
    """The body and the other Markdown files, which may say how scripts are run; nothing when there are none."""
    if not any(file.name.startswith("scripts/") for file in files):
        return ""
    texts = [skill.body]
    for file in files:
        if file.name.endswith(".md") and file.name != skill.source.file and file.size <= MAX_SOURCE_BYTES:
            with suppress(SkillError):  # reported where the files are checked
                texts.append(read_bytes(skill.folder, file.name).decode("utf-8", "replace"))
    return "\n".join(texts)


def _runnable(file: SkillFile, data: bytes, where: str, instructions: str) -> Iterator[Problem]:
    """W4: a script right in `scripts/` that can't be run by its name, unless the instructions name an interpreter."""
    path = PurePosixPath(file.name)
    if path.parts[:-1] != ("scripts",):
        return
    shebang = data.startswith(b"#!")
    program = path.suffix in _RUN_BY_NAME or (path.suffix == ".py" and b"__main__" in data)
    if not (shebang or program) or (shebang and file.executable) or _interpreted(instructions, file.name):
        return
    missing = [] if shebang else ["has no #! line"]
    missing += [] if file.executable else ["isn't executable"]
    hint = "mend it, or name the interpreter in SKILL.md"
    yield Problem(f"{where}:1", f"the script {' and '.join(missing)}", hint, "W4", "warning")


def _interpreted(text: str, name: str) -> bool:
    at = text.find(name)
    while at >= 0:
        before = text[max(0, at - 200) : at].rpartition("\n")[2]
        if _INTERPRETER.search(before):
            return True
        at = text.find(name, at + len(name))
    return False


def _leaks(data: bytes, where: str) -> Iterator[Problem]:
    """W6: secrets, and commands that run what they just downloaded."""
    secrets = has_marks(data)
    remote = any(mark in data for mark in _REMOTE_MARKS)
    if not secrets and not remote:
        return
    text = data.decode("utf-8", "replace")
    for line, kind in find_secrets(text)[:MAX_SHOWN] if secrets else []:
        hint = "take it out, and revoke it if it was ever real"
        yield Problem(f"{where}:{line}", f"holds what looks like {kind}", hint, "W6", "warning")
    for line in _remote_code(text)[:MAX_SHOWN] if remote else []:
        hint = "ship the code with the skill, or download a fixed version and check it first"
        yield Problem(f"{where}:{line}", "runs code straight from the network", hint, "W6", "warning")


def _remote_code(text: str) -> list[int]:
    """Lines of commands that fetch code and run it unseen."""
    joined = text[:_REMOTE_LIMIT].replace("\\\r\n", "   ").replace("\\\n", "  ")
    starts = {match.start() for pattern in _REMOTE_CODE for match in pattern.finditer(joined)}
    return sorted({text.count("\n", 0, start) + 1 for start in starts})
