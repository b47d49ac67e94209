"""Addresses, keys and headers of the OpenAI-compatible backend."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llmops.backends.openai_http import OpenAIHttp
from llmops.errors import (
    ConfigError,
    InputError,
    RequestRejectedError,
)
from llmops.registry import create, parse_short_form
from llmops.types import Build
from openai_requests import ASK, run
from stub_server import Reply, StubServer


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_TEST_KEY", "sk-very-secret\n")
    monkeypatch.setenv("LLMOPS_TEST_TEAM", "team-secret")
    options = {
        "api_key_env": "LLMOPS_TEST_KEY",
        "headers": {"X-Team": "${LLMOPS_TEST_TEAM}", "X-Not": "${NOPE:-d}"},
    }
    reply = Reply(status=401, text="bad key sk-very-secret of team-secret")
    with StubServer([Reply(), reply]) as server:
        run(server, **options)
        sent = server.seen[0].headers
        assert sent["Authorization"] == "Bearer sk-very-secret"
        assert (sent["X-Team"], sent["X-Not"]) == ("team-secret", "d")
        with pytest.raises(RequestRejectedError, match="LLMOPS_TEST_KEY") as caught:
            run(server, **options)
        backend = OpenAIHttp(server.url, "m", **options)
    for text in (str(caught.value), repr(caught.value), str(backend.identity), repr(backend)):
        assert "secret" not in text
    assert OpenAIHttp(server.url, "m", "LLMOPS_TEST_KEY").identity == {
        "kind": "openai_http",
        "base_url": server.url,
        "model": "m",
    }


def test_a_missing_key_is_a_configuration_error_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMOPS_TEST_KEY", raising=False)
    with StubServer() as server:
        with pytest.raises(ConfigError, match=r"\$LLMOPS_TEST_KEY isn't set") as caught:
            run(server, api_key_env="LLMOPS_TEST_KEY")
        with pytest.raises(ConfigError, match="LLMOPS_TEST_KEY"):
            run(server, headers={"X-A": "${LLMOPS_TEST_KEY}"})
        assert server.count == 0
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("value", ["two\r\nlines", "caf\u00e9", "\ud800", "\x00"])
def test_header_values_that_cannot_be_sent(value: str) -> None:
    with StubServer() as server, pytest.raises(ConfigError) as caught:
        run(server, headers={"X-A": value})
    assert value not in str(caught.value)


def test_no_key_goes_to_servers_that_were_not_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    with StubServer() as server:
        run(server)
        assert "Authorization" not in server.seen[0].headers


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        (" http://localhost:8000/v1/chat/completions", "http://localhost:8000/v1"),
        ("https://h.example/v1beta/openai/", "https://h.example/v1beta/openai"),
        ("https://h.example/d/chat/completions?api-version=3", "https://h.example/d?api-version=3"),
        ("http://[::1]:80/v1#x", "http://[::1]:80/v1"),
    ],
)
def test_addresses(given: str, base: str) -> None:
    assert OpenAIHttp(given, "m").base_url == base


def test_the_query_of_an_address_is_kept() -> None:
    with StubServer() as server:

        async def once() -> None:
            backend = OpenAIHttp(f"{server.root}/d/chat/completions?api-version=3", "m")
            await backend.complete(ASK)
            await backend.aclose()

        asyncio.run(once())
        assert (server.seen[0].path, server.seen[0].query) == ("/d/chat/completions", {"api-version": "3"})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "localhost:8000/v1",
        "ftp://h/v1",
        "file:///etc/passwd",
        "http://",
        "http://h:99999",
        "http://h:x",
        "http://u:p@h/v1",
        "http://h/v1?api_key=k",
        "http://h/ v1",
        "http://h/\x00",
        "http://h/\ud800",
        "http://[::1",
        "http://" + "a" * 300 + ".example/",
    ],
)
def test_addresses_that_are_not(url: str) -> None:
    with pytest.raises(InputError) as caught:
        OpenAIHttp(url, "m")
    assert caught.value.exit_code == 2 and "u:p" not in str(caught.value)


def test_the_short_forms(tmp_path: Path) -> None:
    build: Any = Build(tmp_path, prompt=lambda name: None, backend=lambda form: None)  # type: ignore[arg-type, return-value]
    short = create("backends", parse_short_form({"openai_http": "http://h:1/v1"}, what="backend"), build=build)
    form = {"openai_http": {"base_url": "http://h:1", "model": "m", "stream": True}}
    long = create("backends", parse_short_form(form, what="backend"), build=build)
    assert short.base_url == long.base_url == "http://h:1/v1" and long.model == "m"
    with pytest.raises(InputError, match="read_timeout_s"):
        OpenAIHttp("http://h", read_timeout_s=0)
