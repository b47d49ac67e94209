"""A process that releases and promotes, to be killed: forks one writer for each line it reads from stdin.

    python prompt_writer.py PROMPTS

A line is a seed, and before which of its changes of the file system the writer is killed by its own hand (0: it goes on
until somebody else kills it). The writer's process id is printed, a dot for every step, and a line when it is gone.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from llmops.config import Config
from llmops.promotion import Promoter
from llmops.prompts import atomic
from llmops.prompts.releasing import release_one
from llmops.prompts.store import PromptStore

CHANGES = frozenset(("os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"))
SKILL = "---\nname: {name}\ndescription: Reads {seed} when asked for step {step}.\n---\n\nRead it.\n"


def step(root: Path, seed: str, number: int) -> None:
    """Edit, release and promote a prompt and a skill."""
    promoter = Promoter(Config(root.parent, prompts_dir=root), "writer")
    atomic.replace(root / "docs/answer.prompt.md", f"Answer {seed}, step {number}: {{{{ question }}}}\n".encode())
    atomic.replace(root / "tools/reader/SKILL.md", SKILL.format(name="reader", seed=seed, step=number).encode())
    atomic.replace(root / "tools/reader/notes/a.md", f"{seed} {number}\n".encode() * 200)
    for name in ("docs/answer", "tools/reader"):
        release_one(PromptStore(root), name)
        promoter.promote(name, "production", None, None)


def die_at(event: int) -> None:
    """Kill this process right before its n-th change of the file system."""
    left = event

    def hook(name: str, about: tuple[Any, ...]) -> None:
        nonlocal left
        if name in CHANGES or (name == "open" and about[2] & (os.O_WRONLY | os.O_RDWR)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def write(root: Path, seed: str, event: int) -> None:
    if event:
        die_at(event)
        step(root, seed, event)
        return
    number = 0
    while True:
        number += 1
        step(root, seed, number)
        os.write(1, b".")


def main() -> None:
    root = Path(sys.argv[1])
    os.write(1, b"ready\n")
    for line in sys.stdin:
        seed, event = line.split()
        child = os.fork()
        if not child:
            try:
                write(root, seed, int(event))
            except BaseException as error:
                os.write(1, f"failed: {error!r}\n".encode())
                os._exit(1)
            os._exit(0)
        os.write(1, f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        os.write(1, f"\ngone {os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    main()
