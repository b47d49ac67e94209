"""`llmops prompt check|types|import|export`: proofs, types for callers, and the formats of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops.cli.prompt import Key, Reference, printable, store
from llmops.cli.terminal import AsJson, print_json, say
from llmops.errors import EXIT_BAD_INPUT, InputError

if TYPE_CHECKING:
    from llmops.prompts.formats import Imported
    from llmops.prompts.inputs import Input
    from llmops.prompts.store import PromptStore

FORMATS = "langchain, prompty, dotprompt, openai, promptfoo, mlflow or langfuse"
MAX_PROBLEMS = 200


def check(
    folder: Annotated[Path, typer.Argument(help="The project's folder, or one in it.", metavar="[FOLDER]")] = Path(),
    callers: Annotated[
        bool, typer.Option("--callers/--no-callers", help="Also check the code and suites that use prompts.")
    ] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Prove the prompts sound: releases unchanged, labels, variables, schemas, callers, skills, no secrets.

    Exits with 2 when something is wrong. Fast enough for a pre-commit hook.
    """
    from llmops.config import load_config
    from llmops.soundness import check_project

    config = load_config(folder)
    if not config.prompts_dir.is_dir():
        raise InputError(f"no prompts folder {config.prompts_dir.name}/", hint="llmops init makes one")
    found = check_project(config, callers=callers)
    errors = sum(problem.level == "error" for problem in found.problems)
    warnings = len(found.problems) - errors
    failed = bool(errors or (strict and warnings))
    if as_json:
        counts = {"prompts": found.prompts, "skills": found.skills, "releases": found.releases, "labels": found.labels}
        print_json({"ok": not failed, **counts, "problems": [asdict(problem) for problem in found.problems]})
    else:
        for problem in found.problems[:MAX_PROBLEMS]:
            mark = "" if problem.level == "error" else "warning: "
            typer.echo(printable(f"{mark}{problem}", one_line=True))
        if len(found.problems) > MAX_PROBLEMS:
            typer.echo(f"and {len(found.problems) - MAX_PROBLEMS:,} more; --json has them all")
        said = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}" if found.problems else "all sound"
        counted = [_count(found.prompts, "prompt"), _count(found.releases, "release"), _count(found.labels, "label")]
        counted[1:1] = [_count(found.skills, "skill")] if found.skills else []
        typer.echo(f"{', '.join(counted)}: {said}")
    if failed:
        raise typer.Exit(EXIT_BAD_INPUT)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def types(
    output: Annotated[Path, typer.Option("--output", "-o", help="The Python module to write.", metavar="FILE.py")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 2 when it is out of date.")] = False,
) -> None:
    """Write a module whose load_prompt makes a wrong variable an error in mypy and pyright.

    Import load_prompt from it instead of from llmops. Every prompt, version and label is in it.
    """
    from llmops.cli.reports import write_atomically
    from llmops.prompts.calling.typed import typed_module

    if output.suffix != ".py":
        raise InputError(f"--output {output} is no Python module", hint="such as src/app/prompts.py")
    found = store()
    current = output.read_text("utf-8", "replace") if output.is_file() else ""
    if current and "llmops prompt types" not in current[:500]:
        raise InputError(f"{output} wasn't written by this command", hint="name another file, or delete it first")
    text = typed_module(_references(found), command=f"llmops prompt types --output {output.as_posix()}")
    if check:
        if current != text:
            raise InputError(f"{output} is out of date", hint=f"llmops prompt types --output {output}")
        return
    if current == text:
        say(f"{output} is up to date")
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, lambda write: _all(write, text))
    say(f"wrote {output}")


def _all(write: Callable[[str], object], text: str) -> None:
    write(text)


def _references(found: PromptStore) -> Mapping[str, Mapping[str, Input] | None]:
    """Every reference that code may write, with what it declares: working files, versions, labels, latest.

    Skills aren't prompts. A route is left out when its versions declare different inputs.
    """
    from llmops.prompts.agent_skills.skill_finding import names_a_skill

    references: dict[str, Mapping[str, Input] | None] = {}
    labels = found.labels()
    for name in found.names():
        references[name] = found.load(name).front.inputs
    for name in sorted({*found.names(), *labels}):
        if names_a_skill(found, name):
            continue
        known = found.versions(name)
        for version in [*map(str, known), *labels.get(name, {}), *(["latest"] if known else [])]:
            label = labels.get(name, {}).get(version)
            arms = [f"{name}@{target}" for target in label.route] if label and label.route else [f"{name}@{version}"]
            declared = [found.load(arm).front.inputs for arm in arms]
            if all(one == declared[0] for one in declared):
                references[f"{name}@{version}"] = declared[0]
    return references


def import_prompts(
    files: Annotated[list[Path], typer.Argument(help="Files of another tool.", metavar="FILE...")],
    form: Annotated[str, typer.Option("--from", help=f"{FORMATS}; guessed otherwise.", metavar="FORMAT")] = "",
    name: Annotated[str, typer.Option(help="What to call it, such as docs/answer.", metavar="NAME")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace prompts that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the prompts; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn prompts of other tools into prompt files. What can't be carried over is listed, line by line."""
    from llmops.prompts.writing import prompt_text

    found = store()
    made = [one for file in files for one in _read(file, form)]
    if name and len(made) > 1:
        raise InputError(f"--name goes with one prompt, not {len(made)}")
    made = [replace(one, name=name or one.name) for one in made]
    paths = [_target(found, one.name, force or dry_run) for one in made]
    if len(set(paths)) < len(paths):
        raise InputError("two of the prompts have one name", hint="import them one by one, with --name")
    texts = [prompt_text(one.front, one.messages) for one in made]
    for path, text in [] if dry_run else list(zip(paths, texts, strict=True)):
        _write(path, text)
    if as_json:
        rows = [{"name": one.name, "lost": list(one.lost), "text": text} for one, text in zip(made, texts, strict=True)]
        print_json({"prompts": rows, "written": not dry_run})
        return
    for one, path, text in zip(made, paths, texts, strict=True):
        if dry_run:
            typer.echo(printable(text))
        else:
            say(f"wrote {found.tree.shown(path.relative_to(found.root).as_posix())}")
        for line in one.lost:
            say(printable(f"not carried over: {line}", one_line=True))


def _read(file: Path, form: str) -> list[Imported]:
    from llmops.prompts.formats import guess_format, read_prompts
    from llmops.prompts.parsing import decode

    try:
        text = decode(file.read_bytes(), str(file))
    except OSError as problem:
        raise InputError(f"{file} can't be read: {problem.strerror or problem}") from None
    return read_prompts(text, form or guess_format(file, text), name=file.stem.split(".")[0])


def _target(found: PromptStore, name: str, force: bool) -> Path:
    from llmops.prompts.parsing import SUFFIX
    from llmops.prompts.references import check_name

    if any(part.startswith((".", "_")) for part in check_name(name).split("/")):
        raise InputError(f"{name!r:.80} can't be a prompt's name", hint="give --name folder/name")
    path = found.root / (name + SUFFIX)
    if path.exists() and not force:
        raise InputError(f"there is a prompt {name} already", hint="give another --name, or --force to replace it")
    return path


def _write(path: Path, text: str) -> None:
    from llmops.prompts import atomic

    atomic.replace(path, text.encode())


def export(
    reference: Reference,
    form: Annotated[str, typer.Option("--to", help=f"{FORMATS}.", metavar="FORMAT")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of stdout.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print a prompt in another tool's format. What that format can't hold is listed on stderr."""
    from llmops.prompts.formats import write_prompt

    if output is not None and output.exists() and not force:
        raise InputError(f"there is a file {output} already", hint="name another, or --force to replace it")
    made = write_prompt(store().load(reference, key=key), form)
    if as_json:
        print_json({"text": made.text, "lost": list(made.lost), "output": str(output) if output else None})
    elif output is None:
        typer.echo(made.text.removesuffix("\n"))
    if output is not None:
        _write(output, made.text)
        say(f"wrote {output}")
    for line in () if as_json else made.lost:
        say(printable(f"not carried over: {line}", one_line=True))
