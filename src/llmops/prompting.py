"""`load_prompt`: what an application calls. Apart from the rest of the SDK, so that it needs no store to be loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.config import load_config
from llmops.types import Prompt

if TYPE_CHECKING:
    from llmops.prompts.store import PromptStore


def load_prompt(
    reference: str, *, root: str | Path | None = None, key: str | None = None, reload: bool = False
) -> Prompt:
    """A prompt by reference, from the project's `prompts/` folder or `root`.

    `docs/answer` is the working file, `docs/answer@production` what a label points at; `@2`, `@latest`, a content id
    and `@git:<revision>` name other versions. `key` decides, always alike, where a label is a route that shares
    traffic between versions. What was loaded stays until a call with `reload`, which looks at the files again.
    Threads may call it.

    `load_prompt("docs/answer").render(question="…")` gives its messages. Raises `PromptError` and `NotFoundError`.
    """
    return prompt_store(root).load(reference, key=key, again=reload)


def prompt_store(root: str | Path | None = None) -> PromptStore:
    """The store of the project's prompts, or of those under `root`; one for each folder."""
    wanted = (os.getcwd(), "" if root is None else str(root))  # noqa: PTH109  (Path.cwd takes 5 µs)
    store = _PROMPTS.get(wanted)
    if store is None:
        from llmops.prompts.store import PromptStore

        folder = Path(root) if root is not None else load_config(Path.cwd()).prompts_dir
        store = _PROMPTS.setdefault(wanted, PromptStore(folder, watch=False))
    return store


_PROMPTS: dict[tuple[str, str], PromptStore] = {}
