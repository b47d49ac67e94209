"""Why a suite needs to run: which of its files are among the changed ones.

Python files are followed through their imports by reading them, never by importing. A file that code opens at run
time can't be seen; a suite lists such files itself.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def why_run(suite_path: Path, parts: Mapping[str, Sequence[Path]], changed: set[Path]) -> list[str]:
    """Reasons to run a suite, such as `prompt prompts/docs/answer.prompt.md changed`; none: it can be skipped.

    `parts` maps what a file is to the suite (`prompt`, `dataset`, `pipeline`, …) to its files or folders; a folder
    has changed when anything in it has. `changed` holds absolute paths. A symbolic link counts as changed when
    either it or its target is.
    """
    everything = changed | {folder for path in changed for folder in path.parents}
    reasons = [
        f"{kind} {_shown(path)} changed"
        for kind, paths in {"suite": [suite_path], **parts}.items()
        for path in dict.fromkeys(paths)
        if _spellings(path) & (everything if path.is_dir() else changed)
    ]
    return list(dict.fromkeys(reasons))


def _spellings(path: Path) -> set[Path]:
    """The absolute forms of a path that git might list: as written, with its folder resolved, and its target."""
    written = Path(os.path.normpath(path.absolute()))
    try:
        return {written, written.parent.resolve() / written.name, written.resolve()}
    except (OSError, RuntimeError):
        return {written}


def _shown(path: Path) -> str:
    written, here = Path(os.path.normpath(path.absolute())), Path.cwd()
    return str(written.relative_to(here) if written.is_relative_to(here) else written)


def python_dependencies(path: Path, root: Path) -> set[Path]:
    """`path` and every project file it imports, directly or not, as absolute paths.

    Absolute imports are looked for in the file's own folder, `path`'s folder, `root` and `root/src`; relative ones
    where they point. The `__init__.py` of each package on the way is included. Files that can't be parsed are
    listed, but not followed.
    """
    first = path.absolute()
    places = [first.parent, root.absolute(), root.absolute() / "src"]
    found, waiting = {first}, [first]
    while waiting:
        file = waiting.pop()
        for module in _imports(file):
            for imported in _locate(module, file, places):
                if imported not in found:
                    found.add(imported)
                    waiting.append(imported)
    return found


Import = tuple[int, tuple[str, ...], tuple[str, ...]]
"""Leading dots, the module's parts, and the names taken from it (which may be modules too)."""


def _imports(file: Path) -> Iterator[Import]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, tuple(alias.name.split(".")), ()
        elif isinstance(node, ast.ImportFrom):
            parts = tuple(node.module.split(".")) if node.module else ()
            yield node.level, parts, tuple(alias.name for alias in node.names)


def _locate(module: Import, file: Path, places: list[Path]) -> Iterator[Path]:
    dots, parts, names = module
    if dots:
        folder = file.parent
        for _ in range(dots - 1):
            folder = folder.parent
        yield from _module_files(folder, parts, names)
        return
    for place in dict.fromkeys((file.parent, *places)):
        here = list(_module_files(place, parts, names))
        if here:
            yield from here
            return


def _module_files(place: Path, parts: tuple[str, ...], names: tuple[str, ...]) -> Iterator[Path]:
    """Files of the module `parts` under `place`: each `__init__.py` above it, itself, submodules in `names`."""
    folder = place
    if not parts:
        yield from _existing(folder / "__init__.py")
    for part in parts:
        yield from _existing(folder / f"{part}.py")
        folder = folder / part
        yield from _existing(folder / "__init__.py")
    for name in names:
        if name != "*":
            yield from _existing(folder / f"{name}.py", folder / name / "__init__.py")


def _existing(*files: Path) -> Iterator[Path]:
    for file in files:
        try:
            if file.is_file():
                yield file
        except (OSError, ValueError):
            continue
