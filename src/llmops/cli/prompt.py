"""`llmops prompt ls|show|diff|log`: looking at prompts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.terminal import AsJson, harmless, out, print_json, say
from llmops.errors import EXIT_GATE_FAILED, LlmopsError

if TYPE_CHECKING:
    from llmops.prompts.listing import Listed
    from llmops.prompts.store import PromptStore
    from llmops.prompts.template import FilePrompt
    from llmops.types import Message


def _complete(incomplete: str) -> list[str]:
    """Names for the shell's completion; behind an @ the versions and labels of that prompt."""
    try:
        found = store()
        name, at, _ = incomplete.partition("@")
        known = [*found.labels().get(name, {}), *map(str, found.versions(name)), "latest"] if at else found.names()
    except (LlmopsError, OSError):
        return []
    return [one for one in ([f"{name}@{version}" for version in known] if at else known) if one.startswith(incomplete)]


REFERENCE = "A prompt: name, name@2, @production, @latest, @<content id> or @git:<revision>."
Reference = Annotated[str, typer.Argument(help=REFERENCE, metavar="PROMPT", autocompletion=_complete)]
Name = Annotated[
    str, typer.Argument(help="A prompt's name, such as docs/answer.", metavar="NAME", autocompletion=_complete)
]
Key = Annotated[str | None, typer.Option(help="Whose version, where the label is a route.", metavar="KEY")]


def store() -> PromptStore:
    """The project's prompts."""
    from llmops.config import load_config
    from llmops.prompts.store import PromptStore

    return PromptStore(load_config().prompts_dir)


def printable(text: str, *, one_line: bool = False) -> str:
    """Text from a file as a terminal may show it."""
    from llmops.reports.plain import printable as plain

    return plain(text, len(text) + 1, one_line=one_line)


def list_prompts(
    start: Annotated[str, typer.Argument(help="Only names that start like this.", metavar="[NAME]")] = "",
    changed: Annotated[bool, typer.Option("--changed", help="Only those changed since production.")] = False,
    as_json: AsJson = False,
) -> None:
    """List prompts: newest version, labels, and whether the file has changed since production."""
    from llmops.config import load_config
    from llmops.prompts.listing import listed

    folder = load_config().prompts_dir
    rows = [row for row in listed(folder, start) if row.changed or not changed]
    if as_json:
        print_json({"prompts": [_listed(row) for row in rows]})
    elif rows:
        _print_rows(rows)
    else:
        why = "nothing changed" if changed else f"no prompts{f' called {start}…' if start else ''} in {folder.name}/"
        say(why if changed or start else f"{why}; a prompt is a file that ends in .prompt.md")


def _listed(row: Listed) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "labels": row.labels,
        "state": row.state,
        "changed": row.changed,
        "content_id": row.content_id,
    }


def _print_rows(rows: Sequence[Listed]) -> None:
    """Plain columns: thousands of rows take no time. Below each other where the terminal is narrow."""
    cells = [(row.name, str(row.version or "-"), _labels(row.labels), row.state) for row in rows]
    head = ("prompt", "newest", "labels", "working file")
    widths = [max(len(line[i]) for line in (head, *cells)) for i in range(3)]
    wide = sum(widths) + 6 + max(len(line[3]) for line in cells) <= out().width or not sys.stdout.isatty()
    printed: list[str] = []
    for line in (head, *cells) if wide else cells:
        if wide:
            text = "  ".join(
                cell.replace("\n", " ").ljust(width) for cell, width in zip(line, (*widths, 0), strict=True)
            )
        else:
            text = "\n  ".join((line[0], f"newest {line[1]}, {line[2] or 'no labels'}", line[3]))
        printed += [harmless(one) for one in text.rstrip().split("\n")]
    typer.echo("\n".join(printed))


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {target}" for name, target in labels.items())


def show(
    reference: Reference,
    key: Key = None,
    source: Annotated[bool, typer.Option("--source", help="Print the file's own bytes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a prompt: what it declares and its messages, partials in place; or a skill and its files."""
    from llmops.prompts.agent_skills.skill_finding import names_a_skill

    found = store()
    if names_a_skill(found, reference):
        from llmops.cli.prompt_skill import show_skill

        show_skill(found, reference, as_json)
        return
    if source:
        _print_source(found, reference, key)
        return
    prompt = found.load(reference, key=key)
    if as_json:
        print_json(facts_of(prompt))
        return
    _print_facts(prompt)
    print_messages([{"role": role, "content": text} for role, text in prompt.texts])


def _print_source(found: PromptStore, reference: str, key: str | None) -> None:
    from llmops.prompts.references import parse_reference

    wanted = parse_reference(reference)
    at = type(found)(found.root, wanted.revision) if wanted.revision else found
    file = at.resolve(type(wanted)(wanted.name, wanted.version), key=key).file
    data = at.tree.read(file) or b""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def facts_of(prompt: FilePrompt) -> dict[str, Any]:
    """A prompt as JSON."""
    front = prompt.front
    return {
        "name": prompt.name,
        "version": prompt.version,
        "label": prompt.label,
        "route": prompt.route,
        "revision": prompt.revision,
        "reference": prompt.reference,
        "content_id": prompt.content_id,
        **front.about(),
        "backend": front.backend,
        "model": front.model,
        "parameters": dict(front.parameters),
        "inputs": None if front.inputs is None else {name: one.written() for name, one in front.inputs.items()},
        "variables": sorted(prompt.variables),
        "output": front.output,
        "tools": list(front.tools),
        "few_shot": list(front.few_shot),
        "messages": [{"role": role, "content": text} for role, text in prompt.texts],
    }


def _print_facts(prompt: FilePrompt) -> None:
    from llmops.prompts.writing import flow

    front = prompt.front
    title = prompt.reference + (f" ({prompt.label})" if prompt.label else "")
    typer.echo(printable(f"{title}  content {prompt.content_id[:12]}", one_line=True))
    for name, value in (*front.about().items(), *front.deciding().items()):
        if name == "inputs":
            for variable, one in prompt.inputs.items():
                typer.echo(printable(f"input {variable}: {flow(one.written())}", one_line=True))
        elif name != "few_shot":
            typer.echo(printable(f"{name}: {value if isinstance(value, str) else flow(value)}", one_line=True))
    if front.inputs is None and prompt.variables:
        typer.echo(printable(f"variables, not declared: {', '.join(sorted(prompt.variables))}", one_line=True))
    if front.few_shot:
        typer.echo(f"few-shot examples: {len(front.few_shot)}")


def print_messages(messages: Iterable[Message]) -> None:
    """Messages for people, each under its role."""
    from rich.text import Text

    console = out()
    for message in messages:
        console.print()
        console.print(Text(f"{message['role']}:", style="bold"))
        content = message["content"]
        for part in content if isinstance(content, list) else [{"text": content}]:
            text = part.get("text") or f"[image: {part.get('image_url', {}).get('url', '')}]"
            console.print(Text(printable(text)), soft_wrap=True)


def diff(
    old: Annotated[str, typer.Argument(help=REFERENCE, metavar="OLD")],
    new: Annotated[
        str, typer.Argument(help="What to compare with; the working file by default.", metavar="[NEW]")
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")] = False,
    fail_on_breaking: Annotated[
        bool, typer.Option("--fail-on-breaking", help="Exit with 1 when a change may break callers.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two prompts: messages word by word, variables, parameters and schemas by what they mean.

    With one plain name, compares what production holds (else the newest release) with the working file.
    """
    from llmops.prompts.agent_skills.skill_finding import names_a_skill
    from llmops.prompts.comparison.diffing import diff_prompts

    found = store()
    old, new = _sides(found, old, new)
    if names_a_skill(found, old):
        from llmops.cli.prompt_skill import diff_skills

        diff_skills(found, old, new, as_json)
        return
    made = diff_prompts(found.load(old, key=""), found.load(new, key=""))
    if as_json:
        print_json({"old": old, "new": new, **made.to_json()})
    elif markdown:
        from llmops.prompts.comparison.diff_text import diff_markdown

        typer.echo(diff_markdown(made).rstrip("\n"))
    else:
        from llmops.cli.prompt_diff import print_diff

        print_diff(made, old, new)
    if fail_on_breaking and made.breaking:
        raise typer.Exit(EXIT_GATE_FAILED)


def _sides(found: PromptStore, old: str, new: str) -> tuple[str, str]:
    from llmops.prompts.references import parse_reference

    first = parse_reference(old)
    if new:
        return old, f"{first.name}{new}" if new.startswith("@") else new
    if first.version or first.revision:
        return old, first.name
    labels = found.labels().get(first.name, {})
    usual = "production" if "production" in labels and not labels["production"].route else "latest"
    return f"{first.name}@{usual}", first.name


def log(
    name: Name,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most this many entries.", min=1, metavar="N")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a prompt: edits, releases and label moves, newest first."""
    from dataclasses import asdict

    from llmops.prompts.agent_skills.skill_finding import names_a_skill
    from llmops.prompts.history import history
    from llmops.prompts.references import check_name

    found = store()
    check_name(name)
    if name not in found.names() and not found.versions(name) and not names_a_skill(found, name):
        found.load(name)  # raises, with what may be meant
    made = history(found.root, name, limit)
    if as_json:
        print_json({"prompt": name, "entries": [asdict(entry) for entry in made.entries], "note": made.note})
        return
    for entry in made.entries:
        when = entry.date[:16].replace("T", " ")
        about = "  ".join(part for part in (when, entry.commit[:10], entry.author) if part)
        typer.echo(printable("; ".join(entry.events), one_line=True))
        if about or entry.subject:
            typer.echo(printable(f"  {about}{'  ' if about and entry.subject else ''}{entry.subject}", one_line=True))
    if made.note:
        say(made.note)
