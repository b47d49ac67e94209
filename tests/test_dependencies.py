"""What `--changed` sees of a suite: each kind of part, there or deleted."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops.config import load_config
from llmops.dependencies import changed_parts, suite_files
from llmops.evals.changed import why_run
from llmops.evals.suite import load_suite

SUITE = """\
dataset: {dataset}
variants:
  v: {variant}
metrics:
  - {metric}
watch: {watch}
"""
PYTHON = "{python: '../app/p.py:f'}"

FILES = {
    "app/p.py": "import helper\n",
    "src/mod/__init__.py": "",
    "src/mod/p.py": "from mod.inner import x\n",
    "src/mod/inner.py": "",
    "evals/data/1.jsonl": "",
    "evals/schema.json": '{"$ref": "parts/item.json#/x"}',
    "evals/parts/item.json": '{"a": {"$ref": "../loop.yaml"}}',
    "evals/loop.yaml": "$ref: parts/../parts/item.json\nb: {$ref: https://example.test/x.json}\n",
    "evals/ans.jsonl": "",
    "prompts/p.prompt.md": "Answer: {{ question }}\n",
}


@pytest.fixture
def reasons(tmp_path: Path) -> Callable[..., list[str]]:
    """Why a suite with the given parts runs when the given path changed."""
    top = tmp_path.resolve()
    for name, text in FILES.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)

    def reasons(changed: str, settings: str | None = None, **given: str) -> list[str]:
        filled = {"dataset": "data", "variant": PYTHON, "metric": "exact_match", "watch": "[]", **given}
        text = SUITE
        for name, value in filled.items():
            text = text.replace("{" + name + "}", value)
        path = top / "evals/s.yaml"
        path.write_text(text)
        if settings is not None:
            (top / "llmops.yaml").write_text(settings)
        else:
            (top / "pyproject.toml").write_text("")
        suite = load_suite(path)
        files = {top / changed}
        return why_run(path, changed_parts(suite, load_config(suite.base), files), files)

    return reasons


PROMPT = "{prompt: p, model: m, backend: %s}"
WITH = "{python: '../app/p.py:f', with: {a: {b: [%s]}}}"
CASES: list[tuple[str, dict[str, str]]] = [
    ("llmops.yaml", {"settings": "backends: {}"}),
    ("llmops.yaml", {}),  # deleted
    ("evals/ans.jsonl", {"variant": PROMPT % "{recorded: ans.jsonl}"}),
    ("evals/gone.jsonl", {"variant": PROMPT % "{recorded: {path: gone.jsonl}}"}),
    ("evals/ans.jsonl", {"variant": PROMPT % "near", "settings": "backends: {near: {recorded: ans.jsonl}}"}),
    ("app/helper.py", {}),
    ("app/helper/__init__.py", {}),
    ("app/p.py", {}),
    ("evals/index.bin", {"variant": WITH % "index.bin"}),
    ("config/gone.json", {"variant": WITH % "config/gone.json"}),
    ("evals/index/deep/part", {"variant": WITH % "index"}),
    ("docs/a.md", {"variant": WITH % "'../docs/*.md'"}),
    ("app/helper.py", {"metric": "{python: {function: '../app/p.py:f'}}"}),
    ("src/mod/p.py", {"variant": "{python: 'mod.p:f'}"}),
    ("src/mod/inner.py", {"variant": "{python: 'mod.p:f'}"}),
    ("src/mod/__init__.py", {"variant": "{python: 'mod.p:f'}"}),
    ("evals/absent/p.py", {"variant": "{python: 'absent.p:f'}"}),
    ("src/absent/__init__.py", {"variant": "{langchain: 'absent.p:f'}"}),
    ("evals/schema.json", {"metric": "{json_schema: schema.json}"}),
    ("evals/parts/item.json", {"metric": "{json_schema: {schema: schema.json}}"}),
    ("evals/loop.yaml", {"metric": "{json_schema: {schema: schema.json}}"}),
    ("evals/parts/item.json", {"metric": "{json_schema: {schema: {$ref: 'parts/item.json#/a'}}}"}),
    ("evals/data/1.jsonl", {}),
    ("evals/data/2.jsonl", {}),  # a deleted shard
    ("evals/data/x/3.jsonl", {}),
    ("evals/gone/1.jsonl", {"dataset": "gone"}),
    ("evals/book.xlsx", {"dataset": "'book.xlsx#sheet'"}),
    ("docs/gone.md", {"watch": "['../docs/**/*.md']"}),
    ("evals/notes/a/b.txt", {"watch": "[notes]"}),
]


@pytest.mark.parametrize(("changed", "given"), CASES)
def test_a_changed_or_deleted_part_runs_the_suite(
    reasons: Callable[..., list[str]], changed: str, given: dict[str, str]
) -> None:
    assert reasons(changed, **given)


@pytest.mark.parametrize("given", [given for _, given in CASES])
def test_anything_else_does_not(reasons: Callable[..., list[str]], given: dict[str, str]) -> None:
    for changed in ("README.md", "evals/other.yaml", "app/unused.py", "evals/database/1.jsonl", "other/llmops.yaml"):
        assert reasons(changed, **given) == []


@pytest.mark.parametrize("text", ["/", "' '", '"a\\0b"', "'" + "x" * 999 + "'", "'" + "y" * 5000 + "'", "'[!'", "'::'"])
def test_strings_that_are_no_paths_are_harmless(reasons: Callable[..., list[str]], text: str) -> None:
    assert reasons("README.md", variant=WITH % text, metric="{contains: " + text + "}") == []


def test_a_pattern_that_cannot_be_a_glob_is_no_failure(reasons: Callable[..., list[str]]) -> None:
    assert reasons("README.md", watch="['a**b', '../**x']") == []


def test_what_the_hash_rests_on_exists_and_ignores_what_is_gone(
    reasons: Callable[..., list[str]], tmp_path: Path
) -> None:
    reasons("README.md", variant="{python: 'mod.p:f'}")
    suite = load_suite(tmp_path.resolve() / "evals/s.yaml")
    files = suite_files(suite, load_config(suite.base))
    found = [path.relative_to(tmp_path.resolve()).as_posix() for path in files["variant v"]]
    assert found == ["src/mod/__init__.py", "src/mod/inner.py", "src/mod/p.py"]
    assert "settings" not in files


def test_a_deleted_import_runs_the_suite_from_the_command_line(
    llmops: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "1", "input": "a", "expected": "a"}\n')
    (tmp_path / "p.py").write_text(
        "try:\n    import helper\nexcept ImportError:\n    pass\ndef f(input):\n    return input\n"
    )
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "s.yaml").write_text("dataset: d.jsonl\nvariants: {v: {python: 'p.py:f'}}\nmetrics: [exact_match]\n")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.test"]
    (tmp_path / ".gitignore").write_text(".llmops\n__pycache__\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    assert "skip  s.yaml" in llmops("eval", "s.yaml", "--changed", "HEAD").stderr
    (tmp_path / "helper.py").unlink()
    assert "helper.py changed" in llmops("eval", "s.yaml", "--changed", "HEAD").stderr
