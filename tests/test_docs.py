"""Every command in the README and the docs runs, every Python block runs, and every link leads somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, clean_environment

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *ROOT.glob("examples/*/README.md"),
]
# What needs the network, a package index, a model server, or this repository's history.
# Pages whose commands run in the folder of an example.
FOLDERS = dict.fromkeys(("docs/prompts.md", "docs/bisect.md"), "examples/prompts")
NOT_RUN = ("pip install", "python -m venv", "pytest", "make ", "--changed", "cd ", "vllm ")


def commands(page: Path) -> list[str]:
    """The `llmops` commands of a page: lines after `$`, and indented lines, with `&&` taken apart."""
    return [text for file, text in steps(page) if not file]


def steps(page: Path) -> list[tuple[str, str]]:
    """What a page has its reader do, in order: commands to run, and files to write (fences that name one)."""
    if page.name == "cli.md":
        return []
    found = re.finditer(
        r"^```[a-z]+ (?P<file>\S+)\n(?P<text>.*?)^```$|^(?:\$ |    )(?P<line>(?:llmops|pip install) [^\n]*)$",
        page.read_text("utf-8"), re.MULTILINE | re.DOTALL,
    )  # fmt: skip
    made: list[tuple[str, str]] = []
    for step in found:
        if step["file"]:
            made.append((step["file"], step["text"]))
        parts = [part.strip() for part in re.split(r"&&|\s#\s", step["line"] or "")]
        made += [
            ("", part) for part in parts if part.startswith("llmops ") and not any(skip in part for skip in NOT_RUN)
        ]
    return made


def place(page: Path, project: Path) -> Path:
    """The folder that a page's commands run in: an example's own when it is a project, else the project's."""
    folder = FOLDERS.get(page.relative_to(ROOT).as_posix(), page.parent.relative_to(ROOT).as_posix())
    return project / folder if (ROOT / folder / "llmops.yaml").is_file() else project


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the docs speak of, with a first run in it."""
    for folder in ("evals", "prompts", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", ".llmops"))
    run(["llmops", "eval", "evals/docs-qa.yaml", "--quiet"], tmp_path)
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
    for words in (["init", "-qb", "main"], ["add", "-A"], ["commit", "-qm", "All of it"]):
        subprocess.run(["git", *identity, *words], cwd=tmp_path, env=clean_environment(), check=True)
    words = ["git", "update-ref", "refs/remotes/origin/main", "HEAD"]
    subprocess.run(words, cwd=tmp_path, env=clean_environment(), check=True)
    return tmp_path


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_runs(page, project):
    follow(page, place(page, project))


def follow(page: Path, folder: Path) -> None:
    """Do what a page says."""
    for file, text in steps(page):
        if file:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, "utf-8")
            continue
        words = shlex.split(text)
        if "evals/first.yaml" in words:
            words[words.index("evals/first.yaml")] = "my-project/evals/first.yaml"
        done = run(words, folder)
        partial = {"--only", "--sample"} & set(words)  # a gate may fail on a part of the cases
        assert done.returncode in ((0, 1) if partial else (0,)), f"{text}\n{done.stdout[-2000:]}{done.stderr}"


@pytest.mark.parametrize("page", [p for p in PAGES if python_blocks(p)], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_python_block_runs(page, project):
    if page.relative_to(ROOT).as_posix() in FOLDERS:  # its code uses what its commands have made
        follow(page, place(page, project))
    for block in python_blocks(page):
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=place(page, project),
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, block + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_begins_with_the_two_lines_that_ci_runs():
    lines = [
        line.partition("#")[0].strip()
        for line in (ROOT / "README.md").read_text("utf-8").splitlines()
        if line.startswith("    ")
    ]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert lines[0] == "pip install -e . && llmops eval evals/docs-qa.yaml"
    assert lines[1] == "pip install -e '.[dev]' && pytest"
    for line in lines[:2]:
        assert line in script


def test_there_is_something_to_run():
    assert sum(len(commands(page)) for page in PAGES) >= 20
