"""What a prompt declares about its variables, and the check of what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops.errors import PromptError, did_you_mean
from llmops.yamlfile import Document

_TYPES: dict[str, tuple[type, ...]] = {
    "any": (object,),
    "array": (list, tuple),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (Mapping,),
    "string": (str,),
}
_OTHER_NAMES = {
    "bool": "boolean", "dict": "object", "float": "number", "int": "integer", "list": "array", "str": "string",
    "text": "string",
}  # fmt: skip
_TAKEN = frozenset("and else false False if in is loop namespace none None not or range self true True".split())  # noqa: SIM905
_KEYS = ("default", "description", "enum", "example", "items", "required", "type")
_NO_DEFAULT = object()


@dataclass(frozen=True, slots=True)
class Input:
    """One declared variable. `where` is the `file:line` of its declaration."""

    name: str
    types: tuple[str, ...] = ("any",)
    description: str = ""
    required: bool = True
    default: Any = _NO_DEFAULT
    example: Any = None
    enum: tuple[Any, ...] | None = None
    items: tuple[str, ...] = ()
    where: str = field(default="", compare=False)

    @property
    def has_default(self) -> bool:
        return self.default is not _NO_DEFAULT

    def written(self) -> Any:
        """The declaration in its shortest form, as front matter has it."""
        form: dict[str, Any] = {} if self.types == ("any",) else {"type": _one_or_list(self.types)}
        if self.items:
            form["items"] = _one_or_list(self.items)
        if self.description:
            form["description"] = self.description
        if self.has_default:
            form["default"] = self.default
        if self.required == self.has_default:
            form["required"] = self.required
        if self.example is not None:
            form["example"] = self.example
        if self.enum is not None:
            form["enum"] = list(self.enum)
        return form.get("type", "any") if not form.keys() - {"type"} and isinstance(form.get("type", ""), str) else form

    def problem(self, value: Any) -> str:
        """Why `value` isn't allowed here, or nothing."""
        if "any" not in self.types and not any(_is(value, name) for name in self.types):
            return f"{self.name} is {type_name(value)}, not {' or '.join(self.types)}"
        if self.items and isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                if not any(_is(item, name) for name in self.items):
                    return f"{self.name}[{i}] is {type_name(item)}, not {' or '.join(self.items)}"
        if self.enum is not None and not any(type(value) is type(v) and value == v for v in self.enum):
            return f"{self.name} is {value!r:.60}, not one of {', '.join(map(str, self.enum))}"
        return ""


def _one_or_list(names: tuple[str, ...]) -> Any:
    return names[0] if len(names) == 1 else list(names)


def type_name(value: Any) -> str:
    """JSON Schema's name for the type of a value."""
    order = ("null", "boolean", "integer", "number", "string", "array", "object")
    return next((name for name in order if _is(value, name)), type(value).__name__)


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (type(value) is not bool or name in ("boolean", "any"))


def read_inputs(declared: Any, front: Document) -> dict[str, Input]:
    """The `inputs:` mapping of a front matter. Raises `PromptError` with `file:line`."""
    if not isinstance(declared, Mapping):
        raise PromptError(
            "inputs is a mapping of names to types",
            where=front.where(("inputs",)),
            hint="such as question: string",
        )
    return {name: _read(name, form, front) for name, form in declared.items()}


def _read(name: str, form: Any, front: Document) -> Input:
    path = ("inputs", name)
    if not name.isidentifier() or name in _TAKEN:
        raise PromptError(f"input {name!r} isn't a name a template can use", where=front.where(path))
    if form is None or isinstance(form, str):
        form = {"type": form or "any"}
    if not isinstance(form, Mapping):
        raise PromptError(f"input {name} is a type or a mapping", where=front.where(path), hint=f"{name}: string")
    for key in form:
        if key not in _KEYS:
            raise PromptError(
                f"input {name} has no {key!r}", where=front.where((*path, key)), hint=did_you_mean(key, _KEYS)
            )
    made = Input(
        name,
        types=_types(name, "type", form.get("type", "any"), front),
        items=_types(name, "items", form["items"], front) if "items" in form else (),
        description=_text(form.get("description"), name, "description", front),
        required=_flag(form.get("required", "default" not in form), name, front),
        default=form.get("default", _NO_DEFAULT),
        example=form.get("example"),
        enum=_enum(form.get("enum"), name, front),
        where=front.where(path),
    )
    if made.items and not {"array", "any"}.intersection(made.types):
        where = front.where((*path, "items"))
        raise PromptError(f"input {name}: items are of an array", where=where, hint="add type: array")
    for key in ("default", "example"):
        if key in form and made.problem(form[key]):
            raise PromptError(f"{key}: {made.problem(form[key])}", where=front.where((*path, key)))
    return made


def _types(name: str, key: str, form: Any, front: Document) -> tuple[str, ...]:
    names = form if isinstance(form, list) and form else [form]
    for one in names:
        one = "null" if one is None else one
        if not isinstance(one, str) or one not in _TYPES:
            other = _OTHER_NAMES.get(str(one).lower())
            hint = f"did you mean {other!r}?" if other else did_you_mean(str(one), _TYPES)
            raise PromptError(
                f"input {name}: no type is called {one!r:.60}",
                where=front.where(("inputs", name, key)),
                hint=hint,
            )
    return tuple("null" if one is None else one for one in names)


def _text(value: Any, name: str, key: str, front: Document) -> str:
    if value is not None and not isinstance(value, str):
        raise PromptError(f"input {name}: {key} is a text", where=front.where(("inputs", name, key)))
    return value or ""


def _flag(value: Any, name: str, front: Document) -> bool:
    if not isinstance(value, bool):
        raise PromptError(f"input {name}: required is true or false", where=front.where(("inputs", name, "required")))
    return value


def _enum(value: Any, name: str, front: Document) -> tuple[Any, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise PromptError(f"input {name}: enum is a list", where=front.where(("inputs", name, "enum")))
    return tuple(value)
