"""Secrets never reach what is shown or stored."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.backends.cache import SqliteCache, key_of, request_text
from llmops.backends.openai_http import OpenAIHttp
from llmops.config import load_config
from llmops.errors import BackendError, ConfigError, InputError, StoreError, SuiteError
from llmops.evals.suite import Suite, load_suite
from llmops.http import check_url, header_secrets
from llmops.registry import create
from llmops.secrets import masked, masked_message, masked_override
from llmops.types import Build, Case, Completion, Trial
from openai_requests import ASK, run
from stub_server import Reply, StubServer

VALUE = "sk-live-4242"
REST = "dataset: d.jsonl\nmetrics: [exact_match]\n"


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_TEST_KEY", VALUE)
    monkeypatch.setenv("LLMOPS_TEST_PLAIN", "nothing-special")
    monkeypatch.delenv("LLMOPS_TEST_UNSET", raising=False)


def suite(folder: Path, variants: str, *overrides: str, name: str = "s.yaml", more: str = "") -> Suite:
    path = folder / name
    path.write_text(f"{REST}{more}variants:\n  {variants}\n", "utf-8")
    return load_suite(path, overrides=overrides)


@pytest.mark.parametrize("form", ["http: URL", "http: URL, method: PUT"])
def test_a_server_that_echoes_a_header_of_a_suite_does_not_reveal_it(tmp_path: Path, form: str) -> None:
    reply = Reply(status=403, text=f"you sent {VALUE} and literal-value")
    with StubServer([reply]) as server:
        form = form.replace("URL", f'"{server.root}/ask"')
        made = suite(tmp_path, f'a: {{{form}, headers: {{X-Api: "${{LLMOPS_TEST_KEY}}", X-Own: literal-value}}}}')
        build: Any = Build(tmp_path, prompt=lambda _: None, backend=lambda _: None)  # type: ignore[arg-type, return-value]

        async def ask() -> None:
            variant = create("variants", made.variants[0].spec, build=build)
            try:
                await variant.answer(Trial(Case("q", {})))
            finally:
                await variant.aclose()

        with pytest.raises(BackendError, match=r"\*\*\*") as caught:
            asyncio.run(ask())
        assert server.seen[0].headers["X-Api"] == VALUE
    assert VALUE not in str(caught.value)
    assert "literal-value" not in str(caught.value)
    assert VALUE not in str(made.config)
    assert made.secrets == (VALUE,)


ECHOES = [
    Reply(status=401, text=f"bad {VALUE}"),
    Reply(status=401, text="x" * 290 + f" {VALUE}"),
    Reply(status=302, headers={"Location": f"http://elsewhere/?k={VALUE}"}),
    Reply(body=f"{VALUE} isn't JSON"),
    Reply(body="x" * 50 + f"{VALUE} isn't JSON"),
    Reply(body={"error": {"message": f"no {VALUE}"}}),
]


@pytest.mark.parametrize("reply", ECHOES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("value", ["Bearer ${LLMOPS_TEST_KEY}", f"Bearer {VALUE}", f"session={VALUE}; a=b"])
def test_a_server_that_echoes_a_header_of_a_backend_does_not_reveal_it(reply: Reply, stream: bool, value: str) -> None:
    with StubServer([reply]) as server, pytest.raises(BackendError) as caught:
        run(server, headers={"X-Api": value}, stream=stream)
    assert VALUE[:6] not in str(caught.value) + repr(caught.value)


def test_harmless_headers_are_not_masked() -> None:
    assert header_secrets({"Content-Type": "application/json", "accept-language": "english", "X-A": "b" * 9}) == (
        "b" * 9,
    )


def test_headers_stay_as_written_and_are_checked(tmp_path: Path) -> None:
    backend = 'backend: {openai_http: {base_url: "http://h", headers: {X: "$${a} ${LLMOPS_TEST_KEY}"}}}'
    made = suite(tmp_path, f"a: {{prompt: p, {backend}}}")
    written = made.variants[0].options["backend"]["openai_http"]["headers"]
    assert written == {"X": "$${a} ${LLMOPS_TEST_KEY}"}
    assert made.secrets == (VALUE,)
    with StubServer() as server:
        run(server, headers=written)
        assert server.seen[0].headers["X"] == f"${{a}} {VALUE}"
    for wrong, problem in (("${LLMOPS_TEST_UNSET}", "LLMOPS_TEST_UNSET isn't set"), ("${", "isn't a reference")):
        with pytest.raises(SuiteError, match=problem) as caught:
            suite(tmp_path, f'a: {{http: "http://h", headers: {{X: "{wrong}"}}}}')
        assert caught.value.where.endswith("s.yaml:4")


def test_headers_of_named_backends_stay_as_written(tmp_path: Path) -> None:
    text = 'backends:\n  big: {openai_http: {base_url: "http://h", headers: {X: "${LLMOPS_TEST_KEY}"}}}\n'
    (tmp_path / "llmops.yaml").write_text(text, "utf-8")
    config = load_config(tmp_path)
    assert VALUE not in str(config.backends)
    assert config.secrets == (VALUE,)
    (tmp_path / "llmops.yaml").write_text(text.replace("TEST_KEY", "TEST_UNSET"), "utf-8")
    with pytest.raises(ConfigError, match=r"llmops\.yaml:2: .*LLMOPS_TEST_UNSET"):
        load_config(tmp_path)


def test_an_unset_variable_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    headers = {"X": "${LLMOPS_TEST_UNSET}"}
    with pytest.raises(ConfigError, match=r"\$LLMOPS_TEST_UNSET.*http://h/v1"):
        OpenAIHttp("http://h", headers=headers).check_ready()
    build: Any = Build(tmp_path, prompt=lambda _: None, backend=lambda _: None, where="s.yaml:7")  # type: ignore[arg-type, return-value]
    made = suite(tmp_path, 'a: {http: "http://h"}', "variants.a.headers.X=${LLMOPS_TEST_UNSET}")
    with pytest.raises(ConfigError, match=r"s\.yaml:7: .*\$LLMOPS_TEST_UNSET"):
        create("variants", made.variants[0].spec, build=build)


def test_the_secrets_of_a_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_TEST_PASS", "short")
    monkeypatch.setenv("llmops_test_auth", "lower-case-name")
    options = ("K", "TEST_KEY"), ("p", "TEST_PLAIN"), ("s", "TEST_PASS")
    written = ", ".join(f'{key}: "${{LLMOPS_{name}}}"' for key, name in options)
    code = f'python: a.py:f, with: {{{written}, l: "x ${{llmops_test_auth}}", d: "${{NO_KEY:-some-default}}"}}'
    made = suite(
        tmp_path, f"a: {{{code}}}", "variants.a.with.api_key=sk-from-flag", "variants.a.with.n={token: deep-one}"
    )
    assert set(made.secrets) == {VALUE, "lower-case-name", "sk-from-flag", "deep-one"}
    shown = str(masked(made.config, made.secrets))
    assert not [secret for secret in made.secrets if secret in shown]
    assert "nothing-special" in shown
    assert "some-default" in shown


def test_headers_for_user_code_are_filled_in(tmp_path: Path) -> None:
    made = suite(tmp_path, 'a: {python: a.py:f, with: {headers: {X: "${LLMOPS_TEST_PLAIN}"}}}')
    assert made.variants[0].options["with"]["headers"] == {"X": "nothing-special"}
    assert made.secrets == ("nothing-special",)


def test_an_error_about_a_suite_does_not_show_a_secret(tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        suite(tmp_path, 'a: "${LLMOPS_TEST_KEY}"')
    assert VALUE not in str(caught.value)
    with pytest.raises(SuiteError, match="--set") as caught:
        suite(tmp_path, 'a: {http: "http://h"}', f"limits.key={VALUE}")
    assert VALUE not in str(caught.value)


def test_masked_reaches_everything_and_keeps_the_shape() -> None:
    value = {"a": [VALUE, ("x" + VALUE, 5)], VALUE: None, "b": {"c": f"{VALUE}-longer"}, "n": True}
    assert masked(value, (VALUE, f"{VALUE}-longer")) == {
        "a": ["***", ("x***", 5)], "***": None, "b": {"c": "***"}, "n": True,
    }  # fmt: skip
    assert masked("a short one", ("short", "")) == "a short one"


@given(st.text(min_size=6), st.text(), st.text())
def test_no_secret_is_left(secret: str, before: str, after: str) -> None:
    left = masked({"k": [before + secret + after]}, (secret,))["k"][0]
    assert secret not in left or "*" in secret
    assert "***" in masked_message(before + secret + after, (secret,))


@pytest.mark.parametrize(
    ("override", "stored"),
    [
        ("variants.a.headers.X-Api=sk-1", "variants.a.headers.X-Api=***"),
        ("variants.a.with.API_KEY=k=v", "variants.a.with.API_KEY=***"),
        ("variants.a.password=", "variants.a.password=***"),
        ("variants.a.with={api_key: sk-1}", "variants.a.with=***"),
        ("variants.a={http: x, headers: {X-A: b}}", "variants.a=***"),
        ("limits.tokens_per_minute=6000", "limits.tokens_per_minute=6000"),
        ("variants.a.parameters.max_tokens=5", "variants.a.parameters.max_tokens=5"),
        ("variants.a.parameters={max_tokens: 5}", "variants.a.parameters={max_tokens: 5}"),
        ("repeats=3", "repeats=3"),
        ("nothing", "nothing"),
    ],
)
def test_overrides_as_they_are_stored(override: str, stored: str) -> None:
    assert masked_override(override) == stored


ADDRESSES = [
    "http://me:hunter2@h/v1", "http://me:hun/hunter2@h", "http://me:@hunter2@h:1", "http://me:hunter2 @h",
    "me:hunter2@h", "ftp://me:hunter2@h", "http://me:hunter2@", "http://h/ x?key=hunter2", "http://h/?api_key=hunter2",
    "http://me:hunter2@h:port", "http://me:hunter2@[h", "http://me:hunter2\n@h",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_with_a_password_is_refused_without_showing_it(address: str) -> None:
    for use in (check_url, OpenAIHttp):
        with pytest.raises(InputError) as caught:
            use(address)
        assert "hunter2" not in str(caught.value) + repr(caught.value)


def test_identity_tells_headers_apart_and_the_request_text_holds_no_value() -> None:
    def text(headers: dict[str, str] | None) -> str:
        return request_text(OpenAIHttp("http://h", "m", headers=headers).identity, ASK)

    literal = text({"X-Route": VALUE})
    assert len({key_of(t) for t in (text(None), text({"X-Route": "A"}), text({"X-Route": "B"}), literal)}) == 4
    assert text({}) == text(None)
    assert VALUE not in literal
    assert VALUE not in text({"X-Route": "${LLMOPS_TEST_KEY}"})


def kept(folder: Path) -> SqliteCache:
    cache = SqliteCache(folder / "c.db")
    cache.put("k", "{}", Completion("yes"), "s/v/c")
    cache.flush()
    return cache


@pytest.mark.parametrize(
    "row", ["{", "[]", "null", '{"text": "a", "from_the_future": 1}', '{"text": 3}', "{}", '{"text": "a", "usage": 3}']
)
def test_a_damaged_row_of_the_cache_is_a_miss(tmp_path: Path, row: str) -> None:
    with contextlib.closing(kept(tmp_path)) as cache:
        assert cache.get("k") == Completion("yes", cached=True)
        cache._db.execute("UPDATE answers SET answer = ?, request = ?", (row, "{"))
        assert cache.get("k") is None
        assert list(cache.of_origin("s/v/c")) == []


def test_a_cache_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    with contextlib.closing(kept(tmp_path)) as cache:
        cache._db.execute("DROP TABLE answers")
        for use in (lambda: cache.get("k"), cache.info, cache.clear, lambda: list(cache.of_origin("o"))):
            with pytest.raises(StoreError, match=r"c\.db: can't (read|clear) the response cache") as caught:
                use()
            assert "\n" not in str(caught.value)


def test_clearing_a_locked_cache_is_an_error(tmp_path: Path) -> None:
    with contextlib.closing(kept(tmp_path)) as cache:
        cache._db.execute("PRAGMA busy_timeout=1")
        with contextlib.closing(sqlite3.connect(tmp_path / "c.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked"):
                cache.clear()
        assert cache.clear() == 1


def test_no_secret_of_a_suite_reaches_the_store_or_a_report(llmops, tmp_path):
    """Not from `with:`, from a header a server repeats, from --set, nor from a pipeline's own error."""
    from stub_server import Reply, StubServer

    secret = "sk-verysecret-123456"
    (tmp_path / "llmops.yaml").write_text("")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ask.prompt.md").write_text("user:\n{{ question }}\n")
    (tmp_path / "cases.jsonl").write_text('{"id": "1", "question": "q", "expected": "a"}\n')
    (tmp_path / "pipe.py").write_text("def answer(question, api_key):\n    raise ValueError('rejected ' + api_key)\n")
    with StubServer(default=Reply(status=400, body={"error": {"message": f"bad header {secret}"}})) as server:
        backend = f'{{openai_http: {{base_url: "{server.url}", model: m, headers: {{X-Key: "${{THE_KEY}}"}}}}}}'
        (tmp_path / "suite.yaml").write_text(
            "dataset: cases.jsonl\nvariants:\n"
            '  pipeline: {python: pipe.py:answer, with: {api_key: "${THE_KEY}"}}\n'
            f"  served: {{prompt: ask, backend: {backend}}}\nmetrics: [contains]\n"
        )
        done = llmops("eval", "suite.yaml", "-o", "r.html", "-o", "r.json", THE_KEY=secret)
        assert done.returncode == 4, done.stderr
        assert server.seen[0].headers["X-Key"] == secret
    assert secret not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
