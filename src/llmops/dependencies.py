"""The files a suite depends on, found without importing or running any of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmops.config import FILE, Config
from llmops.evals.changed import (
    changed_imports,
    changed_modules,
    import_places,
    is_pattern,
    is_touched,
    matching,
    module_files,
    python_dependencies,
    with_folders,
)
from llmops.evals.suite import MetricSpec, Suite
from llmops.loading import is_path

Files = dict[str, tuple[Path, ...]]

MAX_PATH = 1000
MAX_SCHEMA_BYTES = 5_000_000
_REFERENCE = re.compile(r"""\$(?:dynamicRef|ref)["']?\s*:\s*["']?([^"'#\s,}\]]+)""")


def suite_files(suite: Suite, config: Config) -> Files:
    """Absolute paths by what they are to the suite: `suite`, `dataset`, `variant NAME`, `metric NAME`, `watch`.

    Only what the suite's hash may rest on: it is the same for the same files, whatever else has come or gone.
    `changed_parts` finds more.
    """
    found: Files = {"suite": (suite.path.resolve(),) if suite.path else ()}
    if suite.dataset_path:
        found["dataset"] = tuple(_data_files(suite.base / suite.dataset_path.partition("#")[0]))
    for variant in suite.variants:
        made = variant.options.get(variant.kind)
        if isinstance(made, str):
            found[f"variant {variant.name}"] = tuple(_variant_files(variant.kind, made, suite, config))
    for metric in suite.metrics:
        found.setdefault(f"metric {metric.spec.name}", ())
        found[f"metric {metric.spec.name}"] += tuple(
            _metric_files(metric.spec.name, _metric_options(metric), suite, config)
        )
    found["watch"] = tuple(match for pattern in suite.watch for match in _existing_matches(pattern, suite.base))
    return {what: paths for what, paths in found.items() if paths}


def changed_parts(suite: Suite, config: Config, changed: set[Path]) -> Files:
    """For `why_run`: `suite_files`, and everything in `changed` (absolute paths) that the suite may depend on.

    That adds the project's `llmops.yaml` (`settings`), data folders as a whole, whatever a string among the options
    of a variant or metric names, and what was deleted: modules, data, matches of `watch`. It would rather name one
    too many than miss one.
    """
    found = suite_files(suite, config)
    search = _Search(suite, config, changed)
    more: Files = {"settings": tuple(_settings(suite, config))}
    if suite.dataset_path:
        more["dataset"] = tuple(
            suite.base / place for place in (suite.dataset_path, suite.dataset_path.partition("#")[0])
        )
    for variant in suite.variants:
        made = variant.options.get(variant.kind)
        what = f"variant {variant.name}"
        more[what] = tuple(search.named(variant.options))
        if variant.kind == "prompt" and isinstance(made, str):
            more[what] += tuple(_absent_partials(made, config))
    for metric in suite.metrics:
        what = f"metric {metric.spec.name}"
        more[what] = (*more.get(what, ()), *search.named(_metric_options(metric)))
    more["watch"] = tuple(path for pattern in suite.watch for path in matching(pattern, suite.base, changed))
    return {
        what: tuple(dict.fromkeys((*found.get(what, ()), *more.get(what, ()))))
        for what in dict.fromkeys((*found, *more))
    }


class _Search:
    """Looks through options for names of changed files. Every string is taken for a path, as any may be one."""

    def __init__(self, suite: Suite, config: Config, changed: set[Path]) -> None:
        self._base = suite.base
        self._config = config
        self._changed = changed
        self._everything = with_folders(changed)

    def named(self, options: Any) -> Iterator[Path]:
        for text in dict.fromkeys(_strings(options, self._config.backends)):
            if 0 < len(text) < MAX_PATH and text.strip("/ ") and "\0" not in text:
                yield from self._paths(text)
                yield from self._code(text)

    def _paths(self, text: str) -> Iterator[Path]:
        spelt_as_path = "/" in text or "." in text
        for folder in dict.fromkeys((self._base, *((self._config.root, Path.cwd()) if spelt_as_path else ()))):
            for name in dict.fromkeys((text, text.partition("#")[0], text.rpartition(":")[0])):
                for path in self._with_references(folder / name) if name.strip("/ ") else ():
                    if is_touched(path, self._changed, self._everything):
                        yield path
            if is_pattern(text):
                yield from matching(text, folder, self._changed)

    def _with_references(self, path: Path) -> Iterator[Path]:
        """`path`, and the files that `$ref` leads to when it is a schema."""
        seen, waiting = {path}, [path]
        while waiting:
            file = waiting.pop()
            yield file
            new = [Path(os.path.normpath(file.parent / name)) for name in _references(file)]
            waiting += [other for other in dict.fromkeys(new) if other not in seen]
            seen.update(new)

    def _code(self, text: str) -> Iterator[Path]:
        place = text.rpartition(":")[0] or text
        root, base = self._config.root, self._base
        if "://" in text or (is_path(place) and not place.endswith(".py")):
            return
        for file in [base / place] if is_path(place) else _module(place, base, root):
            yield from sorted(changed_imports(file.resolve(), root, self._changed, base))
        if not is_path(place) and ":" in text:
            for folder in dict.fromkeys((*import_places(root, base), Path.cwd())):
                yield from sorted(changed_modules(place, folder, self._changed))


def _strings(value: Any, backends: Mapping[str, Any]) -> Iterator[str]:
    """Every string in nested options, with the settings of the backends from `llmops.yaml` that they name."""
    waiting, used = [value], set[str]()
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
            if item in backends and item not in used:
                used.add(item)
                waiting.append(backends[item])
        elif isinstance(item, Mapping):
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)


def _settings(suite: Suite, config: Config) -> Iterator[Path]:
    """Where `llmops.yaml` is, or would be were it not deleted: beside the suite and in the folders above."""
    for folder in (suite.base, *suite.base.parents):
        yield folder / FILE
        if config.where and folder == config.root:
            return


def _references(file: Path) -> list[str]:
    if file.suffix.lower() not in (".json", ".yaml", ".yml"):
        return []
    try:
        text = file.read_text("utf-8", "replace") if file.stat().st_size <= MAX_SCHEMA_BYTES else ""
    except (OSError, ValueError):
        return []
    return [name for name in _REFERENCE.findall(text) if "://" not in name]


def _absent_partials(reference: str, config: Config) -> tuple[Path, ...]:
    from llmops.prompts.store import PromptStore

    return tuple(PromptStore(config.prompts_dir).load(reference).absent)


def _metric_options(metric: MetricSpec) -> dict[str, Any]:
    return {"value": metric.spec.value, **metric.spec.options}


def _existing_matches(pattern: str, base: Path) -> Iterator[Path]:
    try:
        yield from (match.resolve() for match in sorted(base.glob(pattern)) if match.is_file())
    except (OSError, ValueError, NotImplementedError):
        return


def _variant_files(kind: str, made: str, suite: Suite, config: Config) -> Iterator[Path]:
    if kind == "prompt":
        from llmops.prompts.store import PromptStore

        yield from PromptStore(config.prompts_dir).files(made)
    elif kind == "recorded":
        yield (suite.base / made).resolve()
    else:
        yield from _code(made, suite.base, config.root)


def _metric_files(name: str, options: Mapping[str, Any], suite: Suite, config: Config) -> Iterator[Path]:
    for value in options.values():
        if not isinstance(value, str):
            continue
        if name == "python":
            yield from _code(value, suite.base, config.root)
        elif len(value) < MAX_PATH and "\0" not in value and _is_file(suite.base / value):
            yield (suite.base / value).resolve()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the file system
        return False


def _code(target: str, base: Path, root: Path) -> Iterator[Path]:
    place = target.rpartition(":")[0]
    if not place or "://" in target or "\0" in target:
        return
    files = [base / place] if is_path(place) else _module(place, base, root)
    found = {d for file in files if _is_file(file) for d in python_dependencies(file.resolve(), root, base)}
    yield from sorted(found)


def _module(name: str, base: Path, root: Path) -> list[Path]:
    parts = name.split(".")
    return module_files(name, import_places(root, base)) if all(part.isidentifier() for part in parts) else []


def _data_files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (p.resolve() for p in sorted(path.rglob("*")) if p.is_file())
    else:
        yield path.resolve()
