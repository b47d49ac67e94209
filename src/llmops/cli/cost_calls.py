"""`llmops cost calls`: the last calls, and one of them whole."""

from __future__ import annotations

from typing import Annotated

import typer

from llmops.cli.cost_files import plain
from llmops.cli.cost_options import Since, Store, Until, Where
from llmops.cli.terminal import AsJson, out, print_json, say
from llmops.errors import InputError


def add_to(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command()(calls)


def calls(
    call_id: Annotated[
        str, typer.Argument(help="One call whole, with its text where that was kept.", metavar="[ID]")
    ] = "",
    since: Since = None,
    until: Until = None,
    where: Where = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", help="At most this many, in JSON too.", min=1, metavar="N")
    ] = 20,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """The last calls, newest first, or one of them by its id or the start of one; cost export writes all."""
    if call_id:
        for flag, given in (("--since", since), ("--until", until), ("--where", where)):
            if given:
                raise InputError(f"{flag} goes with a list of calls", hint="drop it, or the id")
        _one(call_id, store, as_json)
        return
    from llmops import costs
    from llmops.reports.cost_calls import call_rows

    found = costs.calls(since, until, where or (), limit=limit, store=store or None)
    if as_json:
        print_json(plain({"calls": list(call_rows(found))}))
    elif not found:
        from llmops.costs.opening import NO_CALLS

        say("no such calls" if since or until or where else NO_CALLS)
    else:
        from llmops.reports.call_terminal import print_calls

        print_calls(found, out())


def _one(call_id: str, store: str, as_json: bool) -> None:
    from llmops import costs

    found, text = costs.call(call_id, store=store or None)
    if as_json:
        from llmops.reports.cost_calls import call_rows

        said = None if text is None else {"messages": list(text.messages), "answer": text.answer}
        [row] = call_rows([found])
        print_json(plain({**row, "text": said}))
        return
    from llmops.reports.call_terminal import print_call

    print_call(found, text, out())
