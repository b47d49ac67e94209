"""JSON whose strings are Jinja2 templates, rendered in a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmops.errors import InputError, PipelineError

Render = Callable[[Mapping[str, Any]], Any]


def compile_template(value: Any, *, where: str = "") -> Render:
    """A function from variables to JSON. A string that is one `{{ expression }}` gives the value with its type.

    Raises `InputError` on a template that can't be parsed; the function raises `PipelineError` when one can't be
    rendered, such as when a variable isn't there.
    """
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # JSON needs no HTML escaping, and the rendered strings are encoded as JSON afterwards
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    return _compile(value, environment, "request", where)


def _compile(value: Any, environment: Any, place: str, where: str) -> Render:
    if isinstance(value, str):
        return _compile_text(value, environment, place, where)
    if isinstance(value, Mapping):
        parts = {k: _compile(v, environment, f"{place}.{k}", where) for k, v in value.items()}
        return lambda variables: {k: render(variables) for k, render in parts.items()}
    if isinstance(value, (list, tuple)):
        items = [_compile(v, environment, f"{place}.{i}", where) for i, v in enumerate(value)]
        return lambda variables: [render(variables) for render in items]
    return lambda variables: value


def _compile_text(text: str, environment: Any, place: str, where: str) -> Render:
    from jinja2 import TemplateError

    if "{{" not in text and "{%" not in text and "{#" not in text:
        return lambda variables: text
    try:
        expression = _single_expression(text, environment)
        if expression is not None:
            compiled = environment.compile_expression(expression, undefined_to_none=False)
            return lambda variables: _evaluated(compiled, variables, place)
        template = environment.from_string(text)
    except (TemplateError, RecursionError, OverflowError, UnicodeError, MemoryError) as error:
        raise InputError(f"{place}: not a valid template: {error}", where=where) from None
    return lambda variables: _guarded(lambda: template.render(variables), place)


def _single_expression(text: str, environment: Any) -> str | None:
    from jinja2 import nodes

    body = environment.parse(text.strip()).body
    single = len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1
    if not single or isinstance(body[0].nodes[0], nodes.TemplateData):
        return None
    stripped = text.strip()
    if not (stripped.startswith("{{") and stripped.endswith("}}")):
        return None
    return stripped[2:-2].strip("+-" if stripped[2:3] in "+-" else "").strip() or None


def _evaluated(compiled: Any, variables: Mapping[str, Any], place: str) -> Any:
    from jinja2 import Undefined

    value = _guarded(lambda: compiled(**variables), place)
    if isinstance(value, Undefined):
        _guarded(lambda: str(value), place)  # raises, with the name of what is missing
    return value


def _guarded(render: Callable[[], Any], place: str) -> Any:
    from jinja2 import UndefinedError

    try:
        return render()
    except UndefinedError as error:
        raise PipelineError(f"{place}: {error.message}", hint="is it an input of the case?") from None
    except Exception as error:
        raise PipelineError(f"{place} can't be rendered: {type(error).__name__}: {error}") from None
