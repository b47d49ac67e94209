"""`llmops backends ls|check`: what is said of servers that can, can't, fail, hang, lie or aren't there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.request import urlopen

import pytest

from llmops.backend_checks import check_backends
from llmops.config import load_config
from llmops.errors import BackendUnavailableError
from llmops.registry import BUILT_INS
from llmops.store.call_queries import Calls
from llmops.types import Completion, Request, ToolCall, Usage
from openai_requests import TOOL
from stub_server import Reply, StubServer

Command = Callable[..., "CompletedProcess[str]"]
MODELS = Reply(body={"data": [{"id": "m"}, {"id": "other"}]})
LOGPROBS = {"choices": [{"message": {"content": "a"}, "logprobs": {"content": [{"logprob": -1.0}]}}]}
USAGE = {"prompt_tokens": 11, "completion_tokens": 7}


def able(body: Any, number: int) -> Reply:
    """A server that can do everything."""
    if body is None:
        return MODELS
    if "input" in body:
        return Reply(body={"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 1, "total_tokens": 1}})
    if "response_format" in body:
        return Reply(text='{"ok": true}')
    if "tools" in body:
        return Reply(text="", tool_calls=[TOOL], finish_reason="tool_calls")
    if "logprobs" in body:
        return Reply(body={**LOGPROBS, "usage": USAGE})
    return Reply(text="Hello there, you")


def unless(condition: Callable[[Mapping[str, Any]], bool], reply: Reply) -> Callable[[Any, int], Reply]:
    """An able server that gives `reply` to requests for a model that meet a condition."""

    def decide(body: Any, number: int) -> Reply:
        return reply if body is not None and condition(body) else able(body, number)

    return decide


def project(folder: Path, **backends: Any) -> None:
    (folder / "llmops.yaml").write_text(json.dumps({"backends": backends}))


def server_at(server: StubServer, **options: Any) -> Mapping[str, Any]:
    return {"openai_http": {"base_url": server.url, "model": "m", **options}}


def checked(folder: Path, *names: str) -> list[Mapping[str, Any]]:
    """What is found out, as `--json` prints it."""
    return [json.loads(json.dumps(one.as_json())) for one in check_backends(load_config(folder), names, timeout_s=20)]


def outcomes(found: Mapping[str, Any]) -> dict[str, str]:
    return {name: one["outcome"] for name, one in found["abilities"].items()}


ASKED = ("answers", "streams", "usage_in_streams", "json_schema", "tools", "logprobs", "embeddings")


def test_a_server_that_can_do_everything(tmp_path: Path) -> None:
    with StubServer(able) as server:
        project(tmp_path, local=server_at(server))
        [found] = checked(tmp_path)
    assert outcomes(found) == dict.fromkeys(("reachable", "model", *ASKED), "yes")
    assert (found["works"], found["models"]) == (True, ["m", "other"])
    assert found["requests_sent"] == server.count - 1 == 5  # the list of models is free
    assert found["tokens"] == {"input": 4 * 11 + 1, "output": 4 * 7, "certainty": "exact"}
    latency = found["latency"]
    assert 0 < latency["first_token_s"] < latency["total_s"]
    assert latency["connect_s"] > 0
    assert all(body["max_tokens"] <= 64 for body in server.bodies if body and "messages" in body)


def test_a_server_that_ignores_what_it_is_asked(tmp_path: Path) -> None:
    with StubServer(lambda body, _: MODELS if body is None else Reply(text="Hello!", usage=None)) as server:
        project(tmp_path, local=server_at(server))
        [found] = checked(tmp_path)
    assert {name for name, outcome in outcomes(found).items() if outcome == "no"} == {
        "usage_in_streams", "json_schema", "tools", "logprobs",
    }  # fmt: skip
    assert found["works"]
    assert "Hello!" in found["abilities"]["json_schema"]["detail"]


@pytest.mark.parametrize(
    ("reply", "outcome", "says"),
    [
        (Reply(status=400, text="no such thing here"), "no", "no such thing here"),
        (Reply(status=500, text="out of order"), "unknown", "out of order"),
        (Reply(status=429, text="slow down"), "unknown", "slow down"),
        (Reply(text='{"ok', finish_reason="length"), "unknown", "cut off"),
        (Reply(ending="close"), "unknown", "connection"),
    ],
    ids=["refused", "failed", "limited", "cut off", "closed"],
)
@pytest.mark.parametrize(("ability", "key"), [("json_schema", "response_format"), ("tools", "tools")])
def test_only_a_refusal_says_that_it_cannot(
    reply: Reply, outcome: str, says: str, ability: str, key: str, tmp_path: Path
) -> None:
    with StubServer(unless(lambda body: key in body, reply)) as server:
        project(tmp_path, local=server_at(server))
        [found] = checked(tmp_path)
    assert found["abilities"][ability]["outcome"] == outcome
    assert says in found["abilities"][ability]["detail"]
    assert outcomes(found)["logprobs"] == "yes"


def test_one_that_is_down_does_not_hide_the_others_and_sets_the_exit_code(llmops: Command, tmp_path: Path) -> None:
    with StubServer(able) as gone:
        pass
    with StubServer(able) as server:
        project(tmp_path, down=server_at(gone), local=server_at(server))
        done = llmops("backends", "check", "--json")
        assert done.returncode == 4
        down, local = json.loads(done.stdout)["backends"]
    assert outcomes(down) == {"reachable": "no"}
    assert (down["works"], down["requests_sent"], local["works"]) == (False, 0, True)


def test_without_its_key_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHECK_KEY", raising=False)
    with StubServer(able) as server:
        project(tmp_path, hosted=server_at(server, api_key_env="CHECK_KEY"))
        [found] = checked(tmp_path)
        urlopen(server.root).close()  # so that the server has seen what came before
        assert server.count == 1
    assert outcomes(found) == {"reachable": "yes", "key": "no"}
    assert not found["works"]
    assert "$CHECK_KEY isn't set" in found["abilities"]["key"]["detail"]


def test_a_key_is_sent_and_never_shown(llmops: Command, tmp_path: Path) -> None:
    secret = "sk-very-secret-words"
    echo = Reply(status=401, text=f"what is {secret}?")
    with StubServer(lambda body, _: MODELS if body is None else echo) as server:
        project(tmp_path, hosted=server_at(server, api_key_env="CHECK_KEY"))
        for words in (("--json",), ()):
            done = llmops("backends", "check", *words, CHECK_KEY=secret)
            assert done.returncode == 4
            assert "401" in done.stdout and secret not in done.stdout + done.stderr
        listed = llmops("backends", "ls", CHECK_KEY=secret)
    assert {seen.headers["Authorization"] for seen in server.seen} == {f"Bearer {secret}"}
    assert "$CHECK_KEY" in listed.stdout and secret not in listed.stdout


def test_a_model_that_is_not_served(llmops: Command, tmp_path: Path) -> None:
    with StubServer(
        unless(lambda body: body.get("model") == "gone", Reply(status=404, text="no model gone"))
    ) as server:
        project(tmp_path, local=server_at(server, model="gone"))
        [found] = checked(tmp_path)
        shown = llmops("backends", "check").stdout
    assert outcomes(found) == {"reachable": "yes", "model": "no", "answers": "no"}
    assert found["requests_sent"] == 1
    assert "✗ model" in shown and "m, other" in shown and "no model gone" in shown


def test_the_only_model_served_is_asked_when_none_is_named(tmp_path: Path) -> None:
    only = Reply(body={"data": [{"id": "only"}]})
    with StubServer(lambda body, number: only if body is None else able(body, number)) as server:
        [found] = checked(tmp_path, server.url)
    assert found["works"] and found["name"] == server.url
    assert {body["model"] for body in server.bodies if body} == {"only"}


def test_the_other_name_of_the_token_limit_is_tried(tmp_path: Path) -> None:
    refusal = Reply(status=400, text="Unsupported parameter: use 'max_completion_tokens' instead.")
    with StubServer(unless(lambda body: "max_tokens" in body, refusal)) as server:
        project(tmp_path, local=server_at(server))
        [found] = checked(tmp_path)
    assert set(outcomes(found).values()) == {"yes"}
    assert found["requests_sent"] == 6


def test_a_server_that_hangs_is_not_waited_for(llmops: Command, tmp_path: Path) -> None:
    with StubServer(lambda body, _: MODELS if body is None else Reply(ending="hang")) as server:
        project(tmp_path, slow=server_at(server))
        done = llmops("backends", "check", "--timeout", "3")
    assert done.returncode == 4
    assert "✗ answers" in done.stdout and "no answer within 3 s" in done.stdout
    assert "1 request sent" in done.stdout


@pytest.mark.parametrize("models", [Reply(status=404), Reply(body=b"<html>"), Reply(body={"data": "all of them"})])
def test_a_server_that_does_not_list_its_models(models: Reply, tmp_path: Path) -> None:
    with StubServer(lambda body, number: models if body is None else able(body, number)) as server:
        project(tmp_path, local=server_at(server))
        [found] = checked(tmp_path)
    assert outcomes(found)["model"] == "unknown" and found["works"]


def test_a_server_cannot_drive_the_terminal(llmops: Command, tmp_path: Path) -> None:
    evil = Reply(body={"data": [{"id": "\x1b[2J\u202egood"}, {"id": "x"}]})
    with StubServer(lambda body, _: evil if body is None else Reply(status=400, text="\x1b]0;hi\x07 no")) as server:
        project(tmp_path, local=server_at(server))
        done = llmops("backends", "check")
    assert "good" in done.stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout)


def test_what_is_asked_is_in_the_call_log(llmops: Command, tmp_path: Path) -> None:
    with StubServer(unless(lambda body: "tools" in body, Reply(status=400, text="no tools"))) as server:
        project(tmp_path, local=server_at(server))
        [found] = json.loads(llmops("backends", "check", "--json").stdout)["backends"]
    with Calls.open(tmp_path / ".llmops" / "llmops.db") as calls:
        rows = list(calls.rows())
    assert len(rows) == found["requests_sent"] == 5
    assert {(row.backend, row.attribution.feature) for row in rows} == {("local", "backends check")}
    assert sorted(row.outcome for row in rows) == ["error", "success", "success", "success", "success"]


def test_what_runs_in_this_process_is_sent_nothing(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text('{"prompt": "Hi", "text": "Hello"}\n')
    project(tmp_path, ours="extractive", kept={"recorded": "answers.jsonl"})
    for found in checked(tmp_path):
        assert outcomes(found) == {"reachable": "yes"}
        assert found["requests_sent"] == 0


def test_one_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    project(tmp_path, kept={"recorded": "missing.jsonl"}, ours="extractive")
    kept, ours = checked(tmp_path)
    assert "missing.jsonl" in kept["abilities"]["reachable"]["detail"]
    assert ours["works"]


class Fake:
    """A backend of another kind: no stream, no address."""

    identity: Mapping[str, Any] = {"kind": "fake"}

    async def complete(self, request: Request) -> Completion:
        usage = Usage(3, 2, requests=1, certainty="exact")
        if request.output_schema is not None:
            return Completion('{"ok": false}', usage)
        return Completion("", usage, (ToolCall("look_up"),)) if request.tools else Completion("Hello", usage)


def test_any_other_kind_is_asked_through_its_own_door(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(BUILT_INS["backends"], "fake", f"{__name__}:Fake")
    project(tmp_path, mine="fake")
    [found] = check_backends(load_config(tmp_path))
    assert {one.ability: one.outcome for one in found.findings} == {
        "reachable": "yes", "answers": "yes", "streams": "no", "json_schema": "yes", "tools": "yes",
    }  # fmt: skip
    assert (found.requests, found.usage.total_tokens, found.works) == (3, 15, True)


class Streaming(Fake):
    """Six tokens, the first after 0.1 seconds, all after 0.35."""

    async def stream(self, request: Request) -> AsyncIterator[str | Completion]:
        yield "Hello"
        usage = Usage(3, 6, requests=1, certainty="exact")
        yield Completion("Hello", usage, latency_s=0.35, first_token_s=0.1)


def test_speed_is_of_the_tokens_after_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(BUILT_INS["backends"], "fake", f"{__name__}:Streaming")
    project(tmp_path, mine="fake")
    [found] = check_backends(load_config(tmp_path))
    assert found.latency.tokens_per_s == pytest.approx(20)
    assert {one.outcome for one in found.findings} == {"yes"}


class Lost(Fake):
    """Its server is gone."""

    async def complete(self, request: Request) -> Completion:
        raise BackendUnavailableError("nobody there")


def test_any_other_kind_whose_server_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(BUILT_INS["backends"], "fake", f"{__name__}:Lost")
    project(tmp_path, mine="fake")
    [found] = check_backends(load_config(tmp_path))
    assert [(one.ability, one.outcome) for one in found.findings] == [("reachable", "no"), ("answers", "no")]
    assert not found.works


def test_a_budget_that_is_used_up_says_nothing_about_the_server(llmops: Command, tmp_path: Path) -> None:
    with StubServer(able) as server:
        rule = {"limit": "3 requests", "per": "day", "where": {"feature": "backends check"}}
        settings = {"backends": {"local": server_at(server)}, "budgets": [rule]}
        (tmp_path / "llmops.yaml").write_text(json.dumps(settings))
        [found] = json.loads(llmops("backends", "check", "--json").stdout)["backends"]
    assert found["requests_sent"] == server.count - 1 == 3
    assert [outcomes(found)[name] for name in ("tools", "logprobs", "embeddings")] == ["yes", "unknown", "unknown"]
    assert "budget" in found["abilities"]["logprobs"]["detail"]


def test_names_that_nothing_has(llmops: Command, tmp_path: Path) -> None:
    nothing = llmops("backends", "check")
    assert nothing.returncode == 2 and "names no backends" in nothing.stderr
    project(tmp_path, local={"openai_http": "http://127.0.0.1:1"})
    mistyped = llmops("backends", "check", "locl")
    assert mistyped.returncode == 2 and "did you mean 'local'" in mistyped.stderr


def test_ls_says_what_is_written_and_asks_nobody(llmops: Command, tmp_path: Path) -> None:
    with StubServer() as server:
        project(
            tmp_path,
            local=server_at(server, base_url=f"{server.url}?version=2"),
            hosted={"openai_http": {"base_url": "https://api.openai.com/v1", "model": "big"}},
            keyed=server_at(server, api_key_env="CHECK_KEY"),
            ours="extractive",
            kept={"recorded": "answers.jsonl"},
            first={"fallback": ["local", "hosted"]},
        )
        done = llmops("backends", "ls", "--json", CHECK_KEY="something")
        table = llmops("backends", "ls").stdout
        assert server.count == 0
    local, hosted, keyed, ours, kept, first = json.loads(done.stdout)["backends"]
    assert (local["address"], local["model"], local["key_is_set"]) == (server.url, "m", None)
    assert (hosted["key_variable"], hosted["key_is_set"]) == ("OPENAI_API_KEY", False)
    assert (keyed["key_variable"], keyed["key_is_set"]) == ("CHECK_KEY", True)
    assert (ours["kind"], ours["model"], kept["address"]) == ("extractive", "", "answers.jsonl")
    assert (first["kind"], first["model"]) == ("fallback", "local, hosted")
    assert "$OPENAI_API_KEY isn't set" in table and server.url in table


def test_ls_without_backends_says_how_to_name_one(llmops: Command) -> None:
    done = llmops("backends", "ls")
    assert done.returncode == 0
    assert "backends:" in done.stderr


def test_a_page_instead_of_answers_is_named(tmp_path: Path) -> None:
    page = Reply(body="<html>Log in</html>", headers={"Content-Type": "text/html"})
    with StubServer(default=page) as server:
        project(tmp_path, local=server_at(server))
        [found] = checked(tmp_path)
    assert not found["works"] and found["requests_sent"] == 1
    for ability, outcome in (("model", "unknown"), ("answers", "no")):
        assert found["abilities"][ability]["outcome"] == outcome
        assert "isn't JSON: '<html>Log in</html>'; is the address right?" in found["abilities"][ability]["detail"]


def test_an_address_without_its_scheme_is_told_how_to_be_written(llmops: Command, tmp_path: Path) -> None:
    done = llmops("backends", "check", "localhost:8931", cwd=tmp_path)
    assert done.returncode == 2 and "write http://localhost:8931" in done.stderr.replace("\n", " ")
    done = llmops("backends", "check", "local", cwd=tmp_path)
    assert done.returncode == 2 and f"no llmops.yaml is in {tmp_path}" in done.stderr.replace("\n", " ")


def test_a_shell_completes_the_names_of_backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmops.cli.backends import _complete

    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    assert _complete("") == []
    (tmp_path / "llmops.yaml").write_text("backends: {local: {extractive: {}}, laptop: {extractive: {}}}\n", "utf-8")
    assert (_complete(""), _complete("lo")) == (["local", "laptop"], ["local"])
    (tmp_path / "llmops.yaml").write_text("backends: [", "utf-8")
    assert _complete("") == []
