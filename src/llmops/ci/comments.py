"""One comment a report: found again by the hidden marker in its first line, updated, else created."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from llmops.ci.api import ForbiddenError, Reply
from llmops.errors import BackendError, InputError

_MARKER = re.compile(r"<!-- llmops:[A-Za-z0-9._/-]+ -->")
_TRIES = 3


class Forge(Protocol):
    """Where a pull or merge request is, and what a token may do there."""

    name: str
    limit: int
    powerless: str
    """Why this token is known not to be allowed to write, or nothing."""

    @property
    def footer(self) -> str: ...

    def earlier(self, marker: str) -> Iterator[str]:
        """Comments of our own that begin with `marker`, the likeliest first, as paths to change them at."""
        ...

    def update(self, path: str, body: str) -> Reply: ...

    def create(self, body: str) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Report:
    """A Markdown report and the marker it begins with."""

    marker: str
    text: str
    path: Path


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a report, and where it can be read (empty when the forge didn't say)."""

    action: Literal["created", "updated"]
    url: str


def read_reports(paths: list[Path]) -> list[Report]:
    """Markdown reports of `llmops eval`. Raises `InputError` for another file, or two of one suite."""
    reports = [_read(path) for path in paths]
    seen: dict[str, Path] = {}
    for report in reports:
        if report.marker in seen:
            message = f"{report.path} and {seen[report.marker]} are of one suite, so they would be one comment"
            raise InputError(message, hint="give each report once, or the suites different names")
        seen[report.marker] = report.path
    return reports


def _read(path: Path) -> Report:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it isn't UTF-8 text"
        raise InputError(f"can't read {path}: {reason}", hint="llmops eval SUITE -o report.md writes one") from None
    marker = text.partition("\n")[0].strip()
    if not _MARKER.fullmatch(marker):
        hint = "llmops eval SUITE -o report.md writes one"
        raise InputError(f"{path} isn't a Markdown report of llmops", hint=hint)
    return Report(marker, text, path)


def post(forge: Forge, report: Report, *, pause: Callable[[float], object] = time.sleep) -> Posted:
    """Update our earlier comment about this suite, or write the first one.

    Raises `ForbiddenError` when the token may not, `InputError` when the text is longer than the forge takes.
    """
    body = f"{report.text.rstrip()}\n\n{forge.footer}\n" if forge.footer else report.text
    if len(body) > forge.limit:
        message = f"{report.path} has {len(body):,} characters; {forge.name} takes {forge.limit:,}"
        raise InputError(message, hint="keep it as a file of the job instead")
    for attempt in range(1, _TRIES + 1):
        if (updated := _updated(forge, report.marker, body)) is not None:
            return updated
        try:
            return Posted("created", _address(forge.create(body)))
        except BackendError as error:  # it may be there all the same: look before writing a second one
            if not error.retryable or attempt == _TRIES:
                raise
        pause(float(attempt))
    raise AssertionError


def _updated(forge: Forge, marker: str, body: str) -> Posted | None:
    for path in forge.earlier(marker):
        try:
            return Posted("updated", _address(forge.update(path, body)))
        except ForbiddenError:  # another bot's, or deleted since
            continue
    return None


def begins_with(body: Any, marker: str) -> bool:
    """Whether a comment's first line is `marker`."""
    return isinstance(body, str) and body.lstrip("\ufeff").partition("\n")[0].strip() == marker


def _address(reply: Reply) -> str:
    data = reply.data
    found = data.get("html_url") if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""
