"""The project: its folder, `llmops.yaml`, and where its runs are kept."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from llmops.errors import ConfigError, did_you_mean
from llmops.yamlfile import Document, expand, load_yaml

FILE = "llmops.yaml"
DATABASE_URL = "LLMOPS_DATABASE_URL"
_MARKS = (".git", "pyproject.toml", "prompts", "evals")
_KEYS = ("store", "prompts", "backends", "require_evidence", "prices", "budgets", "calls", "telemetry")


@dataclass(frozen=True)
class Config:
    """Settings of a project. `store` is a path or URL, or empty for the default; `backends` are named short forms.

    `require_evidence` are labels that a prompt gets only with a passing run, each with the suites the run has to be of
    one of (empty: any). `prices` is the path of a price file or its content, `budgets` a list of rules, `calls` what
    is kept of calls, `telemetry` where they are sent. `secrets` are values from the environment that must not be
    shown; `document` finds a key's line.
    """

    root: Path
    store: str = ""
    prompts_dir: Path = field(default_factory=Path)
    backends: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""
    secrets: tuple[str, ...] = ()
    require_evidence: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prices: Path | Mapping[str, Any] | None = None
    budgets: tuple[Any, ...] = ()
    calls: CallSettings = field(default_factory=lambda: CallSettings())
    telemetry: Mapping[str, Any] = field(default_factory=dict)
    document: Document | None = field(default=None, compare=False, repr=False)

    def where_of(self, *keys: Any) -> str:
        """`file:line` of a key of llmops.yaml."""
        return self.where if self.document is None else self.document.where(keys)


@dataclass(frozen=True)
class CallSettings:
    """What is kept of calls: texts at all (`keep_text`), for how many days, and the rows themselves (None: for ever).

    `on_failure` is what happens when the log can't be written: `raise` refuses the call, `warn` lets it go.
    """

    keep_text: bool = False
    text_days: int = 30
    days: int | None = None
    on_failure: Literal["raise", "warn"] = "raise"


def project_root(start: Path | None = None) -> Path:
    """The nearest folder from `start` up with llmops.yaml, else with .git, pyproject.toml, prompts/ or evals/.

    Nothing above the nearest .git counts. Without any of them it is `start`.
    """
    begin = (start or Path.cwd()).resolve()
    folders = [begin, *begin.parents]
    repository = next((folder for folder in folders if (folder / ".git").exists()), folders[-1])
    folders = folders[: folders.index(repository) + 1]
    for marks in ((FILE,), _MARKS):
        for folder in folders:
            if any((folder / mark).exists() for mark in marks):
                return folder
    return begin


def load_config(start: Path | None = None) -> Config:
    """Read the project's `llmops.yaml`, if it has one. Raises `ConfigError` with file and line."""
    root = project_root(start)
    path = root / FILE
    if not path.is_file():
        return Config(root, prompts_dir=root / "prompts")
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't be read as UTF-8 text: {error}", where=str(path)) from None
    document = expand(load_yaml(text, name=str(path), error=ConfigError), error=ConfigError)
    data = document.data if document.data is not None else {}
    if not isinstance(data, dict):
        raise ConfigError(f"is a mapping of {', '.join(_KEYS)}", where=document.where())
    for key in data:
        if key not in _KEYS:
            raise ConfigError(f"unknown key {key!r}", where=document.where((key,)), hint=did_you_mean(key, _KEYS))
    store, prompts = (_place(data, key, root, document) for key in ("store", "prompts"))
    return Config(
        root=root,
        store=store,
        prompts_dir=Path(prompts) if prompts else root / "prompts",
        backends=_backends(data.get("backends"), document),
        where=str(path),
        secrets=document.secrets,
        require_evidence=_labels(data.get("require_evidence"), document),
        prices=_prices(data.get("prices"), root, document),
        budgets=_budgets(data.get("budgets"), document),
        calls=_calls(data.get("calls"), document),
        telemetry=_mapping(data.get("telemetry"), "telemetry", document),
        document=document,
    )


def _prices(value: Any, root: Path, document: Document) -> Path | Mapping[str, Any] | None:
    if isinstance(value, str) and value:
        return _path(value, "prices", root, document)
    if value is None or isinstance(value, dict):
        return value
    hint = "prices: prices.yaml, or prices: {models: [{model: NAME, input: 0.1, output: 0.4}]}"
    raise ConfigError("prices is a file, or a mapping", where=document.where(("prices",)), hint=hint)


def _budgets(value: Any, document: Document) -> tuple[Any, ...]:
    if value is None or isinstance(value, list):
        return tuple(value or ())
    hint = "budgets: [{limit: $50, per: day, by: team}]"
    raise ConfigError("budgets is a list of budgets", where=document.where(("budgets",)), hint=hint)


def _mapping(value: Any, name: str, document: Document) -> Mapping[str, Any]:
    if value is None or isinstance(value, dict):
        return value or {}
    raise ConfigError(f"{name} is a mapping", where=document.where((name,)))


def _calls(value: Any, document: Document) -> CallSettings:
    given = _mapping(value, "calls", document)
    known = {entry.name: entry.type for entry in fields(CallSettings)}
    for name, setting in given.items():
        where = document.where(("calls", name))
        if name not in known:
            raise ConfigError(f"calls: unknown key {name!r}", where=where, hint=did_you_mean(str(name), known))
        if name == "keep_text":
            fits, wanted = isinstance(setting, bool), "true or false"
        elif name == "on_failure":
            fits, wanted = setting in ("raise", "warn"), "raise or warn"
        else:
            fits, wanted = type(setting) is int and setting > 0, "a number of days"
        if not fits and not (name == "days" and setting is None):
            raise ConfigError(f"calls: {name} is {setting!r}", where=where, hint=wanted)
    return CallSettings(**given)


def _place(data: Mapping[str, Any], key: str, root: Path, document: Document) -> str:
    """A URL, or a path from the project's folder; `~` is the user's own. Empty when it isn't given."""
    value = data.get(key) or ""
    if not isinstance(value, str):
        raise ConfigError(f"{key} is {value!r}, not text", where=document.where((key,)))
    if "://" in value or not value:
        return value
    return str(_path(value, key, root, document))


def _path(value: str, key: str, root: Path, document: Document) -> Path:
    try:
        return root / Path(value).expanduser()
    except RuntimeError:
        raise ConfigError(f"{key}: nobody's home is {value!r}", where=document.where((key,))) from None


def _labels(value: Any, document: Document) -> Mapping[str, tuple[str, ...]]:
    if isinstance(value, list) and all(isinstance(label, str) for label in value):
        return dict.fromkeys(value, ())
    hint = "require_evidence: [production], or {production: evals/answers.yaml}"
    where = document.where(("require_evidence",))
    if value is not None and not isinstance(value, dict):
        raise ConfigError("require_evidence is a list of labels, or labels with suites", where=where, hint=hint)
    found: dict[str, tuple[str, ...]] = {}
    for label, suites in (value or {}).items():
        names = suites if isinstance(suites, list) else [suites]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ConfigError(f"require_evidence of {label} is a suite or a list of suites", where=where, hint=hint)
        found[label] = tuple(posixpath.normpath(name.replace("\\", "/")) for name in names)
    return found


def _backends(value: Any, document: Document) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError("backends is a mapping of names to backends", where=document.where(("backends",)))
    for name, form in value.items():
        if not isinstance(form, (str, dict)):
            hint = f"write {name}: {{openai_http: {{base_url: …}}}}"
            raise ConfigError(f"backend {name} is {form!r}", where=document.where(("backends", name)), hint=hint)
    return value


def store_location(explicit: str | None = None, start: Path | None = None) -> str:
    """Path or URL of the store: the flag, else LLMOPS_DATABASE_URL, else `store:` in llmops.yaml, else the default.

    The default is `.llmops/llmops.db` in the project's folder.
    """
    if explicit:
        return explicit
    from_environment = os.environ.get(DATABASE_URL)
    if from_environment:
        return from_environment
    config = load_config(start)
    return config.store or str(config.root / ".llmops" / "llmops.db")
