"""Groups and endings of calls, users and processes: each is saved once and known by a number from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from llmops.store.call_driver import CallDriver
from llmops.store.call_rows import ENDING, GROUP, Row, ending_values, group_values
from llmops.store.encoding import dumps, safe_text

MAX_REMEMBERED = 100_000


class CallNames:
    """Numbers of one table's rows; those that were needed lately are remembered."""

    def __init__(self, table: str, columns: Sequence[str], values: Callable[[Any], Row]) -> None:
        self._table, self._columns = table, ("digest", *columns)
        self._values = values
        self._known: dict[Any, int] = {}

    def keys(self, driver: CallDriver, things: Sequence[Any]) -> Mapping[Any, int]:
        """The numbers of these, and of others. What is new is saved in a transaction of its own.

        Raises whatever the driver does.
        """
        known = self._known
        missing = {thing for thing in things if thing not in known}
        if missing:
            if len(known) > MAX_REMEMBERED:
                known.clear()
                missing = set(things)
            self._learn(driver, missing)
        return known

    def _learn(self, driver: CallDriver, things: Iterable[Any]) -> None:
        rows = {thing: self._values(thing) for thing in things}
        digests = {thing: hashlib.sha256(dumps(row).encode()).digest()[:16] for thing, row in rows.items()}
        known = sorted((digests[thing], *row) for thing, row in rows.items())  # in one order, as rows are locked
        with driver.transaction():
            driver.insert_new(self._table, self._columns, known)
            numbers = driver.numbers(self._table, [row[0] for row in known])
        self._known.update({thing: numbers[digest] for thing, digest in digests.items()})


class Vocabulary:
    """The three kinds of them."""

    def __init__(self) -> None:
        self.groups = CallNames("call_groups", GROUP, group_values)
        self.endings = CallNames("call_endings", ENDING, ending_values)
        self.words = CallNames("call_words", ("word",), lambda word: (safe_text(word),))
