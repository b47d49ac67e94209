"""A user's Python function, by `path.py:function` or `package.module:function`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from llmops.errors import InputError, LlmopsError, did_you_mean, said


def load_callable(target: str, *, base: Path, where: str = "") -> Callable[..., Any]:
    """The function (or other callable) that `target` names; see `load_object`. Raises `InputError`."""
    found = load_object(target, base=base, where=where)
    if not callable(found):
        raise InputError(f"{target} is {type(found).__name__}, not a function", where=where)
    result: Callable[..., Any] = found
    return result


def load_object(target: str, *, base: Path, where: str = "") -> Any:
    """Import and return what `target` names; a relative path starts at `base`.

    A file's own folder is put on `sys.path`, so that it can import its neighbours. Raises `InputError` when
    there is no such file, module or function, or when importing it fails (with the line that failed).
    """
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not attribute:
        hint = "write path.py:function or package.module:function"
        raise InputError(f"{target!r} doesn't name a function", where=where, hint=hint)
    module = _load_file(place, base, where) if is_path(place) else _import(place, base, where)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
            raise InputError(f"{place} has no {attribute!r}", where=where, hint=did_you_mean(attribute, public))
        found = getattr(found, part)
    return found


def is_path(place: str) -> bool:
    """True for `path.py`, false for `package.module`."""
    return place.endswith(".py") or "/" in place or "\\" in place


def _load_file(place: str, base: Path, where: str) -> ModuleType:
    path = (base / place).resolve()
    if not path.is_file():
        raise InputError(f"no file {place}", where=where, hint=f"looked in {base}")
    # The content is part of the name: a file that was edited is another module, also within one process.
    identity = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:12]
    name = f"_llmops_user_{path.stem}_{identity}"
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{place} isn't a Python file", where=where)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        raise _explain(error, place, where) from error
    return module


def _import(place: str, base: Path, where: str) -> ModuleType:
    if str(base) not in sys.path:
        sys.path.insert(0, str(base))
    try:
        return importlib.import_module(place)
    except BaseException as error:
        raise _explain(error, place, where) from error


def _explain(error: BaseException, place: str, where: str) -> BaseException:
    if isinstance(error, (KeyboardInterrupt, LlmopsError)):
        return error
    at, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<frozen") and file != __file__:
            at = f" at {Path(file).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return InputError(f"importing {place} failed{at}: {type(error).__name__}: {said(error)}", where=where)
