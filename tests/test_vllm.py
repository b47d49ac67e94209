"""A real vLLM server: the protocol as it is spoken, and every token that it counts counted by us as well.

`scripts/vllm-cpu serve --background` starts one; `eval "$(scripts/vllm-cpu env)"` says where. Its counters are
compared, so nobody else may use it meanwhile: `pytest -m vllm -n 0`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from llmops.backends.openai_http import OpenAIHttp
from llmops.errors import BackendUnavailableError, RequestRejectedError
from llmops.store.call_log import open_call_log
from llmops.store.call_queries import Calls
from llmops.types import Call, Completion, Request
from llmops.usage.price_book import PriceBook
from llmops.usage.tracked import TrackedBackend
from llmops.usage.tracker import Tracker

URL = os.environ.get("LLMOPS_TEST_VLLM", "")
MODEL = os.environ.get("LLMOPS_TEST_VLLM_MODEL", "tiny-llama")
pytestmark = pytest.mark.vllm
if not URL:
    pytest.skip("LLMOPS_TEST_VLLM names no server; see scripts/vllm-cpu", allow_module_level=True)

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "sure": {"type": "boolean"}},
    "required": ["city", "sure"],
    "additionalProperties": False,
}
TOOL: Mapping[str, Any] = {
    "name": "look_up",
    "strict": True,
    "parameters": {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]},
}
ENDLESS: Mapping[str, Any] = {"max_tokens": 1500, "ignore_eos": True}  # a third of a second at least


def ask(text: str = "Say hello.", *, model: str = MODEL, **more: Any) -> Request:
    parameters = {"max_tokens": 12, **more.pop("parameters", {})}
    return Request(({"role": "user", "content": text},), model, parameters, **more)


def with_backend(work: Callable[[OpenAIHttp], Awaitable[Any]], **options: Any) -> Any:
    async def once() -> Any:
        backend = OpenAIHttp(URL, **options)
        try:
            return await work(backend)
        finally:
            await backend.aclose()

    return asyncio.run(once())


def complete(request: Request, **options: Any) -> Completion:
    completion = with_backend(lambda backend: backend.complete(request), **options)
    assert isinstance(completion, Completion)
    return completion


def counters() -> Counter[str]:
    """vLLM's own counts: a metric's name, with the value of the label that takes it apart."""
    with urllib.request.urlopen(f"{URL.removesuffix('/v1')}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: Counter[str] = Counter()
    for name, labels, value in re.findall(r"^(\w+:?\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        if name.startswith("vllm:") and not name.endswith(("_bucket", "_created")):
            reason = re.search(r'finished_reason="(\w+)"', labels)
            found[name.removeprefix("vllm:") + (f":{reason[1]}" if reason else "")] += int(float(value))
        elif name == "http_requests_total" and "/v1/chat/completions" in labels:
            status = re.search(r'status="(\w+)"', labels)
            found[f"http:{status[1] if status else ''}"] += int(float(value))
    return found


def settled_counters() -> Counter[str]:
    """The counts when nothing runs any more and they stand still."""
    deadline, before = time.monotonic() + 30, Counter({"none": 1})
    while time.monotonic() < deadline:
        now = counters()
        if not now["num_requests_running"] and not now["num_requests_waiting"] and now == before:
            return now
        before = now
        time.sleep(0.2)  # the server's own counts come in steps
    raise AssertionError("the server never came to rest")


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """What the server's counts grow by inside."""
    before, grown = settled_counters(), Counter[str]()
    yield grown
    grown.update(settled_counters())
    grown.subtract(before)


@pytest.mark.parametrize("stream", [False, True])
def test_text_and_usage_are_the_servers(stream: bool) -> None:
    with counted() as grown:
        completion = complete(ask(), stream=stream)
    usage = completion.usage
    assert completion.text and completion.model == MODEL
    assert completion.finish_reason in ("length", "stop")
    assert (usage.certainty, usage.requests) == ("exact", 1)
    assert (usage.input_tokens, usage.output_tokens) == (grown["prompt_tokens_total"], grown["generation_tokens_total"])
    assert completion.response_id.startswith("chatcmpl-")
    assert completion.latency_s is not None
    assert not stream or (completion.first_token_s is not None and 0 < completion.first_token_s < completion.latency_s)


def test_a_stream_is_its_pieces() -> None:
    async def pieces(backend: OpenAIHttp) -> list[Any]:
        return [part async for part in backend.stream(ask(parameters={"max_tokens": 60}))]

    *texts, whole = with_backend(pieces)
    assert len(texts) > 10
    assert "".join(texts) == whole.text


def test_a_seed_gives_the_same_text_again() -> None:
    one, two, other = (complete(ask(parameters={"seed": seed, "max_tokens": 30})).text for seed in (1, 1, 2))
    assert one == two != other


@pytest.mark.parametrize("stream", [False, True])
def test_an_output_schema_is_obeyed(stream: bool) -> None:
    completion = complete(ask(output_schema=SCHEMA, parameters={"max_tokens": 80}), stream=stream)
    assert completion.finish_reason == "stop"
    validate(json.loads(completion.text), dict(SCHEMA))


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_with_its_arguments(stream: bool) -> None:
    choice = {"type": "function", "function": {"name": "look_up"}}
    for seed in range(8):  # noise may write blanks into its call until it is cut off
        parameters = {"tool_choice": choice, "max_tokens": 300, "seed": seed}
        completion = complete(ask(tools=(TOOL,), parameters=parameters), stream=stream)
        if completion.tool_calls:
            break
    [call] = completion.tool_calls
    assert call.name == "look_up" and call.id
    assert call.arguments["n"] in (1, 2)


def test_log_probabilities_can_be_asked_for() -> None:
    assert complete(ask(parameters={"logprobs": True, "top_logprobs": 2, "max_tokens": 2})).usage.output_tokens == 2


def test_what_came_from_the_prefix_cache_is_told_apart() -> None:
    text = f"{random.random()} " + "word " * 400
    with counted() as grown:
        first, second = complete(ask(text)).usage, complete(ask(text)).usage
    assert first.cache_read_tokens == 0 < second.cache_read_tokens < second.input_tokens == first.input_tokens
    assert second.cache_read_tokens == grown["prompt_tokens_cached_total"]


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        (ask(model="nope"), 404, "does not exist"),
        (ask(parameters={"max_tokens": 100_000}), 400, "max_tokens"),
        (ask("word " * 5000), 400, "context length"),
        (ask(parameters={"temperature": -1}), 400, "temperature"),
        (ask(output_schema={"type": "nonsense"}), 400, "(?i)grammar|schema"),
    ],
    ids=["model", "max_tokens", "too long", "temperature", "schema"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_says_why_and_is_not_tried_again(request_: Request, status: int, says: str, stream: bool) -> None:
    with counted() as grown, pytest.raises(RequestRejectedError, match=says) as caught:
        complete(request_, stream=stream)
    assert caught.value.status == status
    assert not caught.value.retryable
    assert grown["prompt_tokens_total"] == grown["generation_tokens_total"] == 0


def test_a_chat_model_has_no_embeddings() -> None:
    with pytest.raises(RequestRejectedError) as caught:
        with_backend(lambda backend: backend.embed(["a"]), model=MODEL)
    assert caught.value.status == 404


def test_a_stream_left_early_stops_the_server() -> None:
    async def leave(backend: OpenAIHttp) -> None:
        async with contextlib.aclosing(backend.stream(ask(parameters=ENDLESS))) as parts:
            async for _ in parts:
                return

    with counted() as grown:
        with_backend(leave)
    assert 0 < grown["generation_tokens_total"] < ENDLESS["max_tokens"] // 2
    assert grown["request_success_total:length"] == 0


def test_a_stream_left_early_knows_its_input_when_every_chunk_tells_usage(tmp_path: Path) -> None:
    location = str(tmp_path / "calls.db")

    async def leave(**options: Any) -> None:
        tracker = Tracker(open_call_log(location), PriceBook.load(None, genai=False, litellm=False))
        backend = TrackedBackend(OpenAIHttp(URL, **options), tracker, name="local")
        async with contextlib.aclosing(
            backend.stream(ask("Count to a thousand, please.", parameters=ENDLESS))
        ) as parts:
            async for _ in parts:
                break
        await backend.aclose()
        tracker.close()

    asked = complete(ask("Count to a thousand, please.")).usage.input_tokens
    asyncio.run(leave(usage_in_every_chunk=True))
    [call] = call_rows(location)
    assert (call.outcome, call.state, call.usage.input_tokens) == ("abandoned", "estimated", asked)
    assert call.usage.output_tokens > 0


Kind = str
MIX: Mapping[Kind, int] = {
    "whole": 170, "stream": 120, "schema": 60, "streamed schema": 30, "cached": 30, "refused": 40, "left": 35,
    "cancelled": 15,
}  # fmt: skip
LONG = "A long preface that many requests share. " * 60
GIVEN_UP = ask("Count for ever.", parameters=ENDLESS)


def mixed(seed: int) -> list[tuple[Kind, int]]:
    kinds = [(kind, number) for kind, count in MIX.items() for number in range(count)]
    random.Random(seed).shuffle(kinds)
    return kinds


async def send(backend: TrackedBackend, kind: Kind, number: int) -> None:
    """One request of a kind; what is left or cancelled would go on for far longer than it is read."""
    text = f"{kind} {number}: {'please ' * (number % 7)}"
    few = {"max_tokens": 1 + number % 24}
    if kind == "whole":
        await backend.complete(ask(text, parameters=few))
    elif kind == "cached":
        await backend.complete(ask(LONG + text, parameters=few))
    elif kind == "stream":
        assert [part async for part in backend.stream(ask(text, parameters=few))]
    elif kind == "schema":
        await backend.complete(ask(text, output_schema=SCHEMA, parameters={"max_tokens": 80}))
    elif kind == "streamed schema":
        assert [p async for p in backend.stream(ask(text, output_schema=SCHEMA, parameters={"max_tokens": 80}))]
    elif kind == "refused":
        wrong = ask(text, model="nope") if number % 2 else ask(text, parameters={"max_tokens": 100_000})
        with pytest.raises(RequestRejectedError):
            await backend.complete(wrong)
    elif kind == "left":
        async with contextlib.aclosing(backend.stream(GIVEN_UP)) as parts:
            for _ in range(1 + number % 12):
                await anext(parts)
    else:
        task = asyncio.ensure_future(backend.complete(GIVEN_UP))
        await asyncio.sleep(0.005 * (1 + number % 8))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def send_all(tracker: Tracker, **options: Any) -> int:
    """How many requests were sent: 500, and those that a broken connection made necessary."""
    server = OpenAIHttp(URL, model=MODEL, **options)
    backend = TrackedBackend(server, tracker, name="local", provider="vllm")
    limit = asyncio.Semaphore(24)
    sent = 0

    async def one(kind: Kind, number: int) -> None:
        nonlocal sent
        async with limit:
            while True:
                sent += 1
                try:
                    return await send(backend, kind, number)
                except BackendUnavailableError:  # the server closed a connection that was idle for long
                    assert sent < 550

    try:
        async with asyncio.TaskGroup() as group:
            for kind, number in mixed(seed=5):
                group.create_task(one(kind, number))
    finally:
        await server.aclose()
    return sent


def test_the_log_counts_what_vllm_counts_over_500_mixed_requests(tmp_path: Path) -> None:
    """Settled rows equal, to the token, the counts of the requests that vLLM finished, less those finished for nobody.

    vLLM doesn't always notice that a caller gave up and then works to the end. Each of those is `GIVEN_UP`, whose
    tokens are known. What it made for requests that it stopped is in its totals alone; our rows of them are estimates,
    and are held to nothing but being called so.
    """
    each = complete(ask("Count for ever.", parameters={"max_tokens": 1})).usage.input_tokens
    location = str(tmp_path / "calls.db")
    log = open_call_log(location)
    book = PriceBook.load(None, {"models": [{"model": MODEL, "provider": "vllm", "input": 1, "output": 2}]})
    with counted() as grown:
        sent = asyncio.run(send_all(Tracker(log, book)))
        log.flush()
    log.close()
    rows = call_rows(location)
    assert len(rows) == sent >= sum(MIX.values()) == 500

    settled = [row for row in rows if row.outcome == "success"]
    refused = [row for row in rows if row.error == "request_rejected"]
    given_up = [row for row in rows if row.outcome in ("abandoned", "cancelled")]
    estimated = [row for row in rows if row.state == "estimated"]
    assert {row.state for row in settled} == {"settled"}
    assert len(settled) >= 410
    finished = sum(grown[f"request_success_total:{why}"] for why in ("stop", "length"))
    for_nobody = finished - len(settled)
    assert 0 <= for_nobody <= len(given_up)
    assert used(settled, "input_tokens") == grown["request_prompt_tokens_sum"] - for_nobody * each
    made = grown["request_generation_tokens_sum"] - for_nobody * ENDLESS["max_tokens"]
    assert used(settled, "output_tokens") == made
    assert used(settled, "cache_read_tokens") == grown["prompt_tokens_cached_total"] > 0
    prices = {row.id: row.usage.input_tokens * 1_000 + row.usage.output_tokens * 2_000 for row in settled}
    assert {row.id: row.cost.total for row in settled if row.cost is not None} == prices

    assert len(refused) == MIX["refused"] == grown["http:4xx"]
    assert all(row.usage.total_tokens == 0 and row.cost is not None and row.cost.total == 0 for row in refused)

    reached = len([row for row in rows if row.outcome != "unsent"])
    broken = len([row for row in rows if row.error == "backend_unavailable"])  # nobody knows whether those arrived
    assert reached - broken <= grown["http:2xx"] + grown["http:4xx"] <= reached

    assert {row.state for row in given_up} <= {"estimated", "unknown"}
    assert len([row for row in given_up if row.outcome == "abandoned"]) == MIX["left"] == len(estimated)
    given_up_tokens = grown["generation_tokens_total"] - made
    assert given_up_tokens > 0
    for_nothing = for_nobody * ENDLESS["max_tokens"]
    print(f"\noutput tokens of {len(given_up)} requests given up: {given_up_tokens} by vLLM, {for_nothing} of them of")
    print(f"{for_nobody} that it finished all the same; {used(estimated, 'output_tokens')} by our rows")


def call_rows(location: str) -> list[Call]:
    with Calls.open(location) as calls:
        return list(calls.rows())


def used(rows: Iterable[Call], name: str) -> int:
    """Tokens of one class over rows."""
    return sum(getattr(row.usage, name) for row in rows)


SUITE = """
description: A prompt suite on vLLM
dataset: {path: cities.jsonl}
variants:
  free: {prompt: city}
  forced: {prompt: city_json}
metrics: [valid_json, latency, tokens]
gates: ["errors <= 0%"]
"""


def test_a_prompt_suite_runs_on_it_end_to_end(tmp_path: Path, llmops: Any) -> None:
    (tmp_path / "llmops.yaml").write_text(f"backends: {{local: {{openai_http: {{base_url: {URL}, model: {MODEL}}}}}}}")
    (tmp_path / "evals").mkdir()
    (tmp_path / "prompts").mkdir()
    head = "---\nbackend: local\nparameters: {max_tokens: 40}\n"
    body = "inputs: {country: string}\n---\nuser:\nThe capital of {{ country }}?\n"
    (tmp_path / "prompts" / "city.prompt.md").write_text(head + body)
    forced = f"{head}output: {json.dumps(SCHEMA)}\n{body}"
    (tmp_path / "prompts" / "city_json.prompt.md").write_text(forced)
    cases = [{"id": f"c{n}", "inputs": {"country": f"country {n}"}} for n in range(20)]
    (tmp_path / "evals" / "cities.jsonl").write_text("\n".join(map(json.dumps, cases)))
    (tmp_path / "evals" / "cities.yaml").write_text(SUITE)

    with counted() as grown:
        done = llmops("eval", "evals/cities.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    [run] = json.loads(done.stdout)["runs"]
    free, forced = run["variants"]
    for variant in (free, forced):
        assert (variant["cases"], variant["errors"], variant["usage"]["certainty"]) == (20, 0, "exact")
    assert grown["request_success_total:length"] + grown["request_success_total:stop"] == 40
    for ours, theirs in (("input_tokens", "request_prompt_tokens_sum"), ("output_tokens", "generation_tokens_total")):
        assert free["usage"][ours] + forced["usage"][ours] == grown[theirs] > 0
    valid = {variant["name"]: variant["metrics"]["valid_json"]["mean"] for variant in (free, forced)}
    assert valid == {"free": 0.0, "forced": 1.0}
    rows = call_rows(str(tmp_path / ".llmops" / "llmops.db"))
    assert len(rows) == 40
    assert {(row.state, row.backend, row.attribution.purpose) for row in rows} == {("settled", "local", "eval")}
    assert used(rows, "output_tokens") == grown["generation_tokens_total"]
    assert {row.attribution.prompt for row in rows} == {"city", "city_json"}


def test_backends_check_finds_what_it_can_do(tmp_path: Path, llmops: Any) -> None:
    with counted() as grown:
        done = llmops("backends", "check", URL, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)["backends"]
    outcomes = {name: one["outcome"] for name, one in found["abilities"].items()}
    assert outcomes.pop("tools") in ("yes", "unknown")  # noise may write blanks into its call until it is cut off
    able = ("reachable", "model", "answers", "streams", "usage_in_streams", "json_schema", "logprobs")
    assert outcomes == {**dict.fromkeys(able, "yes"), "embeddings": "no"}
    assert found["models"] == [MODEL]
    assert 0 < found["latency"]["first_token_s"] < found["latency"]["total_s"]
    assert found["tokens"] == {
        "input": grown["prompt_tokens_total"], "output": grown["generation_tokens_total"], "certainty": "exact",
    }  # fmt: skip
