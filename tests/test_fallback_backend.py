"""Backends in order: who is asked next, and that the switch can be seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llmops.attribution import ATTRIBUTION
from llmops.backends.fallback import Fallback
from llmops.backends.openai_http import OpenAIHttp
from llmops.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadResponseError,
    BudgetExceededError,
    ConfigError,
    InputError,
    RateLimitedError,
    RequestRejectedError,
)
from llmops.types import Backend, Build, Completion, Request, Usage
from provider_server import Answer, ProviderServer

ASK = Request(({"role": "user", "content": "Hi"},))
USAGE = Usage(3, 2, requests=1, certainty="exact")


class Scripted:
    """Raises or answers what it is given, and notes what it was asked and from whom it took over."""

    def __init__(self, *script: Any, model: str = "") -> None:
        self.script = list(script)
        self.model = model
        self.asked: list[Request] = []
        self.instead_of: list[str] = []
        self.closed = False

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "scripted", "model": self.model}

    def _turn(self, request: Request) -> Any:
        self.asked.append(request)
        self.instead_of.append(ATTRIBUTION.get().fallback_from)
        return self.script.pop(0)

    async def complete(self, request: Request) -> Completion:
        turn = self._turn(request)
        if isinstance(turn, BaseException):
            raise turn
        return Completion(turn, USAGE)

    async def aclose(self) -> None:
        self.closed = True


class Streaming(Scripted):
    async def stream(self, request: Request) -> AsyncGenerator[str | Completion, None]:
        pieces: Sequence[Any] = self._turn(request)
        for piece in pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
        yield Completion("".join(pieces), USAGE)


def build(**backends: Backend) -> Build:
    return Build(Path(), lambda _: None, lambda form: backends[form])  # type: ignore[arg-type, return-value]


def fallback(**backends: Any) -> Fallback:
    return Fallback(build(**backends), list(backends))


def collect(made: Fallback, request: Request = ASK) -> list[str | Completion]:
    async def all_parts() -> list[str | Completion]:
        seen = []
        async for part in made.stream(request):
            assert ATTRIBUTION.get().fallback_from == "", "the reader's own calls are no fallbacks"
            seen.append(part)
        return seen

    return asyncio.run(all_parts())


@pytest.mark.parametrize(
    "error",
    [BackendUnavailableError("down"), BackendTimeoutError("late"), RateLimitedError("busy"), BadResponseError("noise")],
)
def test_the_next_one_is_asked_when_one_cannot_answer(error: BackendError) -> None:
    local, hosted = Scripted(error), Scripted("Paris")
    completion = asyncio.run(fallback(local=local, hosted=hosted).complete(ASK))
    assert (completion.text, completion.backend, completion.usage) == ("Paris", "hosted", USAGE)
    assert (local.instead_of, hosted.instead_of) == ([""], ["local"])
    assert ATTRIBUTION.get().fallback_from == ""


@pytest.mark.parametrize(
    "error", [RequestRejectedError("no"), ConfigError("no key"), BudgetExceededError("spent"), asyncio.CancelledError()]
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_ends_it(error: BaseException, stream: bool) -> None:
    local, hosted = Streaming([error] if stream else error), Streaming("never")
    made = fallback(local=local, hosted=hosted)
    with pytest.raises(type(error)):
        if stream:
            collect(made)
        else:
            asyncio.run(made.complete(ASK))
    assert hosted.asked == []


def test_the_first_one_answers_alone_and_the_last_error_is_raised() -> None:
    one, two, three = (
        Scripted("a", BackendUnavailableError("1")),
        Scripted(RateLimitedError("2")),
        Scripted(BackendTimeoutError("3")),
    )
    made = fallback(one=one, two=two, three=three)
    assert asyncio.run(made.complete(ASK)).backend == "one"
    assert two.asked == []
    with pytest.raises(BackendTimeoutError, match="3"):
        asyncio.run(made.complete(ASK))
    assert three.instead_of == ["two"]


def test_a_model_that_is_asked_for_is_the_firsts() -> None:
    down = BackendUnavailableError("down")
    local, hosted, other = Scripted(down, model="qwen"), Scripted(down, model="large"), Scripted("x")
    asyncio.run(fallback(local=local, hosted=hosted, other=other).complete(Request(ASK.messages, model="tuned")))
    assert [b.asked[0].model for b in (local, hosted, other)] == ["tuned", "", "tuned"]


def test_a_stream_falls_back_before_its_first_piece_only() -> None:
    down = BackendUnavailableError("cut")
    local, hosted = Streaming([down], ["Pa", down]), Streaming(["Pa", "ris"], ["never"])
    made = fallback(local=local, hosted=hosted)
    *pieces, last = collect(made)
    assert pieces == ["Pa", "ris"] and isinstance(last, Completion) and last.backend == "hosted"
    assert hosted.instead_of == ["local"]
    with pytest.raises(BackendUnavailableError, match="cut"):
        collect(made)
    assert len(hosted.asked) == 1


def test_a_backend_that_cannot_stream_answers_in_one_piece() -> None:
    made = fallback(local=Streaming([BackendUnavailableError("down")]), hosted=Scripted("Paris"))
    assert [p if isinstance(p, str) else p.text for p in collect(made)] == ["Paris", "Paris"]


def test_what_it_is_made_of() -> None:
    local, hosted = Scripted(model="a"), Scripted(model="b")
    made = fallback(local=local, hosted=hosted)
    assert made.identity == {"kind": "fallback", "backends": [local.identity, hosted.identity]}
    assert made.model == "a" and not made.local
    asyncio.run(made.aclose())
    assert local.closed and hosted.closed
    with pytest.raises(InputError, match="two"):
        fallback(local=local)


def test_every_key_is_asked_for_before_anything_is_sent() -> None:
    hosted = OpenAIHttp("http://127.0.0.1:9/v1", model="m", api_key_env="NO_SUCH_KEY_HERE")
    with pytest.raises(ConfigError, match="NO_SUCH_KEY_HERE"):
        fallback(local=Scripted(), hosted=hosted).check_ready()


def test_over_http_a_server_that_is_down_busy_or_cut_is_left() -> None:
    async def ask(first: str, second: str, stream: bool) -> tuple[str, str]:
        local, hosted = OpenAIHttp(first, model="m", stream=stream), OpenAIHttp(second, model="m", stream=stream)
        made = fallback(local=local, hosted=hosted)
        try:
            completion = await made.complete(ASK)
            return completion.text, completion.backend
        finally:
            await made.aclose()

    for bad in (Answer(status=503), Answer(status=500), Answer(ending="reset"), Answer(ending="cut", cut_at=40)):
        for stream in (False, True):
            with ProviderServer(default=bad) as first, ProviderServer() as second:
                assert asyncio.run(ask(first.url, second.url, stream)) == ("Paris is it.", "hosted")
                assert (first.count, second.count) == (1, 1)
