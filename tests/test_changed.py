"""Which files a suite depends on through imports, and why a suite runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmops.evals.changed import changed_imports, matching, python_dependencies, why_run


def names(folder: Path, path: str) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in python_dependencies(folder / path, folder)}


def test_imports_are_followed_by_reading(tmp_path: Path) -> None:
    files = {
        "app/main.py": "import json, near\nfrom pkg.sub import thing, mod\nimport other.deep as d\nimport absent",
        "app/near.py": "raise SystemExit('imported')\nfrom pkg import *",
        "pkg/__init__.py": "from . import first\nfrom .second import x",
        "pkg/first.py": "import main",
        "pkg/second.py": "def f():\n    from ..pkg.lazy import y",
        "pkg/lazy.py": "",
        "pkg/unused.py": "",
        "pkg/sub/__init__.py": "",
        "pkg/sub/mod.py": "from ...nothing import x\nfrom .. import third",
        "pkg/third.py": "",
        "src/other/__init__.py": "",
        "src/other/deep.py": "from .broken import x",
        "src/other/broken.py": "def (",
        "src/other/unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert names(tmp_path, "app/main.py") == {name for name in files if not name.endswith("unused.py")}


@pytest.mark.parametrize(
    "data", [b"import \xff", b"\0", b"(" * 5000, b"x = " + b"-" * 100_000 + b"1", b"# coding: nope\n"]
)
def test_a_file_that_cannot_be_parsed_is_still_listed(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.py").write_bytes(b"import b")
    (tmp_path / "b.py").write_bytes(data)
    assert names(tmp_path, "a.py") == {"a.py", "b.py"}


def test_a_missing_file_is_listed_and_round_trips_end(tmp_path: Path) -> None:
    assert names(tmp_path, "gone.py") == {"gone.py"}
    (tmp_path / "a.py").write_text("import b")
    (tmp_path / "b.py").write_text("import a")
    assert names(tmp_path, "a.py") == {"a.py", "b.py"}


def test_reasons_name_the_part_and_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path.resolve()
    monkeypatch.chdir(top)
    suite = Path("evals/docs.yaml")
    (top / "data").mkdir()
    parts = {
        "prompt": [top / "prompts/a.prompt.md", top / "prompts/_s.md"],
        "dataset": [Path("data")],
        "metric": [Path("evals/../evals/metrics.py")],
    }
    assert why_run(suite, parts, {top / "README.md"}) == []
    assert why_run(suite, parts, {top / "evals/docs.yaml"}) == ["suite evals/docs.yaml changed"]
    changed = {top / "prompts/_s.md", top / "data/rows/1.jsonl", top / "evals/metrics.py", top / "other"}
    assert why_run(suite, parts, changed) == [
        "prompt prompts/_s.md changed",
        "dataset data changed",
        "metric evals/metrics.py changed",
    ]
    gone = {"dataset": [top / "gone"]}
    assert why_run(suite, gone, {top / "gone/x.jsonl"}) == ["dataset gone changed"]
    assert why_run(suite, gone, {top / "gone.jsonl"}) == []


def test_a_submodule_is_listed_by_its_name_only(tmp_path: Path) -> None:
    top = tmp_path.resolve()
    parts = {"dataset": [top / "vendor/data/x.jsonl"]}
    assert why_run(top / "s.yaml", parts, {top / "vendor"})
    assert not why_run(top / "s.yaml", parts, {top / "vendors"})


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.md", "a.md", True),
        ("*.md", "x/a.md", False),
        ("**/*.md", "a.md", True),
        ("**/*.md", "x/y/a.md", True),
        ("x/**", "x/y/a.md", True),
        ("x/**", "xy/a.md", False),
        ("x", "x/y/a.md", True),
        ("./x/", "x/a.md", True),
        ("x/*", "x/y/a.md", False),
        ("x/**/y/**/z.py", "x/y/z.py", True),
        ("x/**/y/**/z.py", "x/1/y/2/3/z.py", True),
        ("x/**/y/**/z.py", "x/1/z.py", False),
        ("[ab]?.md", "b1.md", True),
        ("../other/*.md", "../other/a.md", True),
        ("../other/*.md", "other/a.md", False),
        ("/".join(["**"] * 40) + "/z", "/".join("y" * 60), False),
    ],
)
def test_globs_match_paths_that_are_gone(tmp_path: Path, pattern: str, path: str, expected: bool) -> None:
    base = tmp_path.resolve() / "b[1]"
    changed = base.parent / path[3:] if path.startswith("../") else base / path
    assert (list(matching(pattern, base, {changed})) == [changed]) is expected


def test_imports_of_deleted_modules_are_found(tmp_path: Path) -> None:
    top = tmp_path.resolve()
    (top / "app").mkdir()
    (top / "app/main.py").write_text(
        "import near\nfrom .rel import x\nfrom pkg import mod\nfrom star import *\nimport a.b"
    )
    gone = {"app/near.py", "app/rel.py", "src/pkg/mod.py", "star/any.py", "a/__init__.py", "base/near.py"}
    changed = {top / name for name in (*gone, "app/other.py", "pkg/unused.py", "far/near.py", "a/c.py")}
    found = changed_imports(top / "app/main.py", top, changed, top / "base")
    assert {path.relative_to(top).as_posix() for path in found} == gone


def test_a_symbolic_link_changes_with_its_target(tmp_path: Path) -> None:
    top = tmp_path.resolve()
    (top / "real.jsonl").write_text("")
    (top / "link.jsonl").symlink_to("real.jsonl")
    for changed in ("real.jsonl", "link.jsonl"):
        assert why_run(top / "s.yaml", {"dataset": [top / "link.jsonl"]}, {top / changed})
    assert not why_run(top / "s.yaml", {"dataset": [top / "real.jsonl"]}, {top / "link.jsonl"})
