"""Pipelines behind an HTTP endpoint as a variant."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadResponseError,
    ConfigError,
    InputError,
    PipelineError,
    RateLimitedError,
    RequestRejectedError,
)
from llmops.registry import Spec, create
from llmops.types import Build, Case, Context, Output, ToolCall, Trial, Usage
from llmops.variants.http import HttpVariant
from llmops.variants.json_template import compile_template
from llmops.variants.output_fields import MISSING, at_path
from stub_server import Reply, StubServer

CASE = Case("q1", {"question": 'Why "it"?', "k": 3, "filters": {"lang": ["en"]}}, where="data.jsonl:7")


def make(url: str, **options: Any) -> HttpVariant:
    build: Any = Build(Path(), prompt=lambda name: None, backend=lambda form: None, where="s.yaml:2")  # type: ignore[arg-type, return-value]
    made: HttpVariant = create(
        "variants", Spec("http", options={"http": url, **options}), build=build, where="s.yaml:2"
    )
    return made


def run(server: StubServer, case: Case = CASE, repeat: int = 0, **options: Any) -> Output:
    async def once() -> Output:
        variant = make(f"{server.root}/ask", **options)
        try:
            return await variant.answer(Trial(case, repeat))
        finally:
            await variant.aclose()

    return asyncio.run(once())


def failure(reply: Reply, **options: Any) -> BackendError:
    with StubServer([reply]) as server, pytest.raises(BackendError) as caught:
        run(server, **options)
    return caught.value


def test_the_plain_form_sends_the_inputs_and_finds_the_answer() -> None:
    body = {
        "answer": "Because.",
        "documents": ["one", {"page_content": "two", "id": 2, "score": 0.5}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 2},
        "tool_calls": [{"name": "look", "arguments": {"a": 1}}],
    }
    with StubServer([Reply(body=body)]) as server:
        output = run(server)
        seen = server.seen[0]
    assert (seen.method, seen.path, seen.body) == ("POST", "/ask", CASE.inputs)
    assert seen.headers["Content-Type"] == "application/json"
    assert output == Output(
        "Because.",
        (Context("one"), Context("two", "2", 0.5)),
        (ToolCall("look", {"a": 1}),),
        usage=Usage(4, 2, requests=1, certainty="exact"),
    )


def test_templates_and_paths() -> None:
    request = {
        "query": "Q: {{ question }} ({{ case_id }}/{{ repeat }})",
        "options": {
            "k": "{{ k }}",
            "filters": "{{ filters }}",
            "langs": "{{ filters.lang | length + 1 }}",
            "debug": False,
        },
        "all": "{{ inputs }}",
        "list": ["{{ k * 2 }}", 1, None, "{{ question }}"],
    }
    response = {
        "text": "result.0.message",
        "contexts": {"path": "result.0.hits", "text": "body.plain", "id": "doc", "score": "rank"},
        "usage": "meta.tokens",
        "latency_s": "meta.s",
        "metadata": "meta",
    }
    meta = {"tokens": {"input_tokens": 1, "output_tokens": 2}, "s": 0.5}
    reply = {
        "result": [{"message": "Hi", "hits": [{"body": {"plain": "t"}, "doc": "d", "rank": 1}]}],
        "meta": meta,
    }
    with StubServer([Reply(body=reply)]) as server:
        output = run(server, repeat=2, request=request, response=response)
        body = server.bodies[0]
    assert body == {
        "query": 'Q: Why "it"? (q1/2)',
        "options": {"k": 3, "filters": {"lang": ["en"]}, "langs": 2, "debug": False},
        "all": dict(CASE.inputs),
        "list": [6, 1, None, 'Why "it"?'],
    }
    assert output.text == "Hi" and output.contexts == (Context("t", "d", 1.0),)
    assert (output.usage.total_tokens, output.latency_s, output.metadata) == (3, 0.5, meta)


@pytest.mark.parametrize(
    ("body", "response", "text"),
    [
        ("plain string", None, "plain string"),
        ({"text": "a", "answer": "b"}, None, "a"),
        ({"text": None, "output": "b"}, None, "b"),
        ({"out": {"x": [1, "é"]}}, "out", '{"x": [1, "é"]}'),
        ({"out": 3}, "out", "3"),
        ({"out": False}, {"text": "out"}, "false"),
        ({"a.b": "c"}, "a.b", "c"),
        ({"answer": "x", "usage": "little"}, None, "x"),
    ],
)
def test_where_the_text_stands(body: Any, response: Any, text: str) -> None:
    reply = Reply(body=f'"{body}"' if isinstance(body, str) else body)
    with StubServer([reply]) as server:
        assert run(server, response=response).text == text


@pytest.mark.parametrize(
    "expression",
    [
        "{{ value }}",
        "{{value}}",
        " {{- value -}} ",
        "{{ value | default('x') }}",
        "{{ {'a': {'b': value}}['a']['b'] }}",
    ],
)
@pytest.mark.parametrize("value", [3, 0.5, True, None, "text", "3", ["a"], {"b": {"c": 1}}, "{{ k }}"])
def test_one_expression_keeps_its_type(expression: str, value: Any) -> None:
    rendered = compile_template(expression)({"value": value})
    assert rendered == value and type(rendered) is type(value)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ a }}{{ a }}", "11"),
        ("{{ a }} and {{ a }}", "1 and 1"),
        ("{% if a %}{{ a }}{% endif %}", "1"),
        ("{{ a }}!", "1!"),
        ("no template }}", "no template }}"),
        ("<{{ '<b>' }}>", "<<b>>"),
    ],
)
def test_other_templates_are_text(template: str, text: str) -> None:
    assert compile_template(template)({"a": 1}) == text


def test_inputs_are_never_templates() -> None:
    with StubServer([Reply(body={"text": "x"})]) as server:
        run(server, Case("1", {"question": "{{ 7 * 7 }} {% raw %}"}), request={"q": "ask: {{ question }}"})
        assert server.bodies == [{"q": "ask: {{ 7 * 7 }} {% raw %}"}]


@pytest.mark.parametrize("template", ["{{ ''.__class__.__mro__ }}", "{{ question.__class__ }}", "x{{ self.__init__ }}"])
def test_templates_run_in_a_sandbox(template: str) -> None:
    with StubServer() as server, pytest.raises(PipelineError):
        run(server, request={"q": template})
    assert server.count == 0


@pytest.mark.parametrize("template", ["{{ qestion }}", "a {{ qestion }}", "{{ filters.x.y }}", "{{ 1 / 0 }}"])
def test_what_a_case_lacks_is_found_before_anything_is_sent(template: str) -> None:
    variant = make("http://h/ask", request={"q": template})
    with pytest.raises(InputError, match=r"data\.jsonl:7: request\.q") as caught:
        variant.check(CASE)
    assert "\n" not in str(caught.value)
    with StubServer() as server, pytest.raises(PipelineError, match=r"request\.q"):
        run(server, request={"q": template})
    assert server.count == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"request": {"q": "{{ a"}}, "request.q: not a valid template"),
        ({"request": ["{% if %}"]}, "request.0: not a valid template"),
        ({"request": "{{ a | nofilter }}"}, "nofilter"),
        ({"response": {"txt": "a"}}, "did you mean 'text'"),
        ({"response": {"text": 3}}, "response.text is 3"),
        ({"response": {"contexts": {"txt": "a"}}}, "did you mean 'text'"),
        ({"response": {"contexts": {"text": 3}}}, "response.contexts.text is 3"),
        ({"response": 3}, "response is a path"),
        ({"method": "BREW"}, "method is 'BREW'"),
        ({"timeout_s": 0}, "above 0"),
        ({"timeout": 5}, "did you mean 'timeout_s'"),
        ({"http": "localhost:9000"}, "http(s)"),
        ({"http": "http://u:p@h/"}, "user name or password"),
        ({"http": "http://h/?token=t"}, "secret"),
        ({"http": ["a"]}, "url"),
    ],
)
def test_broken_options(options: dict[str, Any], problem: str) -> None:
    options = dict(options)
    with pytest.raises(InputError) as caught:
        make(options.pop("http", "http://h/ask"), **options)
    assert problem in str(caught.value) and "s.yaml:2" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (Reply(status=429, headers={"Retry-After": "3"}), RateLimitedError, "429"),
        (Reply(status=503), RateLimitedError, "503"),
        (Reply(status=500, text="boom"), BackendUnavailableError, "boom"),
        (Reply(status=422, body={"detail": "bad k"}), RequestRejectedError, "bad k"),
        (Reply(status=302, headers={"Location": "http://elsewhere/"}), RequestRejectedError, "elsewhere"),
        (Reply(ending="close"), BackendUnavailableError, "broke"),
        (Reply(ending="cut", text="long enough"), BackendUnavailableError, "cut off"),
        (Reply(body="<html>"), BadResponseError, "isn't JSON"),
        (Reply(body={"other": 1, "keys": 2}), BadResponseError, "there is no text or answer"),
        (Reply(body="[]"), BadResponseError, "there is no text"),
        (Reply(body={"text": "x", "contexts": [3]}), BadResponseError, "contexts[0]"),
        (Reply(body={"text": "x", "tool_calls": 3}), BadResponseError, "tool_calls"),
        (Reply(body="[" * 100_000), BadResponseError, "isn't JSON"),
    ],
)
def test_failures(reply: Reply, kind: type[BackendError], said: str) -> None:
    error = failure(reply)
    assert type(error) is kind and said in str(error) and "\n" not in str(error)


def test_usage_that_was_asked_for_must_be_there() -> None:
    assert "usage" in str(failure(Reply(body={"text": "x", "u": 3}), response={"text": "text", "usage": "u"}))


def test_silence_is_a_timeout() -> None:
    assert isinstance(failure(Reply(ending="hang"), timeout_s=0.05), BackendTimeoutError)


def test_headers_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_TEST_KEY", "very-secret")
    headers = {"Authorization": "Bearer ${LLMOPS_TEST_KEY}"}
    with StubServer([Reply(body={"text": "x"}), Reply(status=403, text="no Bearer very-secret")]) as server:
        run(server, headers=headers)
        assert server.seen[0].headers["Authorization"] == "Bearer very-secret"
        with pytest.raises(RequestRejectedError) as caught:
            run(server, headers=headers)
        assert "secret" not in str(caught.value)
        assert "ecret" not in str(make(server.root, headers=headers).info)
        monkeypatch.delenv("LLMOPS_TEST_KEY")
        with pytest.raises(ConfigError, match="LLMOPS_TEST_KEY"):
            run(server, headers=headers)
        assert server.count == 2


def test_info_holds_what_decides_the_answer() -> None:
    info = make("http://h/ask", request={"q": "{{ question }}"}, response="a.b", method="put").info
    assert (info.name, info.kind) == ("", "http")
    assert info.details == {
        "url": "http://h/ask",
        "method": "PUT",
        "request": {"q": "{{ question }}"},
        "response": "a.b",
    }


def test_a_body_that_json_cannot_hold() -> None:
    with StubServer() as server, pytest.raises(PipelineError, match="JSON"):
        run(server, Case("1", {"question": float("inf")}))
    assert server.count == 0


nested = st.recursive(
    st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(nested, st.text(max_size=12))
def test_no_path_breaks_it(data: Any, path: str) -> None:
    assert at_path(data, path) is MISSING or at_path(data, path) is not None
