"""A pipeline behind an HTTP endpoint, as a variant: `{http: http://localhost:9000/ask, response: answer}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmops.errors import BadResponseError, InputError, PipelineError, did_you_mean
from llmops.http import HttpClient, Masking, check_url, expand_headers, header_secrets, refused, shown
from llmops.types import Build, Case, Output, Trial, Usage, VariantInfo
from llmops.variants.json_template import compile_template
from llmops.variants.output_fields import (
    MISSING,
    at_path,
    read_contexts,
    read_seconds,
    read_tokens,
    read_tool_calls,
)

METHODS = ("POST", "PUT", "PATCH")
_PARTS = ("text", "contexts", "usage", "tool_calls", "latency_s", "metadata")
_USUAL: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "answer", "output", "result"),
    "contexts": ("contexts", "context", "documents", "source_documents"),
    "usage": ("usage",),
    "tool_calls": ("tool_calls",),
}
_CONTEXT_PARTS = ("path", "text", "id", "score")


class HttpVariant:
    """Sends each case to an endpoint as JSON and reads the output from the JSON that comes back.

    `request` is the body: JSON whose strings are Jinja2 templates over the case's inputs by name, `inputs`,
    `case_id` and `repeat`; a string that is one `{{ expression }}` keeps the value's type. Without it the body is
    the inputs. `response` says where things stand in the answer, as dotted paths: text, contexts, usage,
    tool_calls, latency_s, metadata; `contexts` may be `{path, text, id, score}`. A plain string is the path of the
    text. Without it the usual names are tried. Header values may hold `${VAR}`. `timeout_s` is the longest
    silence.
    """

    def __init__(
        self,
        build: Build,
        url: str,
        request: Any = None,
        response: Any = None,
        headers: dict[str, str] | None = None,
        method: str = "POST",
        timeout_s: float = 120.0,
        connect_timeout_s: float = 10.0,
        trust_env: bool = False,
    ) -> None:
        from yarl import URL

        if method.upper() not in METHODS:
            raise InputError(f"method is {method!r}", hint=f"one of {', '.join(METHODS)}")
        if timeout_s <= 0 or connect_timeout_s <= 0:
            raise InputError("timeout_s and connect_timeout_s are seconds above 0")
        self._method = method.upper()
        self._url = URL(check_url(url))
        self._render = None if request is None else compile_template(request, where=build.where)
        self._paths, self._context_names = _checked_response(response)
        self._extra_headers = dict(headers or {})
        expand_headers(self._extra_headers, where=build.where)  # a variable that isn't set is told before the run
        self._secrets: tuple[str, ...] = ()
        self._client = HttpClient(
            self._headers, connect_timeout_s=connect_timeout_s, read_timeout_s=timeout_s, trust_env=trust_env
        )
        details = {"url": str(self._url), "method": self._method, "request": request, "response": response}
        self.info = VariantInfo("", "http", {k: v for k, v in details.items() if v is not None})

    def check(self, case: Case) -> None:
        """Raise `InputError` when the request can't be made for the case, such as when it lacks an input."""
        try:
            self._body(Trial(case))
        except PipelineError as error:
            raise InputError(error.message, where=case.where, hint=error.hint) from None

    async def answer(self, trial: Trial) -> Output:
        """The endpoint's output. Raises a `BackendError` when there is none."""
        with Masking(lambda: self._secrets):
            answer = await self._client.send(self._method, self._url, self._body(trial))
            if not 200 <= answer.status < 300:
                hints = {401: "does headers: hold the key, as ${VAR}?", 404: "is the address right?"}
                raise refused(
                    answer.status, answer.headers, answer.body, url=str(self._url), hints=hints, secrets=self._secrets
                )
            return self._output(answer.body)

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        await self._client.aclose()

    def _headers(self) -> dict[str, str]:
        expanded = expand_headers(self._extra_headers)
        self._secrets = header_secrets(self._extra_headers)
        return {"Content-Type": "application/json", "Accept": "application/json", **expanded}

    def _body(self, trial: Trial) -> bytes:
        body: Any = dict(trial.case.inputs)
        if self._render is not None:
            own = {"inputs": body, "case_id": trial.case.id, "repeat": trial.repeat}
            body = self._render({**own, **body})
        try:
            return json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise PipelineError(f"the request can't be written as JSON: {error}") from None

    def _output(self, body: bytes) -> Output:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            start = shown(body[:400].decode("utf-8", "replace"), 60)
            raise BadResponseError(f"{self._url} answered something that isn't JSON: {start!r}") from None
        usage = self._part(data, "usage")
        metadata = self._part(data, "metadata")
        try:
            calls = read_tool_calls(self._part(data, "tool_calls"))
            contexts = self._part(data, "contexts")
            return Output(
                text=self._text(data, needed=not calls),
                contexts=read_contexts(contexts, self._context_names),
                tool_calls=calls,
                usage=self._usage(usage),
                latency_s=read_seconds(self._part(data, "latency_s")),
                metadata=metadata if isinstance(metadata, Mapping) else {},
            )
        except ValueError as problem:
            raise BadResponseError(f"{self._url} answered JSON in which {problem}") from None

    def _usage(self, value: Any) -> Usage:
        if "usage" in self._paths:
            return read_tokens(value)
        try:
            return read_tokens(value)
        except ValueError:  # something else that happens to be called usage
            return Usage()

    def _text(self, data: Any, *, needed: bool) -> str:
        if isinstance(data, str) and "text" not in self._paths:
            return data
        value = self._part(data, "text")
        if value is None:
            if needed:
                keys = ", ".join(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
                raise ValueError(f"there is no {' or '.join(self._places('text'))} (it has {shown(keys, 100)})")
            return ""
        if isinstance(value, (Mapping, list)):
            return json.dumps(value, ensure_ascii=False)  # structured output is compared as JSON
        return value if isinstance(value, str) else json.dumps(value)

    def _places(self, name: str) -> tuple[str, ...]:
        return (self._paths[name],) if name in self._paths else _USUAL.get(name, ())

    def _part(self, data: Any, name: str) -> Any:
        for path in self._places(name):
            value = at_path(data, path)
            if value is not MISSING and value is not None:
                return value
        return None


def _checked_response(response: Any) -> tuple[dict[str, str], dict[str, str]]:
    if response is None:
        return {}, {}
    if isinstance(response, str):
        return {"text": response}, {}
    if not isinstance(response, Mapping):
        raise InputError("response is a path, or a mapping of text, contexts, usage, … to paths")
    paths: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, path in response.items():
        if name not in _PARTS:
            raise InputError(f"response has no {name!r}", hint=did_you_mean(str(name), _PARTS))
        if name == "contexts" and isinstance(path, Mapping):
            names = _checked_names(path)
            path = names.pop("path", "contexts")
        if not isinstance(path, str):
            raise InputError(f"response.{name} is {path!r}, not a path such as answer.text"[:200])
        paths[name] = path
    return paths, names


def _checked_names(names: Mapping[str, Any]) -> dict[str, str]:
    for name, path in names.items():
        if name not in _CONTEXT_PARTS:
            hint = did_you_mean(str(name), _CONTEXT_PARTS)
            raise InputError(f"response.contexts has no {name!r}", hint=hint)
        if not isinstance(path, str):
            raise InputError(f"response.contexts.{name} is {path!r}, not a path"[:200])
    return dict(names)
