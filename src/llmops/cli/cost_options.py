"""Options that the commands about money share, with what a shell completes them to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from llmops.cli.terminal import say

if TYPE_CHECKING:
    from llmops.costs.moments import Moment

FIELDS = (
    "prompt, version, model, team, feature, user, day, hour, month, purpose, backend, provider, run, suite, variant, "
    "outcome, state, certainty, error, source, prompt_id, model_asked, model_served, address, fallback_from, tokens, "
    "price, revision, finish_reason, service_tier or tag:NAME"
)


def complete_fields(incomplete: str) -> list[str]:
    """Fields that begin so; in a list with commas, its last."""
    from llmops.costs.selecting import BY

    before, comma, begun = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in (*BY, "tag:") if name.startswith(begun)]


def complete_conditions(incomplete: str) -> list[str]:
    """`FIELD=`, and the values of fields that have few."""
    from llmops.costs.selecting import BY, TIMES, VALUES

    name, equals, rest = incomplete.partition("=")
    if not equals:
        fields: Iterable[str] = (f"{field}=" for field in BY if field not in TIMES)
        return [field for field in (*fields, "tag:") if field.startswith(incomplete)]
    before, comma, begun = rest.rpartition(",")
    values: Sequence[str] = VALUES.get(name.removesuffix("!"), ())
    return [f"{name}={before}{comma}{value}" for value in values if value.startswith(begun)]


By = Annotated[
    list[str] | None,
    typer.Option(
        "--by", metavar="FIELD", help=f"{FIELDS}. Repeatable, or a list with commas.", autocompletion=complete_fields
    ),
]
Since = Annotated[
    str | None,
    typer.Option(help="An age (30min, 24h, 7d, 4w, 1mo) or a date (2026-11-01), in UTC.", metavar="TIME"),
]
Until = Annotated[str | None, typer.Option(help="The same; a date's whole day counts.", metavar="TIME")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="FIELD=VALUE",
        help="Only such calls: team=search, team=search,sales (either) or team!=search. Repeatable.",
        autocompletion=complete_conditions,
    ),
]
Store = Annotated[
    str, typer.Option(help="Where calls are kept: a SQLite file or a PostgreSQL URL.", metavar="PATH|URL")
]


def say_widened(since: Moment, until: Moment) -> None:
    """Tell what whole hours added to a window, where it is much."""
    from llmops.costs.selecting import select

    widened = select((), since, until).widened
    if widened:
        say(f"{widened}: sums are by the whole hour")
