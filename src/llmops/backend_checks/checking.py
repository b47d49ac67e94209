"""Every backend asked, side by side."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmops.attribution import attributed
from llmops.backend_checks import openai_server as server
from llmops.backend_checks.findings import Checked, Finding, Latency
from llmops.backend_checks.listing import Named, form_of, list_backends, named
from llmops.backend_checks.probing import Probe, answering, json_schema, tools
from llmops.config import Config
from llmops.connecting import Backends, tracking
from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadResponseError,
    ConfigError,
    InputError,
)

FEATURE = "backends check"


def check_backends(
    config: Config, names: Sequence[str] = (), *, store: str = "", timeout_s: float = 30.0
) -> list[Checked]:
    """Ask the backends of these names, all of llmops.yaml by default, what they can do.

    Each gets at most six small requests, which are in the call log at `store` (as feature `backends check`) when it
    is given. Raises `InputError` for a name that nothing has.
    """
    wanted = [named(config, name) for name in names] if names else list(list_backends(config))
    backends = Backends(config, config.root)
    made = [_made(backends, config, one.name) for one in wanted]
    importlib.import_module("aiohttp")  # now, for it would be in the times that are measured

    async def all_of_them() -> list[Checked]:
        one_each = (_checked(one, backend, timeout_s) for one, backend in zip(wanted, made, strict=True))
        return list(await asyncio.gather(*one_each))

    with attributed(feature=FEATURE):
        if not store:
            return asyncio.run(all_of_them())
        with tracking(backends, config, store):
            return asyncio.run(all_of_them())


def _made(backends: Backends, config: Config, name: str) -> Any:
    """The backend, or the reason why there is none: a missing library or file is a finding like any other."""
    try:
        return backends.make(name if name in config.backends else form_of(config, name)).backend
    except InputError as error:
        return error


async def _checked(one: Named, backend: Any, timeout_s: float) -> Checked:
    if isinstance(backend, InputError):
        return Checked(one, (Finding("reachable", "no", str(backend)),))
    inner = getattr(backend, "backend", backend)
    if getattr(backend, "backends", None) is not None:
        return Checked(one, (Finding("reachable", "unknown", f"asks {one.model} in turn: check those"),))
    if getattr(inner, "local", False):
        return Checked(one, (Finding("reachable", "yes", "in this process: nothing is sent"),))
    probe = Probe(backend, one.model, timeout_s)
    try:
        return await _asked(one, probe, timeout_s)
    finally:
        close = getattr(inner, "aclose", None)
        if close is not None:
            await close()


async def _asked(one: Named, probe: Probe, timeout_s: float) -> Checked:
    speaks_openai = one.kind == "openai_http"
    found: list[Finding] = []
    models: tuple[str, ...] | None = None
    connect: float | None = None
    if speaks_openai:
        connect, refusal = await _connected(probe, timeout_s)
        key = _key(probe)
        if key is not None:
            reached = Finding("reachable", "yes") if connect is not None else Finding("reachable", "unknown", refusal)
            return Checked(one, (reached, key), latency=Latency(connect))
        unlisted = "the server doesn't list its models"
        try:
            models = await server.served_models(probe)
        except BadResponseError as error:
            unlisted = str(error)
        except BackendError as error:
            return Checked(one, (Finding("reachable", "no", str(error)),), latency=Latency(connect))
        found = [Finding("reachable", "yes"), *_key_is_there(one), *_model(probe, models, unlisted)]
    answered, latency = await answering(probe)
    if not speaks_openai:
        found = [_reached(probe)]
    found += answered
    if answered[0].outcome == "yes":
        found += [await json_schema(probe), await tools(probe)]
        if speaks_openai:
            found += [await server.logprobs(probe), await server.embeddings(probe)]
    latency = replace(latency, connect_s=connect)
    return Checked(one, tuple(found), models or (), latency, probe.requests, probe.usage)


async def _connected(probe: Probe, timeout_s: float) -> tuple[float | None, str]:
    """Seconds to connect, or None and why not: behind a proxy there may be no direct way."""
    try:
        return await server.connect_s(probe.inner.base_url, timeout_s), ""
    except (OSError, TimeoutError, ValueError) as error:
        return None, str(error) or "no connection in time"


def _key(probe: Probe) -> Finding | None:
    """What is wrong with the key and headers, or None."""
    try:
        probe.inner.check_ready()
    except ConfigError as error:
        return Finding("key", "no", str(error))
    return None


def _key_is_there(one: Named) -> list[Finding]:
    return [Finding("key", "yes", f"${one.key_variable} is set")] if one.key_is_set else []


def _model(probe: Probe, models: tuple[str, ...] | None, unlisted: str) -> list[Finding]:
    """Whether the model is among those served; the only one served is asked when none is named."""
    if models is None:
        return [Finding("model", "unknown", unlisted)]
    if not probe.model and len(models) == 1:
        probe.model = models[0]
        return [Finding("model", "yes", f"{models[0]}, the only one served")]
    if not probe.model:
        return [Finding("model", "unknown", f"none is named, and {len(models)} are served")]
    is_served = probe.model in models
    detail = f"one of {len(models)} served" if is_served else f"not among the {len(models)} that are listed"
    return [Finding("model", "yes" if is_served else "no", detail)]


def _reached(probe: Probe) -> Finding:
    """What an answer, or none, says about the way to the server."""
    if probe.failure is None or probe.failure.status is not None:
        return Finding("reachable", "yes")
    is_lost = isinstance(probe.failure, (BackendUnavailableError, BackendTimeoutError))
    return Finding("reachable", "no" if is_lost else "unknown", "" if is_lost else "nothing was sent")
