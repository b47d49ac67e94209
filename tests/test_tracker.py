"""Every request has a row before it is sent, and one end, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import pytest

from llmops.attribution import ATTEMPT, COUNTER, Attempt, attributed, rendered, track
from llmops.errors import (
    BackendTimeoutError,
    BackendUnavailableError,
    BudgetExceededError,
    InputError,
    RateLimitedError,
    RequestRejectedError,
    StoreError,
)
from llmops.token_usage.estimating import believable, estimated_usage, text_tokens
from llmops.types import Call, Completion, Cost, Request, ToolCall, Usage
from llmops.usage.open_call import OpenCall
from llmops.usage.tracked import TrackedBackend
from llmops.usage.tracker import Tracker
from llmops.usage.unopened import UnopenedLog

EXACT = Usage(10, 5, requests=1, certainty="exact")
ASK = Request(({"role": "user", "content": "How long may films be kept?"},), "small")


class Log:
    """The protocol of a call log, in memory."""

    def __init__(self):
        self.begun, self.ended, self.discarded, self.texts, self.fail = [], [], [], [], None

    async def begin(self, call, holds=()):
        self.begin_now(call, holds)

    def begin_now(self, call, holds=()):
        if self.fail is not None:
            raise self.fail
        self.begun.append(call)

    def settle(self, call, holds=(), text=None):
        if self.fail is not None:
            raise self.fail
        self.ended.append(call)
        self.texts.append(text)

    def discard(self, call, holds=()):
        self.discarded.append(call)

    def flush(self, timeout_s=30):
        pass


class Prices:
    """Two nano-dollars a token for the model `small`, nothing for others."""

    def cost(self, usage, *, provider, model, asked="", backend="", at=None, service_tier=""):
        if "small" not in (model, asked):
            return None
        certainty = "exact" if usage.certainty == "exact" else "estimated"
        return Cost(
            2 * usage.total_tokens, input=2 * usage.input_tokens, output=2 * usage.output_tokens, certainty=certainty
        )


class Server:
    """A backend that does what it is told."""

    model = "small"

    def __init__(self, answer=None, *, pieces=(), raises=None, hang=False):
        self.identity, self.began = {"kind": "told"}, asyncio.Event()
        self.answer, self.pieces, self.raises, self.hang = answer, pieces, raises, hang
        self.closed = False

    async def complete(self, request):
        self.began.set()
        if self.hang:
            await asyncio.Event().wait()
        if self.raises is not None:
            raise self.raises
        return self.answer

    async def stream(self, request):
        try:
            for piece in self.pieces:
                yield piece
            if self.hang:
                await asyncio.Event().wait()
            if self.raises is not None:
                raise self.raises
            yield self.answer
        finally:
            self.closed = True


def tracked(server, **options):
    log = Log()
    return TrackedBackend(
        server, Tracker(log, Prices(), **options), name="local", provider="vllm", address="h:8000"
    ), log


def test_an_answer_is_one_settled_row_with_its_cost():
    answer = Completion("28 days", EXACT, model="small", finish_reason="stop", response_id="r-1", service_tier="flex")
    backend, log = tracked(Server(answer))
    completion = asyncio.run(backend.complete(ASK))
    [begun], [ended] = log.begun, log.ended
    assert (begun.outcome, begun.state, begun.model_asked) == ("pending", "pending", "small")
    assert begun.id == ended.id
    assert (ended.outcome, ended.state, ended.finish_reason, ended.response_id) == ("success", "settled", "stop", "r-1")
    assert (ended.backend, ended.provider, ended.address, ended.service_tier) == ("local", "vllm", "h:8000", "flex")
    assert ended.cost is not None and ended.cost.total == 30
    assert (completion.usage.cost, completion.usage.unpriced, completion.backend) == (30, 0, "local")
    assert ended.duration_s is not None and ended.duration_s >= 0


def test_an_end_changes_nothing_else_of_a_call_its_usage_or_its_answer():
    # Each field is something else, so that none can be lost or take another's place.
    numbers = iter(range(1, 100))
    counts = {field.name: next(numbers) for field in fields(Usage) if field.type == "int"}
    usage = Usage(**counts, certainty="exact", estimated_cost=True)
    answer = Completion(
        *("text", usage, (ToolCall("look", {}),), "finish", "small", 1.5, 0.5, True, "theirs", "id", "tier", None)
    )
    assert all(getattr(answer, field.name) for field in fields(Completion)[:-1])
    backend, log = tracked(Server(answer))
    with track(team="search"):
        completion = asyncio.run(backend.complete(ASK))
    priced = replace(usage, cost=2 * usage.total_tokens, unpriced=0, estimated_cost=False)
    assert completion == replace(answer, usage=priced, backend="local")
    [begun], [ended] = log.begun, log.ended
    told = {"model_served", "outcome", "state", "usage", "cost", "first_token_s", "duration_s"}
    told |= {"finish_reason", "response_id", "service_tier"}
    kept = [field.name for field in fields(Call) if field.name not in told]
    assert [getattr(ended, name) for name in kept] == [getattr(begun, name) for name in kept]
    said = (ended.model_served, ended.finish_reason, ended.response_id, ended.service_tier, ended.first_token_s)
    assert said == ("small", "finish", "id", "tier", 0.5)
    other = replace(begun, operation="embeddings", attempt=3, stream=True, guards=(("a", "b"),))
    call = OpenCall(backend.tracker, other, (), ASK.messages)
    ended = call.succeeded(EXACT)
    assert (ended.operation, ended.attempt, ended.stream, ended.guards) == ("embeddings", 3, True, (("a", "b"),))
    assert ended.error == "" and call.failed(BackendUnavailableError("cut")) is ended


def test_a_model_without_a_price_is_unpriced_and_never_free():
    backend, log = tracked(Server(Completion("x", EXACT, model="other")))
    completion = asyncio.run(backend.complete(replace(ASK, model="another")))
    assert log.ended[0].cost is None
    assert (completion.usage.cost, completion.usage.unpriced) == (None, 1)


def test_tokens_that_nobody_counted_are_estimated_and_say_so():
    backend, log = tracked(Server(Completion("Films may be kept for 7 days.", Usage(requests=1), model="small")))
    completion = asyncio.run(backend.complete(ASK))
    assert (log.ended[0].state, completion.usage.certainty) == ("estimated", "estimated")
    assert completion.usage.output_tokens == text_tokens("Films may be kept for 7 days.") > 0
    assert completion.usage.estimated_cost and log.ended[0].cost.certainty == "estimated"


@pytest.mark.parametrize("status", [400, 401, 404, 429])
def test_what_a_server_refuses_is_settled_and_costs_nothing(status):
    error = (RateLimitedError if status == 429 else RequestRejectedError)("no")
    error.status = status
    backend, log = tracked(Server(raises=error))
    with pytest.raises(type(error)):
        asyncio.run(backend.complete(ASK))
    [ended] = log.ended
    assert (ended.outcome, ended.state, ended.cost.total) == ("error", "settled", 0)
    assert ended.error == error.kind


def test_a_broken_connection_is_an_error_of_unknown_usage():
    backend, log = tracked(Server(raises=BackendUnavailableError("cut")))
    with pytest.raises(BackendUnavailableError):
        asyncio.run(backend.complete(ASK))
    assert (log.ended[0].outcome, log.ended[0].state, log.ended[0].cost) == ("error", "unknown", None)


def test_a_backends_timeout_is_a_timeout():
    backend, log = tracked(Server(raises=BackendTimeoutError("late")))
    with pytest.raises(BackendTimeoutError):
        asyncio.run(backend.complete(ASK))
    assert (log.ended[0].outcome, log.ended[0].state) == ("timeout", "unknown")


def test_a_call_that_is_cancelled_keeps_its_row():
    backend, log = tracked(server := Server(hang=True))

    async def go():
        task = asyncio.create_task(backend.complete(ASK))
        await server.began.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert (log.ended[0].outcome, log.ended[0].state) == ("cancelled", "unknown")


def test_a_cancel_at_the_end_of_an_attempts_time_is_a_timeout():
    backend, log = tracked(Server(hang=True))

    async def go():
        token = ATTEMPT.set(Attempt(3, 0.0))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await backend.complete(ASK)
        ATTEMPT.reset(token)

    asyncio.run(go())
    assert (log.ended[0].outcome, log.ended[0].attempt) == ("timeout", 3)


def test_a_call_that_never_left_is_unsent_and_counts_nothing():
    class Marks(Server):
        marks_sent = True

    backend, log = tracked(Marks(raises=BackendUnavailableError("no connection")))
    with pytest.raises(BackendUnavailableError):
        asyncio.run(backend.complete(ASK))
    [ended] = log.ended
    assert (ended.outcome, ended.usage.requests, ended.cost, ended.error) == ("unsent", 0, None, "backend_unavailable")


def test_a_whole_stream_is_settled():
    backend, log = tracked(Server(Completion("ab", EXACT, model="small"), pieces=("a", "b")))

    async def go():
        return [part async for part in backend.stream(ASK)]

    *pieces, whole = asyncio.run(go())
    assert pieces == ["a", "b"] and whole.usage.cost == 30
    [ended] = log.ended
    assert (ended.outcome, ended.state, ended.stream) == ("success", "settled", True)
    assert ended.first_token_s is not None


@pytest.mark.parametrize("how", ["aclose", "break"])
def test_a_stream_that_is_left_is_abandoned_with_what_came(how):
    server = Server(Completion("all of it", EXACT), pieces=("seven days, ", "and no more"))
    backend, log = tracked(server)

    async def go():
        parts = backend.stream(ASK)
        async for _ in parts:
            break
        if how == "aclose":
            await parts.aclose()
        else:
            del parts
            gc.collect()
            for _ in range(5):
                await asyncio.sleep(0)

    asyncio.run(go())
    [ended] = log.ended
    assert (ended.outcome, ended.state) == ("abandoned", "estimated")
    assert ended.usage.output_tokens == text_tokens("seven days, ")
    assert server.closed


def test_a_stream_that_breaks_keeps_what_came():
    backend, log = tracked(Server(pieces=("seven ",), raises=BackendUnavailableError("cut")))

    async def go():
        async for _ in backend.stream(ASK):
            pass

    with pytest.raises(BackendUnavailableError):
        asyncio.run(go())
    assert (log.ended[0].outcome, log.ended[0].state) == ("error", "estimated")
    assert log.ended[0].usage.output_tokens > 0


def test_usage_that_the_server_told_before_the_end_counts():
    tracker = Tracker(Log(), Prices())

    async def go():
        call = await tracker.open(model="small", stream=True, messages=ASK.messages)
        call.received("seven")
        call.counted(Usage(40, 1, requests=1, certainty="exact"))
        return call.abandoned()

    ended = asyncio.run(go())
    assert (ended.state, ended.usage.input_tokens, ended.cost.total) == ("estimated", 40, 84)  # two tokens came


WORDS = "some words of an answer " * 10


@pytest.mark.parametrize(
    ("told", "came", "wanted"),
    [
        ((1000, 0), {"text": WORDS}, (1000, 60, "estimated")),
        ((1000, 1), {"text": WORDS}, (1000, 60, "estimated")),  # the count of a first piece
        ((1000, 0), {"tool_calls": (ToolCall("look", {"city": "Paris"}, "c1"),)}, (1000, 10, "estimated")),
        ((1000, 0), {}, (1000, 0, "exact")),  # nothing was written: a filter, a stop at once, an embedding
        ((1000, 0), {"finish_reason": "content_filter"}, (1000, 0, "exact")),
        ((0, 50), {"text": WORDS}, (11, 50, "estimated")),
        ((1000, 9), {"text": WORDS}, (1000, 9, "exact")),  # few, but a tokenizer may
        ((1000, 60), {"text": WORDS}, (1000, 60, "exact")),
    ],
)
def test_a_count_that_cannot_be_the_whole_is_not_exact(told, came, wanted):
    call = Tracker(Log(), Prices()).open_now(model="small", messages=ASK.messages)
    ended = call.succeeded(Usage(*told, requests=1, certainty="exact"), **came)
    assert (ended.usage.input_tokens, ended.usage.output_tokens, ended.usage.certainty) == wanted


def test_reasoning_that_was_received_counts_like_words():
    for end in ("succeeded", "abandoned"):
        call = Tracker(Log(), Prices()).open_now(model="small", stream=True, messages=ASK.messages)
        call.wrote(WORDS)
        ended = call.succeeded(Usage(9, 0, requests=1, certainty="exact")) if end == "succeeded" else call.abandoned()
        assert (ended.state, ended.usage.output_tokens) == ("estimated", 60)


def test_a_count_that_more_of_the_answer_came_after_is_an_estimate():
    call = Tracker(Log(), Prices()).open_now(model="small", stream=True, messages=ASK.messages)
    call.received(WORDS)
    call.counted(Usage(9, 50, requests=1, certainty="exact"))
    call.received(WORDS)
    ended = call.succeeded()
    assert (ended.usage.input_tokens, ended.usage.output_tokens, ended.state) == (9, 120, "estimated")


@pytest.mark.parametrize("came", ["a piece", "reasoning", "a count", "the head"])
def test_a_refusal_is_free_only_if_nothing_came(came):
    call = Tracker(Log(), Prices()).open_now(model="small", stream=True, messages=ASK.messages)
    error = RateLimitedError("slow down")
    error.status, error.has_begun = 429, came == "the head"
    if came == "a piece":
        call.received("Paris")
    elif came == "reasoning":
        call.wrote("Let me see")
    elif came == "a count":
        call.counted(EXACT)
    ended = call.failed(error)
    assert (ended.outcome, ended.state) == ("error", "unknown" if came == "the head" else "estimated")
    assert ended.cost is None or ended.cost.total > 0


def test_only_the_first_end_counts():
    tracker = Tracker(log := Log(), Prices())

    async def go():
        call = await tracker.open(model="small")
        call.succeeded(EXACT)
        call.failed(ValueError("late"))
        call.abandoned()

    asyncio.run(go())
    assert [ended.outcome for ended in log.ended] == ["success"]


def test_what_the_provider_bills_goes_over_our_price():
    backend, log = tracked(Server(Completion("x", EXACT, model="small", reported_cost=77)))
    completion = asyncio.run(backend.complete(ASK))
    assert completion.usage.cost == 77
    assert (log.ended[0].cost.source, log.ended[0].cost.certainty) == ("reported", "exact")


def test_track_names_whom_calls_are_for_across_tasks_and_threads():
    tracker = Tracker(log := Log(), Prices())

    async def one(**kwargs):
        call = await tracker.open(model="small")
        call.succeeded(EXACT)

    async def go():
        with track(team="search", feature="answers", env="test"):
            await asyncio.gather(one(), one())
            with track(user="u1", env="prod"):
                await asyncio.to_thread(lambda: tracker.open_now(model="small").succeeded(EXACT))
        await one()

    asyncio.run(go())
    first, second, third, last = (ended.attribution for ended in log.ended)
    assert (first.team, first.feature, first.user, first.tags) == ("search", "answers", "", (("env", "test"),))
    assert second == first
    assert (third.team, third.user, third.tags) == ("search", "u1", (("env", "prod"),))
    assert (last.team, last.tags) == ("", ())


def test_track_in_a_thread_that_is_started_with_the_context():
    tracker = Tracker(log := Log(), Prices())
    with track(team="search"):
        context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(lambda: tracker.open_now(model="small").succeeded(EXACT),))
    thread.start()
    thread.join()
    assert log.ended[0].attribution.team == "search"


def test_track_takes_short_text_only():
    for wrong in (3, "x" * 201, None):
        with pytest.raises(InputError), track(team=wrong):
            pass


def test_a_prompt_is_named_by_text_too_and_a_purpose_is_said():
    with attributed(prompt_id="of-another"), track(prompt="docs/answer@2", purpose="guard") as found:
        assert (found.prompt, found.prompt_id, found.purpose) == ("docs/answer@2", "", "guard")
        with track(team="search") as inner:
            assert (inner.prompt, inner.purpose) == ("docs/answer@2", "guard")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prompt": 3}, "docs/answer@2"),
        ({"prompt": "x" * 201}, "200 characters"),
        ({"purpose": "judging"}, "app, eval, judge, guard"),
        *(({name: "x"}, name) for name in ("model", "run", "variant", "suite", "provider", "backend", "prompt_id")),
    ],
)
def test_what_a_call_knows_by_itself_is_no_tag(wrong, said):
    with pytest.raises(InputError, match=said), track(**wrong):
        pass


def test_messages_that_a_prompt_rendered_are_its():
    class Prompted:
        reference, content_id, label, route = "docs/answer@2", "abc123", "production", ""

    tracker = Tracker(log := Log(), Prices())
    with attributed(purpose="judge"):
        tracker.open_now(model="small", messages=rendered(ASK.messages, Prompted())).succeeded(EXACT)
    made = log.ended[0].attribution
    assert (made.prompt, made.prompt_id, made.purpose) == ("docs/answer@2", "abc123", "judge")
    assert made.tags == (("label", "production"),)


def test_a_refused_budget_sends_nothing():
    backend, log = tracked(server := Server(Completion("x", EXACT)))
    log.fail = BudgetExceededError("no dollars left")
    server.complete = None
    with pytest.raises(BudgetExceededError):
        asyncio.run(backend.complete(ASK))
    assert not log.begun


def test_a_broken_log_refuses_calls_by_default():
    backend, log = tracked(Server(Completion("x", EXACT)))
    log.fail = StoreError("the disk is full")
    with pytest.raises(StoreError):
        asyncio.run(backend.complete(ASK))


def test_a_broken_log_may_only_warn():
    backend, log = tracked(Server(Completion("x", EXACT)), on_failure="warn")
    log.fail = StoreError("the disk is full")
    with pytest.warns(RuntimeWarning, match="no longer recorded: the disk is full"):
        assert asyncio.run(backend.complete(ASK)).text == "x"
    with warnings.catch_warnings(record=True) as said:
        asyncio.run(backend.complete(ASK))
    assert not said and backend.tracker.lost == 2


def test_a_log_that_breaks_in_between_doesnt_lose_the_answer():
    class Breaks(Server):
        async def complete(self, request):
            log.fail = StoreError("the disk is full")
            return Completion("paid for", EXACT)

    backend, log = tracked(Breaks())
    with pytest.warns(RuntimeWarning, match="no longer recorded"):
        assert asyncio.run(backend.complete(ASK)).text == "paid for"
    with pytest.raises(StoreError):
        asyncio.run(backend.complete(ASK))


def test_texts_are_kept_only_when_asked_for():
    backend, log = tracked(Server(Completion("7 days", EXACT)))
    asyncio.run(backend.complete(ASK))
    assert log.texts == [None]
    backend, log = tracked(Server(Completion("7 days", EXACT)), keep_text=True)
    asyncio.run(backend.complete(ASK))
    assert (log.texts[0].messages, log.texts[0].answer) == (ASK.messages, "7 days")


def test_exporters_hear_of_every_end_and_cant_break_a_call():
    class Sink:
        def __init__(self):
            self.heard = []

        def record(self, call, text):
            self.heard.append(call.outcome)
            raise RuntimeError("broken exporter")

    sink = Sink()
    backend, _ = tracked(Server(Completion("x", EXACT)), sinks=[sink])
    asyncio.run(backend.complete(ASK))
    assert sink.heard == ["success"]


def test_without_a_tracker_a_backend_only_passes_on():
    backend = TrackedBackend(Server(Completion("x", EXACT)), None, name="local")
    assert asyncio.run(backend.complete(ASK)).backend == "local"
    assert backend.model == "small" and not hasattr(backend, "embed")


def test_estimates_count_every_script():
    assert text_tokens("") == 0
    assert text_tokens("abcd" * 10) == 10
    assert text_tokens("日本語") == 3
    usage = estimated_usage(({"role": "user", "content": [{"type": "text", "text": "abcd"}]},), "abcd")
    assert (usage.input_tokens, usage.output_tokens, usage.certainty) == (5, 1, "estimated")


def test_a_call_whose_owner_is_gone_without_a_word_is_abandoned():
    tracker = Tracker(log := Log(), Prices())
    call = tracker.open_now(model="small", stream=True, messages=ASK.messages)
    call.received("seven")
    del call
    gc.collect()
    tracker.flush()
    assert [(ended.outcome, ended.state) for ended in log.ended] == [("abandoned", "estimated")]


def test_a_stream_of_a_closed_event_loop_is_abandoned_by_the_next_call():
    server = Server(Completion("all of it", EXACT), pieces=("seven days, ", "and no more"))
    backend, log = tracked(server)
    loop = asyncio.new_event_loop()
    parts = backend.stream(ASK)
    assert loop.run_until_complete(anext(parts)) == "seven days, "
    loop.close()
    del parts
    gc.collect()
    backend.tracker.open_now(model="small").succeeded(EXACT)
    assert [ended.outcome for ended in log.ended] == ["abandoned", "success"]


class Hangs(Log):
    """Commits a row, and is cancelled before it can say so."""

    async def begin(self, call, holds=()):
        self.begun.append(call)
        await asyncio.Event().wait()

    def begin_now(self, call, holds=()):
        self.begun.append(call)
        raise KeyboardInterrupt


@pytest.mark.parametrize("broken", [False, True])
def test_a_cancel_while_the_row_is_written_is_unsent_and_stays_a_cancel(broken):
    log = Hangs()
    if broken:
        log.discard = lambda call, holds=(): (_ for _ in ()).throw(StoreError("the disk is full"))
    backend = TrackedBackend(server := Server(Completion("x", EXACT)), Tracker(log, Prices()), name="local")

    async def go():
        task = asyncio.create_task(backend.complete(ASK))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(go())
    assert not server.began.is_set() and not log.ended
    assert broken or [call.id for call in log.discarded] == [call.id for call in log.begun]


def test_ctrl_c_while_a_thread_waits_for_its_row_is_unsent():
    tracker = Tracker(log := Hangs(), Prices())
    with pytest.raises(KeyboardInterrupt):
        tracker.open_now(model="small")
    assert [call.id for call in log.discarded] == [call.id for call in log.begun]


def test_an_exporter_that_breaks_at_the_end_doesnt_keep_the_log_from_closing():
    class Sink:
        def record(self, call, text):
            pass

        def close(self):
            raise RuntimeError("broken exporter")

    closed = []
    log = Log()
    log.close = lambda: closed.append(True)
    tracker = Tracker(log, Prices(), sinks=[Sink()])
    tracker.close()
    tracker.close()
    assert closed == [True] and tracker.is_closed


@pytest.mark.parametrize("with_tools", [False, True])
def test_estimates_count_tools_and_the_calls_of_them(with_tools):
    tool = {"type": "function", "function": {"name": "search", "description": "find a text in the archive"}}
    asked = replace(ASK, tools=(tool,) if with_tools else ())
    calls = (ToolCall("search", {"query": "how long may films be kept"}),) if with_tools else ()
    backend, log = tracked(Server(Completion("", Usage(requests=1), tool_calls=calls, model="small")))
    asyncio.run(backend.complete(asked))
    usage = log.ended[0].usage
    assert (usage.output_tokens > 5, usage.input_tokens > 20) == (with_tools, with_tools)


def test_an_error_after_usage_was_counted_is_not_free():
    error = RequestRejectedError("the filter stopped it")
    error.status = 400
    tracker = Tracker(Log(), Prices())
    call = tracker.open_now(model="small", stream=True, messages=ASK.messages)
    call.counted(Usage(40, 1, requests=1, certainty="exact"))
    ended = call.failed(error)
    assert (ended.state, ended.cost.total) == ("estimated", 82)


def test_a_backend_that_cant_stream_doesnt_seem_to():
    class Plain:
        identity, model = {"kind": "plain"}, "small"

        async def complete(self, request):
            return Completion("x", EXACT)

    assert not hasattr(TrackedBackend(Plain(), None), "stream")
    assert hasattr(TrackedBackend(Server(), None), "stream")


def test_a_kept_answer_costs_what_the_model_it_was_asked_of_costs_now():
    server = Server()
    server.model = "small"
    backend, _ = tracked(server)
    kept = Completion("x", EXACT, model="/models/of-theirs", cached=True)
    assert backend.priced(kept, replace(ASK, model="small")).usage.cost == 30
    dear = backend.priced(kept, replace(ASK, model="large")).usage
    assert (dear.cost, dear.unpriced) == (None, 1)
    unknown = backend.priced(replace(kept, usage=Usage(requests=1)), ASK).usage
    assert (unknown.cost, unknown.unpriced) == (None, 1)
    assert backend.priced(replace(kept, reported_cost=77), ASK).usage.cost == 77
    backend.tracker = None
    assert backend.priced(kept, ASK) is kept
    backend.pricer = Prices()
    assert backend.priced(kept, ASK).usage.cost == 30


def test_who_counts_is_told_of_answers_once_and_in_any_thread():
    told = []
    backend, _ = tracked(Server(Completion("x", EXACT, model="small")))
    broken, _ = tracked(Server(raises=BackendUnavailableError("cut")))

    async def go():
        COUNTER.set(told.append)
        await backend.complete(ASK)
        await asyncio.to_thread(lambda: backend.tracker.open_now(model="small").succeeded(EXACT))
        with contextlib.suppress(BackendUnavailableError):
            await broken.complete(ASK)

    asyncio.run(go())
    assert [usage.cost for usage in told] == [30, 30]


def test_a_log_that_cant_be_opened_is_tried_again():
    opened = []

    def open_log():
        if not opened:
            opened.append(None)
            raise StoreError("still locked")
        return Log()

    log = UnopenedLog(StoreError("locked"), open_log, again_s=0)
    tracker = Tracker(log, Prices(), on_failure="warn")
    with pytest.warns(RuntimeWarning, match="still locked"):
        tracker.open_now(model="small").succeeded(EXACT)
    call = asyncio.run(tracker.open(model="small"))
    assert call.succeeded(EXACT).outcome == "success" and tracker.lost == 1
    tracker.flush()
    tracker.close()


def test_what_track_says_goes_where_the_context_goes():
    backend, log = tracked(Server(Completion("x", EXACT, model="small")))

    def ask():
        asyncio.run(backend.complete(ASK))

    async def tasks():
        await asyncio.gather(asyncio.create_task(backend.complete(ASK)), asyncio.to_thread(ask))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(ask).result()  # its thread is there before
        with track(team="search"):
            asyncio.run(tasks())
            pool.submit(contextvars.copy_context().run, ask).result()
            pool.submit(ask).result()
    assert [call.attribution.team for call in log.ended] == ["", "search", "search", "search", ""]


@pytest.mark.parametrize(
    ("output", "text", "stays"),
    [
        (63, "-" * 4000, True),  # a tokenizer has one token for 64 dashes
        (17, " " * 4000, True),
        (1, "word " * 300, False),  # what Claude counts at its first piece
        (16, "word " * 500, False),
        (16, "word " * 16, True),
        (0, "", True),
        (0, "word", False),
    ],
)
def test_a_servers_count_is_doubted_only_where_it_cant_be_the_whole(output, text, stays):
    told = Usage(30, output, requests=1, certainty="exact")
    found = believable(told, estimated_usage(({"role": "user", "content": "Draw a line."},), text))
    assert (found == told) is stays
    assert stays or (found.certainty, found.output_tokens) == ("estimated", text_tokens(text))
