"""`llmops score`: a saved run's outputs with other metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmops.cli.finishing import Outputs, Store, finish, prints_on_stderr, show
from llmops.cli.outputs import Reports, check_output
from llmops.cli.terminal import AsJson


def score(
    run: Annotated[str, typer.Argument(help="A run: id, start of an id, latest, or an exported file.", metavar="RUN")],
    suite: Annotated[Path, typer.Option(help="The suite whose metrics and gates to use.", metavar="SUITE")],
    output: Outputs = None,
    store: Store = "",
    as_json: AsJson = False,
) -> None:
    """Score a saved run again with a suite's metrics, without asking any model."""
    from llmops import sdk

    for path in output or ():
        check_output(path)
    with prints_on_stderr():
        scored = sdk.score_run(run, suite, store=store or None)
    if not as_json:
        show(scored)
    Reports(output or [], named=False).write(scored)
    finish([scored], as_json)
