"""A thread that ends calls whose objects were garbage: the collector may run inside of anybody's lock."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import warnings
from collections.abc import Callable
from queue import SimpleQueue

from llmops.flushing import before_flush

_EXIT_S = 5.0


class Afterwards:
    """Does steps on a thread of its own, in order. `do` takes no lock, so it is safe in `__del__` and for weakrefs."""

    def __init__(self) -> None:
        self._steps: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._at_exit: list[Callable[[], None]] = []
        self._pid = 0

    def start(self, at_exit: Callable[[], None]) -> None:
        """Have a thread in this process; to be called before `do` is, where locks don't matter.

        `at_exit` is done when the process ends. Called after the log was opened, it is done before the log is closed.
        """
        if self._pid != os.getpid():
            self._pid, self._steps, self._at_exit = os.getpid(), SimpleQueue(), []
            threading.Thread(target=self._run, name="llmops-afterwards", args=(self._steps,), daemon=True).start()
            atexit.register(self.wait, _EXIT_S)
        if at_exit not in self._at_exit:
            self._at_exit.append(at_exit)
            atexit.register(self._exit, at_exit, self._pid)

    def do(self, step: Callable[[], object]) -> None:
        """Have `step` done soon; in a fork that has no thread, not at all: what came along is the parent's."""
        if self._pid == os.getpid():
            self._steps.put(step)

    def wait(self, timeout_s: float = 30) -> None:
        """Wait until everything asked for so far is done."""
        if self._pid == os.getpid():
            done = threading.Event()
            self._steps.put(done.set)
            done.wait(timeout_s)

    def _exit(self, step: Callable[[], None], pid: int) -> None:
        if pid == os.getpid():
            step()

    def _run(self, steps: SimpleQueue[Callable[[], object]]) -> None:
        while True:
            step = steps.get()
            try:
                step()
            except Exception as error:
                with contextlib.suppress(Warning):
                    warnings.warn(f"the end of a call is not recorded: {error}", RuntimeWarning, stacklevel=1)
            del step


AFTERWARDS = Afterwards()
before_flush(AFTERWARDS.wait)
