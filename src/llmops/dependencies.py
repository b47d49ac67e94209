"""The files a suite depends on, found without importing or running any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmops.config import Config
from llmops.evals.changed import python_dependencies
from llmops.evals.suite import Suite
from llmops.loading import is_path

Files = dict[str, tuple[Path, ...]]


def suite_files(suite: Suite, config: Config) -> Files:
    """Absolute paths by what they are to the suite: `suite`, `dataset`, `variant NAME`, `metric NAME`, `watch`."""
    found: Files = {"suite": (suite.path.resolve(),) if suite.path else ()}
    if suite.dataset_path:
        found["dataset"] = tuple(_data_files(suite.base / suite.dataset_path.partition("#")[0]))
    for variant in suite.variants:
        made = variant.options.get(variant.kind)
        if isinstance(made, str):
            found[f"variant {variant.name}"] = tuple(_variant_files(variant.kind, made, suite, config))
    for metric in suite.metrics:
        options = {"value": metric.spec.value, **metric.spec.options}
        found.setdefault(f"metric {metric.spec.name}", ())
        found[f"metric {metric.spec.name}"] += tuple(_metric_files(metric.spec.name, options, suite, config))
    matches = (match for pattern in suite.watch for match in suite.base.glob(pattern))
    found["watch"] = tuple(match.resolve() for match in matches if match.is_file())
    return {what: paths for what, paths in found.items() if paths}


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
        elif len(value) < 1000 and "\0" not in value and (suite.base / value).is_file():
            yield (suite.base / value).resolve()


def _code(target: str, base: Path, root: Path) -> Iterator[Path]:
    place = target.rpartition(":")[0]
    if not place or "://" in target:
        return
    path = base / place if is_path(place) else _module_file(place, base)
    if path is not None and path.is_file():
        yield from sorted(python_dependencies(path.resolve(), root))


def _module_file(name: str, base: Path) -> Path | None:
    path = base / Path(*name.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def _data_files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (p.resolve() for p in sorted(path.rglob("*")) if p.is_file())
    else:
        yield path.resolve()
