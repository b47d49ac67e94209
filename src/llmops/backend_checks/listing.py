"""The backends of llmops.yaml, as it names them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from llmops.config import Config
from llmops.connecting import is_address, unknown_backend
from llmops.errors import NotFoundError
from llmops.registry import Spec, parse_short_form

_ADDRESSES = ("base_url", "api_base", "url")
_OPENAI = ("api.openai.com", "OPENAI_API_KEY")


@dataclass(frozen=True, slots=True)
class Named:
    """A backend's name and what is written of it.

    `address` is of a server or a file. `key_variable` is the environment variable that holds its key, `key_is_set`
    whether that has a value; None when it needs none. The key itself is never read.
    """

    name: str
    kind: str
    address: str = ""
    model: str = ""
    key_variable: str = ""
    key_is_set: bool | None = None

    def as_json(self) -> Mapping[str, Any]:
        return asdict(self)


def list_backends(config: Config) -> tuple[Named, ...]:
    """Every backend that llmops.yaml names, in its order. Raises `InputError` on one that can't be read."""
    return tuple(named(config, name) for name in config.backends)


def named(config: Config, name: str) -> Named:
    """A backend by its name, by an address of an OpenAI-compatible server, or by its kind.

    Raises `NotFoundError` for a name that nothing has.
    """
    return described(name, parse_short_form(form_of(config, name), what="backend", where=config.where))


def form_of(config: Config, name: str) -> Any:
    """The short form that `name` stands for."""
    from llmops.registry import names

    if name in config.backends:
        return config.backends[name]
    if name.startswith(("http://", "https://")):
        return {"openai_http": name}
    if name not in names("backends"):
        if is_address(name):
            raise NotFoundError(f"no backend is called {name!r}", hint=f"it is an address: write http://{name}")
        raise unknown_backend(config, name)
    return name


def described(name: str, spec: Spec) -> Named:
    options = spec.options
    address = next((str(options[key]) for key in _ADDRESSES if options.get(key)), "")
    if not address and isinstance(spec.value, str) and ("://" in spec.value or spec.name == "recorded"):
        address = spec.value
    variable = str(options.get("api_key_env") or "")
    host, usual = _OPENAI
    if not variable and _host(address) == host:
        variable = usual
    is_set = bool(os.environ.get(variable, "").strip()) if variable else None
    return Named(name, spec.name, _shown(address), _model(spec), variable, is_set)


def _model(spec: Spec) -> str:
    if isinstance(spec.value, str):
        return "" if "://" in spec.value or spec.name == "recorded" else spec.value
    if isinstance(spec.value, Sequence) and not isinstance(spec.value, str):
        return ", ".join(one if isinstance(one, str) else "…" for one in spec.value)
    return str(spec.options.get("model") or "")


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _shown(address: str) -> str:
    """Scheme, host, port and path: a query or a user could hold a secret."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
