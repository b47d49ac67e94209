"""Prompts in the formats of other tools: read into ours, and written from ours."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.errors import InputError, LlmopsError, PromptError, did_you_mean
from llmops.prompts.formats.shapes import Exported, Imported

if TYPE_CHECKING:
    from llmops.prompts.template import FilePrompt

FORMATS = ("dotprompt", "langchain", "langfuse", "mlflow", "openai", "promptfoo", "prompty")
MAX_CHARACTERS = 5_000_000

__all__ = [
    "FORMATS", "Exported", "Imported", "from_langchain", "guess_format", "read_prompts", "to_langchain",
    "write_prompt",
]  # fmt: skip


def read_prompts(text: str, format: str, *, name: str = "") -> list[Imported]:
    """The prompts in a text of that format; several for a promptfoo file, or a JSON list of Langfuse or MLflow prompts.

    `name` is the file as errors show it; a prompt that has no name of its own is called after it. Raises
    `InputError` for an unknown format and `PromptError`, with `name:line` where the line is known, for a text that
    isn't of that format or can't be one of our prompts.
    """
    module = _module(format)
    file = name or format
    if len(text) > MAX_CHARACTERS:
        raise PromptError(f"more than {MAX_CHARACTERS:,} characters", where=file)
    from jinja2 import TemplateError

    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    try:
        made: list[Imported] = module.read(text, file)
    except LlmopsError as problem:
        problem.where = problem.where or file
        raise
    except TemplateError as problem:
        raise PromptError(f"not a template: {problem.message}", where=file) from None
    except (RecursionError, MemoryError):
        raise PromptError("nested too deeply", where=file) from None
    except UnicodeEncodeError:
        raise PromptError("holds half of a surrogate pair, which isn't text", where=file) from None
    return made


def write_prompt(prompt: FilePrompt, format: str) -> Exported:
    """The prompt as text of that format. Raises `InputError` for an unknown format."""
    try:
        made: Exported = _module(format).write(prompt)
    except RecursionError:
        raise PromptError(f"prompt {prompt.name} is nested too deeply") from None
    return made


def guess_format(path: Path, text: str) -> str:
    """The format of a file, by its suffix and by what is in it. Raises `InputError` when neither tells."""
    from llmops.prompts.formats.guessing import guess

    return guess(path, text)


def to_langchain(prompt: FilePrompt) -> Any:
    """A LangChain `ChatPromptTemplate` that renders the same messages.

    Declared defaults become partial variables. Model, parameters, tools and output schema have no place in a
    template; `write_prompt(prompt, "langchain").lost` lists them. Raises `MissingExtraError` without LangChain.
    """
    from llmops.prompts.formats.langchain_objects import to_template

    return to_template(prompt)


def from_langchain(template: Any) -> Imported:
    """A LangChain `ChatPromptTemplate` or `PromptTemplate` as one of our prompts.

    Raises `PromptError` for any other object and `MissingExtraError` without LangChain.
    """
    from llmops.prompts.formats.langchain import from_template

    return from_template(template)


def _module(format: str) -> Any:
    if format not in FORMATS:
        raise InputError(f"no prompt format is called {format!r:.60}", hint=did_you_mean(format, FORMATS))
    return import_module(f"llmops.prompts.formats.{format}")
