"""The one door from synchronous code into the runner."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading

from llmops.errors import EXIT_INTERRUPTED
from llmops.evals.runner import Runner
from llmops.types import RunStatus


def drive(runner: Runner) -> RunStatus:
    """Run to the end from synchronous code, in a notebook's running loop too. Ctrl-C ends the run cleanly."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_with_signals(runner))
    outcome: list[RunStatus] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(asyncio.run(runner.run()))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body, name="llmops-run")
    thread.start()
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt:
            runner.interrupt()
    if failure:
        raise failure[0]
    return outcome[0]


async def _with_signals(runner: Runner) -> RunStatus:
    loop = asyncio.get_running_loop()
    seen = 0

    def on_signal() -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            os._exit(EXIT_INTERRUPTED)  # asked twice: the store is consistent at any moment
        runner.interrupt()

    caught = []
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows has no loop signal handlers
                loop.add_signal_handler(number, on_signal)
                caught.append(number)
    try:
        return await runner.run()
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
