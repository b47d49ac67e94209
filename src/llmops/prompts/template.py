"""A prompt file, loaded: what it declares, and its messages compiled and ready to render."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops.attribution import rendered
from llmops.errors import LlmopsError, PromptError, did_you_mean
from llmops.prompts.compiling import TEMPLATE_FILE, Compiled, compile_message
from llmops.prompts.expanding import Sources
from llmops.prompts.frontmatter import FrontMatter
from llmops.prompts.images import ImageError, content_parts
from llmops.prompts.inputs import Input
from llmops.prompts.parsing import SUFFIX, Role
from llmops.prompts.reading import FEW_SHOT, Reading
from llmops.prompts.sandbox import MAX_OUTPUT, MAX_UNITS, BudgetContext, LimitError, MissingVariableError
from llmops.prompts.trees import WorkTree
from llmops.types import Message


@dataclass(frozen=True)
class FilePrompt:
    """A prompt from a file. Keeps what is needed to render it; nothing is read again.

    `content_id` is a sha256 (64 hex digits) over everything that decides a request: model, backend, parameters,
    inputs, tools, output schema, few-shot examples, and message templates with their partials. It stays the same
    when the description, tags, owner or place of the file change, and when the file is released.

    `version` is the release's number, None for a working file; `label` the label it was found by, `route` the one
    that chose it by share, `revision` the git revision it was read at. `texts` are the message templates with their
    partials in place. `files` are the prompt file and what it includes; `absent` are places where a partial was
    looked for before it was found.
    """

    name: str
    content_id: str
    front: FrontMatter
    texts: tuple[tuple[Role, str], ...]
    variables: frozenset[str]
    messages: tuple[tuple[Role, Compiled], ...] = field(repr=False)
    sources: Sources = field(repr=False, compare=False)
    files: tuple[Path, ...] = ()
    absent: tuple[Path, ...] = ()
    version: int | None = None
    label: str = ""
    route: str = ""
    revision: str = ""
    few_shot_at: int | None = None
    """Before which message the few-shot examples stand; None when there are none or the template writes them."""

    @property
    def reference(self) -> str:
        """What names exactly this prompt: `docs/answer@2`; the name alone for a working file."""
        found = f"{self.name}@{self.version}" if self.version is not None else self.name
        return f"{found}@git:{self.revision}" if self.revision else found

    @property
    def model(self) -> str:
        return self.front.model

    @property
    def backend(self) -> Any:
        return self.front.backend

    @property
    def parameters(self) -> Mapping[str, Any]:
        return deepcopy(self.front.parameters)  # a kept prompt is shared: nobody may change it for the others

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        return deepcopy(self.front.tools)

    @property
    def output_schema(self) -> Mapping[str, Any] | None:
        return deepcopy(self.front.output)

    @property
    def inputs(self) -> Mapping[str, Input]:
        """Declared inputs by name; empty when the front matter declares none."""
        return self.front.inputs or {}

    def render(self, variables: Mapping[str, Any] | None = None, /, **values: Any) -> tuple[Message, ...]:
        """The messages, `{"role", "content"}` each; `content` is a list of parts when the message has images.

        Variables are given by name, as a mapping, or both. A declared default stands in for a missing one. Raises
        `PromptError` when a variable is missing, not declared or of another type than declared, and when the
        template fails or goes over its limits.
        """
        if variables is not None and not isinstance(variables, Mapping):
            hint = "render(question=…), or a mapping of names to values"
            raise PromptError(f"prompt {self.reference}: render takes variables by name", hint=hint)
        given = values if variables is None else {**variables, **values}
        filled = self._values(given)
        made: list[Message] = []
        budget = _Budget()
        for role, compiled in self.messages:
            try:
                content = budget.render(compiled, filled)
            except Exception as problem:  # whatever an expression in the template ran into
                raise self._explain(problem, compiled, given) from problem
            made.append({"role": role, "content": content})
        if self.front.inputs is None:  # a name the template misses is a better explanation, so that came first
            self._check_known(given)
        if self.few_shot_at is not None:
            made[self.few_shot_at : self.few_shot_at] = self._few_shot()
        return rendered(made, self)

    def _check_known(self, given: Mapping[str, Any]) -> None:
        for name in given:
            if name not in self.variables:
                hint = did_you_mean(str(name), self.variables)
                raise PromptError(f"prompt {self.reference} has no input {name!r:.80}", hint=hint)

    def _few_shot(self) -> list[Message]:
        return [{"role": role, "content": row[role]} for row in self.front.few_shot for role in row]

    def _values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(given)
        declared = self.front.inputs
        if declared is not None:
            self._check_known(values)
            for name, one in declared.items():
                if name not in values:
                    if one.has_default:
                        values[name] = one.default
                    elif one.required:
                        raise self._missing(name, given, one.where)
                elif problem := one.problem(values[name]):
                    raise PromptError(f"prompt {self.reference}: {problem}", where=one.where)
        if self.front.few_shot and self.few_shot_at is None:
            values[FEW_SHOT] = list(self.front.few_shot)
        return values

    def _missing(self, name: str, given: Mapping[str, Any], where: str) -> PromptError:
        close = did_you_mean(name, map(str, given))
        hint = close if close.startswith("did") else f"given: {', '.join(map(str, given)) or 'nothing'}"
        return PromptError(f"prompt {self.reference} needs {name!r}", where=where, hint=hint)

    def _explain(self, problem: Exception, compiled: Compiled, given: Mapping[str, Any]) -> LlmopsError:
        where = self.sources.where(_line(problem, compiled))
        if isinstance(problem, MissingVariableError):
            return self._missing(problem.name, given, where)
        if isinstance(problem, LimitError):
            return PromptError(f"prompt {self.reference} stopped: {problem}", where=where)
        if isinstance(problem, UnicodeEncodeError):
            return PromptError(f"prompt {self.reference}: a value holds half of a surrogate pair, which isn't text")
        if isinstance(problem, RecursionError):
            return PromptError(f"prompt {self.reference}: a value is nested too deeply", where=where)
        own = isinstance(problem, ImageError) or type(problem).__module__.startswith("jinja2")
        kind = "" if own else f"{type(problem).__name__}: "
        return PromptError(f"prompt {self.reference}: {kind}{problem}"[:500], where=where)


class _Budget:
    """What one rendering of all messages may still use."""

    __slots__ = ("characters", "units")

    def __init__(self) -> None:
        self.characters = MAX_OUTPUT
        self.units = MAX_UNITS

    def render(self, compiled: Compiled, values: dict[str, Any]) -> str | list[dict[str, Any]]:
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
        return content_parts(pieces) if compiled.writes_images else text


def _line(problem: Exception, compiled: Compiled) -> int:
    """The numbered line of the template that was running."""
    trace, line = problem.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == TEMPLATE_FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return compiled.template.get_corresponding_lineno(line) if line else compiled.expanded.origin(1)


def compiled_prompt(read: Reading, **found: Any) -> FilePrompt:
    """A prompt ready to render. `found` says how it was found: `version`, `label`, `route`, `revision`."""
    checked = read.check()
    return FilePrompt(
        name=read.name,
        content_id=read.content_id,
        front=read.front,
        texts=read.texts,
        variables=frozenset(read.front.inputs if read.front.inputs is not None else read.used),
        messages=tuple(
            (role, compile_message(one, read.sources)) for (role, _), one in zip(read.expanded, checked, strict=True)
        ),
        sources=read.sources,
        files=read.files,
        absent=read.absent,
        few_shot_at=read.few_shot_at,
        **found,
    )


def load_prompt_file(path: Path, root: Path, *, name: str = "") -> FilePrompt:
    """Read, check and compile one file of the prompts folder `root`.

    Partials are looked for beside the file that includes them, then in `root`, and never outside `root`. `name`
    defaults to the path from `root` without `.prompt.md`. Raises `PromptError` with `file:line`.
    """
    tree = WorkTree(root)
    file = path.absolute().relative_to(tree.root).as_posix()
    return compiled_prompt(Reading(tree, file, name or file.removesuffix(SUFFIX)))
