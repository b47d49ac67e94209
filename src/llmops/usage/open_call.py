"""A call on its way, until it ends: answered, refused, broken, cancelled or abandoned."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from llmops.attribution import COUNTER, Release
from llmops.errors import BackendTimeoutError, LlmopsError
from llmops.token_usage.estimating import believable, estimated_usage, so_far, text_tokens
from llmops.types import (
    Call,
    CallLog,
    CallOutcome,
    CallState,
    CallText,
    Cost,
    Hold,
    Message,
    Pricer,
    Request,
    ToolCall,
    Usage,
)

if TYPE_CHECKING:
    from llmops.usage.tracker import Tracker

NOT_BILLED = "not billed"
_STATES: dict[str, CallState] = {"exact": "settled", "estimated": "estimated"}
_ONE = Usage(requests=1)
_NOTHING = Usage(requests=1, certainty="exact")
_COUNTS = attrgetter(*(field.name for field in fields(Usage)[:-3]))  # all but its cost


class OpenCall:
    """A call on its way. Ends once: what is said after the first end changes nothing.

    `sent` is False until something may have reached the server; a call that ends before costs nothing.
    """

    __slots__ = ("call", "sent", "_tracker", "_holds", "_messages", "_began", "_first", "_pieces", "_is_open", "_counted", "_counted_at", "_beside", "_counter", "_recorded", "_release", "_tools")  # fmt: skip  # noqa: E501, RUF023

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
        self._counted_at = 0
        self._beside = ""
        self._counter = COUNTER.get()
        self._tools = () if request is None else request.tools
        self._recorded = recorded
        self._release = release

    def __del__(self) -> None:
        # Whoever had it is gone without a word: a stream whose event loop was closed. Nothing can be written from here.
        if getattr(self, "_is_open", False):
            self._tracker.lost_calls.append(self)

    @property
    def log(self) -> CallLog:
        """Where its row is."""
        return self._tracker.log

    @property
    def is_waiting(self) -> bool:
        """True until something of an answer came, or the call ended."""
        return self._is_open and self._first is None

    def sent_as(self, call: Call, messages: Sequence[Message], request: Request | None) -> None:
        """What is known of the request where it is sent: it goes before what was known where the call was begun."""
        begun = self.call
        self.call = replace(
            begun,
            backend=call.backend or begun.backend,
            provider=call.provider or begun.provider,
            address=call.address or begun.address,
            model_asked=call.model_asked or begun.model_asked,
            stream=call.stream,
            attempt=call.attempt,
        )
        self._messages = messages or self._messages
        self._tools = self._tools if request is None else request.tools

    def first_token(self) -> None:
        """The first piece of the answer is here."""
        if self._first is None:
            self._first = time.perf_counter() - self._began

    def received(self, text: str) -> None:
        """A piece of a streamed answer."""
        self.first_token()
        self._pieces.append(text)

    def wrote(self, text: str) -> None:
        """What the model wrote beside the answer's own text: reasoning, arguments of tool calls."""
        self._beside += text

    def counted(self, usage: Usage) -> None:
        """What the server says was used so far, with what was received until now; it counts however the call ends."""
        self._counted = usage
        self._counted_at = len(self._pieces)

    @property
    def is_behind(self) -> bool:
        """Whether more was received after the server's last count."""
        return self._counted is not None and len(self._pieces) > self._counted_at

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
        text = text or "".join(self._pieces)
        used = usage
        if used is None or used.certainty == "unknown":
            used = used if self._counted is None else self._counted
            if used is not None and self.is_behind:
                used = so_far(used, self._estimate(text, tool_calls))
        length = len(text) + len(self._beside) + len(tool_calls)
        if used is None or used.certainty == "unknown" or not used.input_tokens or length > 8 * used.output_tokens:
            used = believable(used, self._estimate(text, tool_calls))
        if first_token_s is not None:
            self._first = first_token_s
        return self._end(
            "success",
            used,
            text,
            reported_cost=reported_cost,
            duration_s=duration_s,
            served=model,
            finish_reason=finish_reason,
            response_id=response_id,
            service_tier=service_tier,
        )

    def failed(self, error: BaseException) -> Call:
        """No answer, or half of one. A request that the server refused is not billed."""
        kind = error.kind if isinstance(error, LlmopsError) else type(error).__name__
        late = isinstance(error, (BackendTimeoutError, TimeoutError))
        outcome: CallOutcome = "timeout" if late else "error"
        nothing_came = self._first is None and self._counted is None and not self._beside
        nothing_came = nothing_came and not getattr(error, "has_begun", False)
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
        text = "".join(self._pieces)
        if self._counted is not None:
            return so_far(self._counted, self._estimate(text))  # the server may have gone on
        return self._estimate(text) if text or self._beside else _ONE

    def _estimate(self, text: str, tool_calls: Sequence[ToolCall] = ()) -> Usage:
        """Of what was sent and received. Of a stream, tool calls were received beside the text as well."""
        calls = () if self._beside else tool_calls
        found = estimated_usage(self._messages, text, tools=self._tools, tool_calls=calls)
        return replace(found, output_tokens=found.output_tokens + text_tokens(self._beside))

    def _end(
        self,
        outcome: CallOutcome,
        usage: Usage,
        text: str,
        *,
        cost: Cost | None = None,
        reported_cost: int | None = None,
        duration_s: float | None = None,
        served: str = "",
        finish_reason: str = "",
        response_id: str = "",
        service_tier: str = "",
        error: str = "",
    ) -> Call:
        if not self._is_open:
            return self.call
        self._is_open = False
        if not self.sent:
            outcome, usage, cost = "unsent", Usage(certainty="exact"), None
        state = _STATES.get(usage.certainty, "unknown")
        if self.sent:
            if reported_cost is not None:
                cost = reported(reported_cost)
            elif cost is None and state != "unknown":
                cost = self._tracker.price(self.call, usage, served, service_tier)
            usage = with_cost(usage, cost)
        begun = self.call
        self.call = Call(  # field by field: `replace` costs more than all the rest here
            begun.id,
            begun.started_at,
            begun.backend,
            begun.provider,
            begun.address,
            begun.model_asked,
            served,
            begun.attribution,
            outcome,
            state,
            usage,
            cost,
            self._first,
            time.perf_counter() - self._began if duration_s is None else duration_s,
            finish_reason,
            response_id,
            service_tier,
            error,
            begun.attempt,
            begun.stream,
            begun.guards,
            begun.operation,
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
        return Usage(*(*_COUNTS(usage), None, 1, usage.estimated_cost))
    return Usage(*(*_COUNTS(usage), cost.total, 0, cost.certainty != "exact"))
