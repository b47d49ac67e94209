"""What git is asked, on real repositories made by the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmops.errors import InputError
from llmops.git import changed_files, describe


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | {"GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", *identity, "-c", "init.defaultBranch=main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    top = tmp_path.resolve() / "work tree"
    top.mkdir()
    git(top, "init", "--quiet")
    (top / "a.txt").write_text("a\n" * 50)
    (top / "b.txt").write_text("b\n")
    (top / ".gitignore").write_text("ignored*\n")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "one")
    return top


def test_describe_a_clean_and_a_dirty_tree(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert describe(repository) == {"commit": commit, "dirty": False, "branch": "main"}
    (repository / "new.txt").write_text("untracked")
    assert describe(repository)["dirty"] is False
    (repository / "a.txt").write_text("changed")
    assert describe(repository)["dirty"] is True
    git(repository, "checkout", "--quiet", "--force", "--detach")
    assert describe(repository) == {"commit": commit, "dirty": False, "branch": None}


def test_describe_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"commit": None, "dirty": None, "branch": None}
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    assert describe(tmp_path / "plain") == nothing
    assert describe(tmp_path / "missing") == nothing
    (tmp_path / "fresh").mkdir()
    git(tmp_path / "fresh", "init", "--quiet")
    assert describe(tmp_path / "fresh") == {"commit": None, "dirty": None, "branch": "main"}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe(tmp_path) == nothing


def test_every_kind_of_change_is_seen(repository: Path) -> None:
    names = ["with space.txt", "new\nline.txt", "ünï.txt", '"quoted".txt', "sub/deep.txt"]
    for name in names:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("1")
    git(repository, "add", ".")
    git(repository, "mv", "a.txt", "renamed.txt")
    git(repository, "commit", "--quiet", "-m", "two")
    (repository / "b.txt").unlink()
    (repository / "staged.txt").write_text("1")
    git(repository, "add", "staged.txt")
    (repository / "sub" / "untracked.txt").write_text("1")
    (repository / "ignored.txt").write_text("1")
    expected = {*names, "a.txt", "renamed.txt", "b.txt", "staged.txt", "sub/untracked.txt"}
    assert changed_files("HEAD~1", repository / "sub") == {repository / name for name in expected}
    assert changed_files("HEAD", repository) == {
        repository / name for name in ("b.txt", "staged.txt", "sub/untracked.txt")
    }


@pytest.mark.skipif(sys.platform == "darwin", reason="this file system takes Unicode names only")
def test_a_file_name_that_is_not_unicode(repository: Path) -> None:
    raw = os.fsencode(repository) + b"/\xff.txt"
    Path(os.fsdecode(raw)).write_text("1")
    assert changed_files("HEAD", repository) == {Path(os.fsdecode(raw))}


def test_a_hooks_variables_do_not_lead_elsewhere(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = describe(repository)["commit"]
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert describe(repository) == {"commit": commit, "dirty": False, "branch": "main"}


@pytest.mark.parametrize("reference", ["nope", "", " ", "--output=x", "HEAD^{tree}", "a\0b", "HEAD~9", "main:a.txt"])
def test_an_unknown_revision_is_an_input_error(repository: Path, reference: str) -> None:
    with pytest.raises(InputError, match="git knows no revision") as caught:
        changed_files(reference, repository)
    assert "shallow" not in str(caught.value)
    assert not (repository / "x").exists()


def test_a_shallow_clone_says_how_to_get_the_history(repository: Path, tmp_path: Path) -> None:
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "two")
    git(tmp_path, "clone", "--quiet", "--depth=1", repository.as_uri(), "clone")
    with pytest.raises(InputError, match=r"shallow clone.*fetch-depth"):
        changed_files("HEAD~1", tmp_path / "clone")


def test_no_repository_and_no_git_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputError, match="not in a git repository"):
        changed_files("HEAD", tmp_path / "plain")
    with pytest.raises(InputError, match="no folder"):
        changed_files("HEAD", tmp_path / "missing")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git isn't installed"):
        changed_files("HEAD", tmp_path)
