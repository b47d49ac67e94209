"""Why a suite needs to run: which of its files are among the changed ones.

Python files are followed through their imports by reading them, never by importing. A file that code opens at run
time can't be seen; a suite lists such files itself.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path


def why_run(suite_path: Path, parts: Mapping[str, Sequence[Path]], changed: set[Path]) -> list[str]:
    """Reasons to run a suite, such as `prompt prompts/docs/answer.prompt.md changed`; none: it can be skipped.

    `parts` maps what a file is to the suite (`prompt`, `dataset`, `pipeline`, …) to its files or folders, whether
    they exist or not; a folder has changed when anything in it has, or had. `changed` holds absolute paths. A
    symbolic link counts as changed when either it or its target is.
    """
    everything = with_folders(changed)
    reasons = [
        f"{kind} {_shown(path)} changed"
        for kind, paths in {"suite": [suite_path], **parts}.items()
        for path in dict.fromkeys(paths)
        if is_touched(path, changed, everything)
    ]
    return list(dict.fromkeys(reasons))


def with_folders(changed: set[Path]) -> set[Path]:
    """`changed` and every folder above one of them."""
    return changed | {folder for path in changed for folder in path.parents}


def is_touched(path: Path, changed: set[Path], everything: set[Path]) -> bool:
    """True when `path`, something in it, or a link or submodule it lies in changed (`with_folders` gives the third)."""
    spellings = _spellings(path)
    # git lists a submodule and a link to a folder by its own name only, without what is in it.
    return bool(spellings & everything) or any(not changed.isdisjoint(spelling.parents) for spelling in spellings)


def matching(pattern: str, base: Path, changed: Iterable[Path]) -> Iterator[Path]:
    """Those of `changed` that a glob starting at `base` matches, existing or not.

    `**` is any number of folders. A pattern that ends in `**` or in a plain name covers all that is below, too.
    """
    parts = Path(os.path.normpath(pattern)).parts
    folder = base
    while parts[:1] == ("..",):
        folder, parts = folder.parent, parts[1:]
    if Path(pattern).is_absolute():
        folder, parts = Path(parts[0]), parts[1:]
    for path in changed:
        if path.is_relative_to(folder) and _matches(parts, path.relative_to(folder).parts):
            yield path


def is_pattern(text: str) -> bool:
    """True when `text` has one of the characters that make it a glob."""
    return any(sign in text for sign in "*?[")


def _matches(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Follows all positions in `pattern` at once, so that many `**` cost no more than one."""
    end = len(pattern)
    covers_below = not pattern or pattern[-1] == "**" or not is_pattern(pattern[-1])
    places = _skipping({0}, pattern)
    for part in parts:
        if end in places and covers_below:
            return True
        stays = {i for i in places if i < end and pattern[i] == "**"}
        moves = {i + 1 for i in places - stays if i < end and fnmatchcase(part, pattern[i])}
        places = _skipping(stays | moves, pattern)
    return end in places


def _skipping(places: set[int], pattern: tuple[str, ...]) -> set[int]:
    reached = set(places)
    for i, part in enumerate(pattern):
        if i in reached and part == "**":
            reached.add(i + 1)
    return reached


def _spellings(path: Path) -> set[Path]:
    """The absolute forms of a path that git might list: as written, with its folder resolved, and its target."""
    written = Path(os.path.normpath(path.absolute()))
    try:
        return {written, written.parent.resolve() / written.name, written.resolve()}
    except (OSError, RuntimeError, ValueError):
        return {written}


def _shown(path: Path) -> str:
    written, here = Path(os.path.normpath(path.absolute())), Path.cwd()
    return str(written.relative_to(here) if written.is_relative_to(here) else written)


def python_dependencies(path: Path, root: Path, base: Path | None = None) -> set[Path]:
    """`path` and every project file it imports, directly or not, as absolute paths.

    Absolute imports are looked for in the file's own folder, `path`'s folder, `base`, `root` and `root/src`;
    relative ones where they point. The `__init__.py` of each package on the way is included. Files that can't be
    parsed are listed, but not followed.
    """
    first = path.absolute()
    places = [first.parent, *import_places(root, base)]
    found, waiting = {first}, [first]
    while waiting:
        file = waiting.pop()
        for module in _imports(file):
            for imported in _locate(module, file, places):
                if imported not in found:
                    found.add(imported)
                    waiting.append(imported)
    return found


def import_places(root: Path, base: Path | None = None) -> list[Path]:
    """The folders that modules of a project are looked for in: the suite's own, the project's, and its `src`."""
    return [*([base.absolute()] if base else []), root.absolute(), root.absolute() / "src"]


def changed_imports(path: Path, root: Path, changed: set[Path], base: Path | None = None) -> set[Path]:
    """Those of `changed` that an import in `path` or in its dependencies could mean.

    Unlike `python_dependencies` this finds deleted modules, and looks in every place instead of the first that fits.
    """
    if not any(file.suffix == ".py" for file in changed):
        return set()
    places = [path.absolute().parent, *import_places(root, base)]
    seen: set[tuple[Path, Import]] = set()
    for file in python_dependencies(path, root, base):
        for module in _imports(file):
            seen.update((folder, (0, *module[1:])) for folder in _folders(module, file, places))
    return {candidate for folder, module in seen for candidate in _candidates(folder, module, changed)}


def changed_modules(name: str, folder: Path, changed: set[Path]) -> set[Path]:
    """Those of `changed` that are the module `name` (dotted) under `folder`, or a package on the way to it."""
    return set(_candidates(folder, (0, tuple(name.split(".")), ()), changed))


def module_files(name: str, places: Iterable[Path]) -> list[Path]:
    """Existing files of the module `name` (dotted), its packages first, in the first of `places` that has it whole."""
    parts = tuple(name.split("."))
    for place in places:
        last = place.joinpath(*parts)
        if list(_existing(last.with_name(last.name + ".py"), last / "__init__.py")):
            return list(_module_files(place, parts, ()))
    return []


def _candidates(folder: Path, module: Import, changed: set[Path]) -> Iterator[Path]:
    _, parts, names = module
    for candidate in _module_paths(folder, parts, names):
        yield from changed.intersection((candidate, *_real(candidate)))
    if "*" in names:  # may import any module of the package
        inside = folder.joinpath(*parts, "_")
        packages = {place.parent for place in (inside, *_real(inside))}
        yield from (file for file in changed if file.parent in packages)


def _real(path: Path) -> tuple[Path, ...]:
    try:
        return (path.parent.resolve() / path.name,) if path.parent.exists() else ()
    except (OSError, RuntimeError, ValueError):
        return ()


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
    for place in _folders(module, file, places):
        here = list(_module_files(place, *module[1:]))
        if here:
            yield from here
            return


def _folders(module: Import, file: Path, places: Iterable[Path]) -> Iterable[Path]:
    """Where to look for what `file` imports: one folder for a relative import, several for an absolute one."""
    if not module[0]:
        return dict.fromkeys((file.parent, *places))
    return [file.parents[min(module[0], len(file.parents)) - 1]]


def _module_files(place: Path, parts: tuple[str, ...], names: tuple[str, ...]) -> Iterator[Path]:
    return _existing(*_module_paths(place, parts, names))


def _module_paths(place: Path, parts: tuple[str, ...], names: tuple[str, ...]) -> Iterator[Path]:
    """Where the module `parts` may be under `place`: each `__init__.py` above it, itself, submodules in `names`."""
    folder = place
    if not parts:
        yield folder / "__init__.py"
    for part in parts:
        yield folder / f"{part}.py"
        folder = folder / part
        yield folder / "__init__.py"
    for name in names:
        if name != "*":
            yield from (folder / f"{name}.py", folder / name / "__init__.py")


def _existing(*files: Path) -> Iterator[Path]:
    for file in files:
        try:
            if file.is_file():
                yield file
        except (OSError, ValueError):
            continue
