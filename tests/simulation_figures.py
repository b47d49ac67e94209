"""Tables of what simulations measured."""

from __future__ import annotations

from collections.abc import Iterator

from simulations import EVERYTHING, REPETITIONS

Cells = tuple[str | int | float, ...]


class Figures:
    """What was measured, as Markdown tables."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, ...], list[Cells]] = {}

    def add(self, header: tuple[str, ...], *cells: str | int | float) -> None:
        self._tables.setdefault(header, []).append(cells)

    def __str__(self) -> str:
        lines = [f"{REPETITIONS:,} repetitions"]
        for header, rows in self._tables.items():
            lines += ["", f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
            lines += [f"| {' | '.join(f'{c:.3f}' if isinstance(c, float) else str(c) for c in row)} |" for row in rows]
        return "\n".join(lines)


def printed_figures() -> Iterator[Figures]:
    """For a fixture: what a module's tests measured, printed when it is done and all scenarios were asked for."""
    made = Figures()
    yield made
    if EVERYTHING:
        print(f"\n{made}")
