"""A call on its way, until it ends: answered, refused, broken, cancelled or abandoned."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmops.attribution import COUNTER, Release
from llmops.errors import BackendTimeoutError, LlmopsError
from llmops.token_usage.estimating import estimated_usage
from llmops.types import Call, CallOutcome, CallState, CallText, Cost, Hold, Message, Pricer, Request, ToolCall, Usage

if TYPE_CHECKING:
    from llmops.usage.tracker import Tracker

NOT_BILLED = "not billed"
_ONE = Usage(requests=1)
_NOTHING = Usage(requests=1, certainty="exact")


class OpenCall:
    """A call on its way. Ends once: what is said after the first end changes nothing.

    `sent` is False until something may have reached the server; a call that ends before costs nothing.
    """

    __slots__ = ("call", "sent", "_tracker", "_holds", "_messages", "_began", "_first", "_pieces", "_is_open", "_counted", "_counter", "_recorded", "_release", "_tools")  # fmt: skip  # noqa: E501, RUF023

    def __init__(
        self,
        tracker: Tracker,
        call: Call,
        holds: tuple[Hold, ...],
        messages: Sequence[Message],
        request: Request | None = None,
        *,
        recorded: bool = True,
        release: Release | None = None,
    ) -> None:
        self.call = call
        self.sent = True
        self._tracker = tracker
        self._holds = holds
        self._messages = messages
        self._began = time.perf_counter()
        self._first: float | None = None
        self._pieces: list[str] = []
        self._is_open = True
        self._counted: Usage | None = None
        self._counter = COUNTER.get()
        self._tools = () if request is None else request.tools
        self._recorded = recorded
        self._release = release

    def __del__(self) -> None:
        # Whoever had it is gone without a word: a stream whose event loop was closed. Nothing can be written from here.
        if getattr(self, "_is_open", False):
            self._tracker.lost_calls.append(self)

    def first_token(self) -> None:
        """The first piece of the answer is here."""
        if self._first is None:
            self._first = time.perf_counter() - self._began

    def received(self, text: str) -> None:
        """A piece of a streamed answer."""
        self.first_token()
        self._pieces.append(text)

    def counted(self, usage: Usage) -> None:
        """What the server says was used so far; it counts however the call ends."""
        self._counted = usage

    def succeeded(
        self,
        usage: Usage | None = None,
        *,
        model: str = "",
        finish_reason: str = "",
        response_id: str = "",
        service_tier: str = "",
        reported_cost: int | None = None,
        text: str = "",
        tool_calls: Sequence[ToolCall] = (),
        first_token_s: float | None = None,
        duration_s: float | None = None,
    ) -> Call:
        """The whole answer is here. Tokens that the server didn't count are estimated from the text.

        `duration_s` is given by who hears of the answer later than it came.
        """
        used = usage if usage is not None and usage.certainty != "unknown" else self._counted
        text = text or "".join(self._pieces)
        if used is None or used.certainty == "unknown":
            used = estimated_usage(self._messages, text, tools=self._tools, tool_calls=tool_calls)
        if first_token_s is not None:
            self._first = first_token_s
        known: dict[str, Any] = {
            "model_served": model,
            "finish_reason": finish_reason,
            "response_id": response_id,
            "service_tier": service_tier,
        }
        return self._end("success", used, text, reported_cost=reported_cost, duration_s=duration_s, **known)

    def failed(self, error: BaseException) -> Call:
        """No answer, or half of one. A request that the server refused is not billed."""
        kind = error.kind if isinstance(error, LlmopsError) else type(error).__name__
        late = isinstance(error, (BackendTimeoutError, TimeoutError))
        outcome: CallOutcome = "timeout" if late else "error"
        nothing_came = self._first is None and self._counted is None
        if self.sent and nothing_came and _is_refusal(getattr(error, "status", None)):
            return self._end(outcome, _NOTHING, "", cost=Cost(0, source=NOT_BILLED), error=kind)
        return self._end(outcome, self._partial(), "".join(self._pieces), error=kind)

    def cancelled(self) -> Call:
        """The caller gave up."""
        return self._end("cancelled", self._partial(), "".join(self._pieces))

    def timed_out(self) -> Call:
        """The caller's time was over."""
        return self._end("timeout", self._partial(), "".join(self._pieces), error="backend_timeout")

    def abandoned(self) -> Call:
        """Nobody reads the rest of the stream."""
        return self._end("abandoned", self._partial(), "".join(self._pieces))

    def _partial(self) -> Usage:
        """What is known of an answer that didn't come whole: nothing, unless some of it did."""
        if self._counted is not None:
            return replace(self._counted, certainty="estimated")  # the server may have gone on
        return estimated_usage(self._messages, "".join(self._pieces), tools=self._tools) if self._pieces else _ONE

    def _end(
        self,
        outcome: CallOutcome,
        usage: Usage,
        text: str,
        *,
        cost: Cost | None = None,
        reported_cost: int | None = None,
        duration_s: float | None = None,
        **known: Any,
    ) -> Call:
        if not self._is_open:
            return self.call
        self._is_open = False
        state: CallState = "settled"
        if not self.sent:
            outcome, usage, cost = "unsent", Usage(certainty="exact"), None
        else:
            if usage.certainty != "exact":
                state = "estimated" if usage.certainty == "estimated" else "unknown"
            if reported_cost is not None:
                cost = reported(reported_cost)
            elif cost is None and state != "unknown":
                cost = self._tracker.price(
                    self.call, usage, known.get("model_served", ""), known.get("service_tier", "")
                )
            usage = with_cost(usage, cost)
        self.call = replace(
            self.call,
            outcome=outcome,
            state=state,
            usage=usage,
            cost=cost,
            first_token_s=self._first,
            duration_s=time.perf_counter() - self._began if duration_s is None else duration_s,
            **known,
        )
        said = CallText(tuple(self._messages), text) if self._tracker.wants_text else None
        self._tracker.settle(self.call, self._holds, said, recorded=self._recorded)
        if self._release is not None:
            self._release(self.call)
        if outcome == "success" and self._counter is not None:
            self._counter(usage)
        return self.call


def _is_refusal(status: int | None) -> bool:
    """True for statuses that say the model wasn't asked. Behind 408, 500, 502 and 504 it may have answered."""
    return status is not None and ((300 <= status < 500 and status != 408) or status in (503, 529))


def reported(cost: int) -> Cost:
    """What the provider says a request costs, in nano-dollars."""
    return Cost(cost, fees=cost, source="reported")


def price(pricer: Pricer, call: Call, usage: Usage, served: str = "", service_tier: str = "") -> Cost | None:
    """The cost of `usage` by the model that served a call, else by the one it asked for."""
    return pricer.cost(
        usage,
        provider=call.provider,
        model=served or call.model_asked,
        asked=call.model_asked,
        backend=call.backend,
        at=call.started_at,
        service_tier=service_tier,
    )


def with_cost(usage: Usage, cost: Cost | None) -> Usage:
    """The usage of one request with what it costs; None is unpriced."""
    if cost is None:
        return replace(usage, cost=None, unpriced=1)
    return replace(usage, cost=cost.total, unpriced=0, estimated_cost=cost.certainty != "exact")
