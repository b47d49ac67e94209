"""One tree of errors: what was wrong, where, what to do next, and the exit code it leads to.

Exit codes: 0 pass, 1 a gate failed, 2 bad input, configuration or usage, 3 inconclusive, 4 a backend
or the store failed, 130 interrupted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_PASS = 0
EXIT_GATE_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INCONCLUSIVE = 3
EXIT_BACKEND_FAILED = 4
EXIT_INTERRUPTED = 130


class LlmopsError(Exception):
    """Base of every error llmops raises on purpose.

    `message` says what was wrong, `where` is `file:line` or empty, `hint` says what to do next.
    `str(error)` is one line: `where: message; hint`.
    """

    exit_code = EXIT_BAD_INPUT
    retryable = False

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        self.message = " ".join(message.split())
        self.where = where
        self.hint = " ".join(hint.split())
        super().__init__(self.message)

    @property
    def kind(self) -> str:
        """Short name stored with failed cases, such as `rate_limited`."""
        name = type(self).__name__.removesuffix("Error")
        return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        if not self.hint:
            return text
        return f"{text} {self.hint}" if text.endswith(("?", "!", ".")) else f"{text}; {self.hint}"


class InputError(LlmopsError):
    """Something the user wrote is wrong: a flag, a file, a value."""


class ConfigError(InputError):
    """`llmops.yaml` or an environment variable is wrong."""


class DatasetError(InputError):
    """A dataset file can't be read as cases."""


class SuiteError(InputError):
    """A suite file is wrong."""


class PromptError(InputError):
    """A prompt file is wrong, or a prompt can't be rendered with the given variables."""


class NotFoundError(InputError):
    """A name that nothing is registered or stored under."""


class MissingExtraError(InputError):
    """A library of an optional extra isn't installed."""

    def __init__(self, extra: str, *, needed_for: str, where: str = "") -> None:
        self.extra = extra
        super().__init__(f"{needed_for} needs: pip install 'llmops[{extra}]'", where=where)


class BackendError(LlmopsError):
    """A model server, a pipeline or an endpoint failed. Stored with the case; the run goes on.

    `status` is the HTTP status of a server that answered with something else than a completion, `has_begun` says that
    the error came in a stream that had begun with 200: some of it may be billed.
    """

    exit_code = EXIT_BACKEND_FAILED
    status: int | None = None
    has_begun = False


class BackendUnavailableError(BackendError):
    """No connection, a connection cut half-way, or a 5xx answer: worth trying again."""

    retryable = True


class BackendTimeoutError(BackendError):
    """No answer in time."""

    retryable = True


class RateLimitedError(BackendError):
    """429 or 503: slow down. `retry_after_s` is what the server asked for, if it did."""

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, where: str = "", hint: str = "") -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, where=where, hint=hint)


class BadResponseError(BackendError):
    """The server answered with something that isn't the protocol."""

    retryable = True


class RequestRejectedError(BackendError):
    """A 4xx answer: the same request would be rejected again."""


class NotRecordedError(BackendError):
    """`--replay` or a recorded variant has no answer for this request or case."""


class PipelineError(BackendError):
    """A user's Python pipeline raised, or returned something that isn't an output."""


class BudgetExceededError(LlmopsError):
    """A limit on requests, tokens or money was reached before sending.

    `could_fit` says that only calls in flight were in the way, `window` names the budget's window, and `left`, `used`
    and `held` are in its unit.
    """

    exit_code = EXIT_INCONCLUSIVE
    could_fit = False
    window = ""
    left: int | None = None
    used: int | None = None
    held: int | None = None


class UnboundedCallError(BudgetExceededError, InputError):
    """A call that a budget or a limit can't be held to: nothing bounds its tokens, or nobody knows its price.

    It is refused before sending like one that doesn't fit, and so caught with it; but no limit was reached, and a call
    of the same kind never fits.
    """

    exit_code = EXIT_BAD_INPUT


class StoreError(LlmopsError):
    """The store or the disk failed: full, locked, unreadable."""

    exit_code = EXIT_BACKEND_FAILED


def said(error: BaseException) -> str:
    """An exception's text, whatever its `__str__` does."""
    try:
        return str(error)
    except BaseException:
        return "(its text can't be read)"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: the closest known one, else the list of known ones."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if names else "none are known"
