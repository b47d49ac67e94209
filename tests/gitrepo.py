"""Repositories of prompts for tests: the real `git`, nobody's configuration."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmops.config import Config
from llmops.errors import LlmopsError
from llmops.promotion import Move, Promoter
from llmops.prompts.releasing import release_one
from llmops.prompts.store import PromptStore

ISOLATED = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "protocol.file.allow",
    "GIT_CONFIG_VALUE_0": "always",
}
INHERITED = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "GITHUB_", "LLMOPS_"))}
ENVIRONMENT = {**INHERITED, **ISOLATED}


def git(folder: Path, *arguments: str, fails: bool = False) -> str:
    """What git prints; with `fails`, it must fail."""
    command = ["git", "-c", "commit.gpgsign=false", *arguments]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert bool(done.returncode) == fails, (arguments, done.stdout, done.stderr)
    return done.stdout.strip()


class Repository:
    """A repository, or a copy of its files, with prompts in a folder `prompts`, and what people do in it."""

    def __init__(self, top: Path, place: str = "prompts") -> None:
        self.top = top
        self.prompts = top / place

    @classmethod
    def new(cls, top: Path, place: str = "prompts") -> Repository:
        top.mkdir(parents=True)
        git(top, "init", "--quiet", "--initial-branch=main")
        return cls(top, place)

    def git(self, *arguments: str, fails: bool = False) -> str:
        return git(self.top, *arguments, fails=fails)

    def write(self, name: str, text: str) -> None:
        path = self.prompts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())

    def release(self, *names: str) -> None:
        for name in names:
            release_one(PromptStore(self.prompts), name)

    def promote(self, name: str, label: str = "production", version: int | None = None, by: str = "Ann") -> Move:
        return Promoter(Config(self.top, prompts_dir=self.prompts), by).promote(name, label, version, None)

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")

    def outcome(self, reference: str) -> str:
        """The text of the prompt that a reference leads to, or the error's line."""
        try:
            return PromptStore(self.prompts).load(reference, where="app.py:1").texts[-1][1]
        except LlmopsError as error:
            line = str(error)
            assert "\n" not in line
            return line


@contextmanager
def untouched(top: Path) -> Iterator[None]:
    """Fail unless the index, what is checked out and all files are as before, to the time of their last change."""
    before = _state(top)
    yield
    assert _state(top) == before


def _state(top: Path) -> object:
    files = {
        path: (path.lstat().st_mtime_ns, path.lstat().st_size, path.lstat().st_ino)
        for path in top.rglob("*")
        if not path.is_dir() and "objects" not in path.parts
    }
    return files, git(top, "--no-optional-locks", "status", "--porcelain"), git(top, "reflog")
