"""`llmops db path|migrate|compact`."""

from __future__ import annotations

from typing import Annotated

import typer

from llmops.cli.terminal import AsJson, print_json, say

app = typer.Typer(no_args_is_help=True, help="The store that runs are kept in.")

Store = Annotated[str, typer.Option(help="A SQLite file or a PostgreSQL URL.", metavar="PATH|URL")]


@app.command()
def path(store: Store = "", as_json: AsJson = False) -> None:
    """Where runs are kept. A URL's password isn't shown."""
    from llmops.config import store_location
    from llmops.sdk import masked

    shown = masked(store_location(store or None))
    if as_json:
        print_json({"store": shown})
    else:
        typer.echo(shown)


@app.command()
def migrate(store: Store = "", as_json: AsJson = False) -> None:
    """Bring the store's tables up to this version of llmops."""
    from llmops import sdk

    old, new = sdk.migrate_store(store or None)
    if as_json:
        print_json({"from": old, "to": new})
    else:
        say("already up to date" if old == new else f"migrated from {old or 'nothing'} to {new}")


@app.command()
def compact(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much is empty.")] = False,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Write a SQLite file anew without the space that nothing is in any more; who writes to it waits meanwhile."""
    from llmops.config import store_location
    from llmops.store.space import compact as write_anew

    done = write_anew(store_location(store or None), dry_run=dry_run)
    if as_json:
        print_json({"written": not dry_run, "freed_bytes": done.freed, "empty_bytes": done.empty})
    elif done.freed is None:
        say("nothing to do: PostgreSQL uses the space again by itself (autovacuum)")
    elif dry_run:
        say(f"{megabytes(done.empty or 0)} are empty")
    else:
        say(f"gave {megabytes(done.freed)} back to the disk")


def megabytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e6:,.1f} MB"
