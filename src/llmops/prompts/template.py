"""A prompt file, ready to render: `load_prompt_file` reads and checks it, `FilePrompt.render` fills it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops.errors import LlmopsError, PromptError, did_you_mean
from llmops.identity import content_hash
from llmops.prompts.compiling import TEMPLATE_FILE, Compiled, Sources, compile_message, shown
from llmops.prompts.frontmatter import FrontMatter, read_front_matter
from llmops.prompts.inputs import Input
from llmops.prompts.parsing import MAX_SOURCE_BYTES, Role, decode, parse
from llmops.prompts.sandbox import MAX_OUTPUT, MAX_UNITS, BudgetContext, LimitError, MissingVariableError
from llmops.types import Message

SUFFIX = ".prompt.md"


@dataclass(frozen=True)
class FilePrompt:
    """A prompt from a file. Keeps what is needed to render it; nothing is read again.

    `content_id` is a sha256 (64 hex digits) over everything that decides a request: model, backend, parameters,
    inputs, tools, output schema, message templates and partials. It stays the same when the description, tags,
    owner or place of the file change. `files` are the prompt file and its partials; `absent` are places where a
    partial was looked for before it was found.
    """

    name: str
    content_id: str
    front: FrontMatter
    files: tuple[Path, ...]
    absent: tuple[Path, ...]
    variables: frozenset[str]
    messages: tuple[tuple[Role, Compiled], ...] = field(repr=False)
    sources: Sources = field(repr=False, compare=False)

    @property
    def model(self) -> str:
        return self.front.model

    @property
    def backend(self) -> Any:
        return self.front.backend

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self.front.parameters

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        return self.front.tools

    @property
    def output_schema(self) -> Mapping[str, Any] | None:
        return self.front.output

    @property
    def inputs(self) -> Mapping[str, Input]:
        """Declared inputs by name; empty when the front matter declares none."""
        return self.front.inputs or {}

    def render(self, variables: Mapping[str, Any]) -> tuple[Message, ...]:
        """The messages, `{"role", "content"}` each.

        A declared default stands in for a missing variable. Raises `PromptError` when a variable is missing, not
        declared or of another type than declared, and when the template fails or goes over its limits.
        """
        values = self._values(variables)
        made: list[Message] = []
        budget = _Budget()
        for role, compiled in self.messages:
            try:
                text = budget.render(compiled, values)
            except Exception as problem:  # whatever an expression in the template ran into
                raise self._explain(problem, compiled, variables) from problem
            made.append({"role": role, "content": text})
        return tuple(made)

    def _values(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(variables)
        declared = self.front.inputs
        if declared is None:
            return values
        for name in values:
            if name not in declared:
                raise PromptError(f"prompt {self.name} has no input {name!r}", hint=did_you_mean(str(name), declared))
        for name, one in declared.items():
            if name not in values:
                if one.has_default:
                    values[name] = one.default
                elif one.required:
                    raise self._missing(name, variables, one.where)
            elif problem := one.problem(values[name]):
                raise PromptError(f"prompt {self.name}: {problem}", where=one.where)
        return values

    def _missing(self, name: str, given: Mapping[str, Any], where: str) -> PromptError:
        close = did_you_mean(name, map(str, given))
        hint = close if close.startswith("did") else f"given: {', '.join(map(str, given)) or 'nothing'}"
        return PromptError(f"prompt {self.name} needs {name!r}", where=where, hint=hint)

    def _explain(self, problem: Exception, compiled: Compiled, given: Mapping[str, Any]) -> LlmopsError:
        where = self.sources.where(_line(problem, compiled))
        if isinstance(problem, MissingVariableError):
            return self._missing(problem.name, given, where)
        if isinstance(problem, LimitError):
            return PromptError(f"prompt {self.name} stopped: {problem}", where=where)
        if isinstance(problem, UnicodeEncodeError):
            return PromptError(f"prompt {self.name}: a value holds half of a surrogate pair, which isn't text")
        if isinstance(problem, RecursionError):
            return PromptError(f"prompt {self.name}: a value is nested too deeply", where=where)
        kind = "" if type(problem).__module__.startswith("jinja2") else f"{type(problem).__name__}: "
        return PromptError(f"prompt {self.name}: {kind}{problem}"[:500], where=where)


class _Budget:
    """What one rendering of all messages may still use."""

    __slots__ = ("characters", "units")

    def __init__(self) -> None:
        self.characters = MAX_OUTPUT
        self.units = MAX_UNITS

    def render(self, compiled: Compiled, values: dict[str, Any]) -> str:
        template = compiled.template
        context = template.new_context(values)
        assert isinstance(context, BudgetContext)
        context.left = self.units
        pieces = list(template.root_render_func(context))
        self.units = context.left
        self.characters -= sum(map(len, pieces))
        if self.characters < 0:
            raise LimitError(f"its messages have more than {MAX_OUTPUT:,} characters")
        text = "".join(pieces)
        if not text.isascii():
            text.encode()  # half a surrogate pair can't be sent to any model
        return text


def _line(problem: Exception, compiled: Compiled) -> int:
    """The numbered line of the template that was running."""
    trace, line = problem.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == TEMPLATE_FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return compiled.template.get_corresponding_lineno(line) if line else compiled.line


def load_prompt_file(path: Path, root: Path, *, name: str = "") -> FilePrompt:
    """Read, check and compile a prompt file.

    Partials are looked for beside the file that includes them, then in `root`, and never outside `root`. `name`
    defaults to the path from `root` without `.prompt.md`. Raises `PromptError` with `file:line`.
    """
    parsed = parse(_read(path, where=f"{shown(path)}:1"), shown(path))
    front = read_front_matter(parsed.front)
    finder = _Finder(root)
    sources = Sources(finder.find, [path])
    messages = tuple((m.role, compile_message(m.text, 0, m.line, sources)) for m in parsed.messages)
    used: dict[str, int] = {}
    for _, compiled in messages:
        for variable, line in compiled.variables.items():
            used.setdefault(variable, line)
    if front.inputs is not None:
        _check_declared(used, front.inputs, sources)
    texts = [[m.role, m.text] for m in parsed.messages]
    return FilePrompt(
        name=name or _name(path, root),
        content_id=content_hash({"messages": texts, "partials": sources.partials, **front.deciding()}),
        front=front,
        files=tuple(sources.files),
        absent=tuple(finder.absent),
        variables=frozenset(front.inputs if front.inputs is not None else used),
        messages=messages,
        sources=sources,
    )


def _check_declared(used: Mapping[str, int], declared: Mapping[str, Input], sources: Sources) -> None:
    for name, line in used.items():
        if name not in declared:
            close = did_you_mean(name, declared)
            hint = close if close.startswith("did") else "add it to inputs in the front matter"
            raise PromptError(
                f"the template uses {name!r}, which inputs doesn't declare", where=sources.where(line), hint=hint
            )


def _name(path: Path, root: Path) -> str:
    inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return inside.as_posix().removesuffix(SUFFIX)


def _read(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SOURCE_BYTES + 1)
    except (OSError, ValueError) as problem:
        raise PromptError(f"can't be read: {getattr(problem, 'strerror', '') or problem}", where=where) from None
    return decode(data, shown(path))


class _Finder:
    """Finds partials for one load, and remembers the places where there was none."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.absent: list[Path] = []

    def find(self, name: str, includer: Path, where: str) -> tuple[Path, str]:
        parts = name.split("/")
        if not name.strip() or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
            hint = "name a file in the prompt's folder or from the prompts folder"
            raise PromptError(f"include of {name!r:.80} isn't allowed", where=where, hint=hint)
        for folder in dict.fromkeys((includer.parent, self.root)):
            path = folder / name
            if not is_file(path):
                self.absent.append(path)
                continue
            if not is_inside(path, self.root):
                raise PromptError(f"include of {name!r} leads outside the prompts folder", where=where)
            return path, _read(path, where)
        near = [p.relative_to(includer.parent).as_posix() for p in includer.parent.glob("_*") if p.is_file()]
        raise PromptError(f"no partial {name!r:.80}", where=where, hint=did_you_mean(name, near))


def is_file(path: Path) -> bool:
    """True for a regular file; false for names no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_inside(path: Path, root: Path) -> bool:
    """True when `path` is in `root` once symbolic links are followed."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        return False
