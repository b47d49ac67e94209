"""A model that looks up codes, well or badly depending on its prompt, and a project that examines it.

The prompt's system text decides: with "guess" it is wrong for every fourth item too, with "please" it trades two
answers for two others, with "step by step" it is right everywhere. Otherwise every eighth item is beyond it.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gitrepo import ENVIRONMENT
from stub_server import Reply

PLAIN = "Answer with the item's code."
WORSE = "Answer with the item's code, or guess it."
REWORDED = "Please give the code of the item."
BETTER = "Think step by step, then answer with the item's code."
TRADED = {3: False, 43: False, 7: True, 47: True}


def is_right(system: str, number: int) -> bool:
    """What the model knows of an item, told this."""
    system = system.lower()
    if "please" in system and number in TRADED:
        return TRADED[number]
    if "guess" in system and number % 4 == 1:
        return False
    return "step by step" in system or number % 8 != 7


def reply(body: Any, _: int = 0) -> Reply:
    """The answer to a request, for `StubServer(reply)`."""
    texts = {message["role"]: message["content"] for message in body["messages"]}
    found = re.search(r"item (\d+)", texts["user"])
    assert found is not None, texts
    number = int(found[1])
    return Reply(text=f"C{number}" if is_right(texts.get("system", ""), number) else "no idea")


def changing(wrong: Callable[[str, int, int], bool]) -> Callable[[Any, int], Reply]:
    """Answers that differ from one time to the next: `wrong(system, item, how often it was asked before)`."""
    asked: dict[tuple[str, int], int] = {}

    def decide(body: Any, _: int) -> Reply:
        texts = {message["role"]: message["content"] for message in body["messages"]}
        found = re.search(r"item (\d+)", texts["user"])
        assert found is not None, texts
        system, number = texts.get("system", ""), int(found[1])
        before = asked.setdefault((system, number), 0)
        asked[system, number] += 1
        return Reply(text="no idea" if wrong(system, number, before) else f"C{number}")

    return decide


def prompt_text(system: str) -> str:
    return f"---\ninputs: {{item: string}}\n---\nsystem:\n{system}\n\nuser:\nWhat is the code of item {{{{ item }}}}?\n"


def rows(count: int, **more: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Cases `i0`, `i1`, … with what `more` gives for each number."""
    made = [{"id": f"i{n}", "item": str(n), "code": f"C{n}"} for n in range(count)]
    return [{**row, **{key: give(n) for key, give in more.items()}} for n, row in enumerate(made)]


class Exam:
    """A project with the prompt `lookup`, the suite `evals/codes.yaml` and its cases; perhaps a repository."""

    def __init__(self, folder: Path, url: str, count: int = 160, **more: Callable[[int], Any]) -> None:
        self.folder = folder
        self.url = url
        self.fields = ""
        folder.mkdir(parents=True, exist_ok=True)
        self.write("llmops.yaml", "prompts: prompts\n")
        self.write(".gitignore", ".llmops/\n")
        self.prompt(PLAIN)
        self.cases(rows(count, **more))
        self.suite()

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def prompt(self, system: str, name: str = "lookup") -> None:
        self.write(f"prompts/{name}.prompt.md", prompt_text(system))

    def cases(self, given: Iterable[Mapping[str, Any]]) -> None:
        kept = list(given)
        self.fields = "".join(f", {name}: {name}" for name in ("group", "tags") if name in kept[0])
        self.write("evals/cases.jsonl", "".join(json.dumps(row) + "\n" for row in kept))

    def suite(
        self, gates: str = "[{no-regression: exact_match, margin: 5%}]", more: str = "", variants: str = "",
        metrics: str = "[exact_match]",
    ) -> Path:  # fmt: skip
        backend = f"{{openai_http: {{base_url: '{self.url}', model: m}}}}"
        chosen = variants or "  lookup: {prompt: lookup, backend: BACKEND}\n"
        fields = f"{{id: id, inputs.item: item, expected: code{self.fields}}}"
        return self.write(
            "evals/codes.yaml",
            f"dataset: {{path: cases.jsonl, fields: {fields}}}\n"
            f"variants:\n{chosen.replace('BACKEND', backend)}"
            f"metrics: {metrics}\n" + (f"gates: {gates}\n" if gates else "") + more,
        )

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-c", "commit.gpgsign=false", *words], cwd=self.folder, env=ENVIRONMENT,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")
