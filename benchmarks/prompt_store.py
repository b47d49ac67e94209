"""The prompt store at size: 2,000 prompts with 20 releases each, and one prompt loaded and rendered often.

    python benchmarks/prompt_store.py [--prompts 2000] [--releases 20] [--keep DIR]

Commands are whole processes; loading and rendering are timed in this one, beside plain Jinja2.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

FRONT = """---
description: Answers question {number} about the product from passages.
model: small-model
parameters: {{temperature: 0, max_tokens: 300}}
inputs:
  question: {{type: string, example: How long is the trial?}}
  contexts: {{type: array, default: []}}
  tone: {{type: string, default: calm, enum: [calm, lively]}}
tags: [docs, group{group}]
owner: team-{group}
---
"""
BODY = """system:
You answer questions about product {number}, in revision {revision}, using only the passages you are given.
{{% include "_style.md" %}}
{filler}

user:
Context:
{{% for context in contexts %}}
- {{{{ context }}}}
{{% endfor %}}

Write in a {{{{ tone }}}} tone.
Question: {{{{ question }}}}
"""
RULE = "{i}. Keep to rule number {i}, say so when the passages have no answer, and be brief."
FILLER = "\n".join(RULE.format(i=i) for i in range(22))


def write_prompt(root: Path, number: int, revision: int) -> None:
    """One working prompt of about 2 KB."""
    path = root / f"group{number % 40}" / f"prompt{number}.prompt.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    body = BODY.format(number=number, revision=revision, filler=FILLER)
    path.write_text(FRONT.format(number=number, group=number % 40) + body, "utf-8")


def make_store(project: Path, prompts: int, releases: int) -> None:
    """A project whose prompts were each released `releases` times, production one behind the newest."""
    from llmops.prompts import atomic
    from llmops.prompts.reading import Reading
    from llmops.prompts.release_files import prepare, release_file
    from llmops.prompts.releases import release_text
    from llmops.prompts.trees import WorkTree

    root = project / "prompts"
    root.mkdir(parents=True)
    (root / "_style.md").write_text("Write plain sentences.\nNever guess.\n", "utf-8")
    prepare(root)
    tree = WorkTree(root)
    labels: list[str] = []
    for number in range(prompts):
        name = f"group{number % 40}/prompt{number}"
        for revision in range(1, releases + 1):
            write_prompt(root, number, revision)
            read = Reading(tree, f"{name}.prompt.md", name)
            target = root / release_file(name, revision)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(release_text(read, revision), "utf-8")
        at = '"2026-11-24T19:30:00Z"'
        labels.append(
            f"{name}:\n  production: {{version: {max(releases - 1, 1)}, at: {at}, by: Ann, before: [1]}}\n"
            f"  staging: {releases}\n"
        )
    atomic.replace(root / "releases/labels.yaml", "".join(labels).encode())


def command(project: Path, *arguments: str, runs: int = 5) -> str:
    """Median seconds, CPU seconds and peak memory of a command as a whole process."""
    walls, cpus, peak = [], [], 0
    for _ in range(runs):
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "llmops", *arguments], cwd=project, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        walls.append(time.perf_counter() - start)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, arguments
        cpus.append(usage.ru_utime + usage.ru_stime)
        peak = max(peak, usage.ru_maxrss)
    return f"{statistics.median(walls):6.2f} s   {statistics.median(cpus):6.2f} s CPU   {peak / 1024:5.0f} MB"


def each(function: Callable[[], object], rounds: int = 2000) -> float:
    """Median microseconds of one call, in seven batches."""
    function()
    batches = []
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(rounds):
            function()
        batches.append((time.perf_counter() - start) / rounds * 1e6)
    return statistics.median(batches)


def loading(project: Path) -> None:
    """A warm load and a render, beside plain Jinja2 on the same text."""
    import jinja2

    from llmops import load_prompt

    os.chdir(project)
    reference = "group1/prompt1@production"
    prompt = load_prompt(reference)
    values = {"question": "How long is the trial?", "contexts": ["The trial lasts 30 days."] * 4}
    plain = [jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text) for _, text in prompt.texts]
    with_default = {"tone": "calm", **values}
    ours, theirs = each(lambda: prompt.render(**values)), each(lambda: [t.render(with_default) for t in plain])
    size = sum(len(text) for _, text in prompt.texts)
    print(f"load_prompt, warm              {each(lambda: load_prompt(reference)):6.1f} µs")
    print(f"render, {size:,} characters      {ours:6.1f} µs")
    print(f"plain Jinja2, same text        {theirs:6.1f} µs   (ratio {ours / theirs:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--releases", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="make the store here, or use the one that is here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = options.keep or Path(folder) / "project"
        if not project.exists():
            make_store(project, options.prompts, options.releases)
        (project / "llmops.yaml").touch()
        print(f"{options.prompts:,} prompts with {options.releases} releases each")
        for arguments in (("prompt", "check"), ("prompt", "ls"), ("--version",)):
            print(f"llmops {' '.join(arguments):<23} {command(project, *arguments)}")
        loading(project)


if __name__ == "__main__":
    main()
