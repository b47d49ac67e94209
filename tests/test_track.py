"""`track` around a block, a function, a coroutine, tasks and generators."""

from __future__ import annotations

import asyncio
import contextvars
import gc

import pytest

from llmops import track
from llmops.attribution import ATTRIBUTION
from llmops.errors import InputError


def team() -> str:
    return ATTRIBUTION.get().team


def test_blocks_add_to_one_another_and_end():
    with track(team="a", place="x") as outer:
        assert (outer.team, outer.tags) == ("a", (("place", "x"),))
        with track(feature="f", shop="y"):
            found = ATTRIBUTION.get()
            assert (found.team, found.feature, found.tags) == ("a", "f", (("place", "x"), ("shop", "y")))
        assert ATTRIBUTION.get() == outer
    assert team() == ""


def test_one_of_them_may_be_used_again_and_inside_itself():
    search = track(team="search")
    with search:
        with track(team="other"), search:
            assert team() == "search"
        assert team() == "search"
    assert team() == ""
    with pytest.raises(ZeroDivisionError), search:
        1 / 0  # noqa: B018
    assert team() == ""


def test_a_decorated_function_is_attributed_each_time():
    @track(team="search")
    def answer(number: int) -> tuple[int, str]:
        """Says so."""
        return number, team()

    assert answer.__doc__ == "Says so."
    assert [answer(1), team(), answer(2), team()] == [(1, "search"), "", (2, "search"), ""]
    with track(feature="outer", team="outer"):
        assert answer(3) == (3, "search")
        assert team() == "outer"


def test_a_decorated_coroutine_is_attributed_while_it_runs():
    first, second = asyncio.Event(), asyncio.Event()

    @track(team="search")
    async def answer(mine: asyncio.Event, other: asyncio.Event) -> list[str]:
        before = team()
        other.set()
        await mine.wait()
        return [before, team()]

    async def both() -> None:
        found = await asyncio.gather(answer(first, second), answer(second, first))
        assert found == [["search", "search"]] * 2
        assert team() == ""
        first.set()
        assert await answer(first, second) == ["search", "search"]
        assert team() == ""

    asyncio.run(both())


def test_the_same_one_in_tasks_that_end_in_another_order():
    shared = track(team="shared")

    async def hold(entered: asyncio.Event, leave: asyncio.Event) -> str:
        with shared:
            entered.set()
            await leave.wait()
        return team()

    async def cross() -> None:
        entered, leave = [asyncio.Event() for _ in range(2)], [asyncio.Event() for _ in range(2)]
        tasks = [asyncio.create_task(hold(*events)) for events in zip(entered, leave, strict=True)]
        for event in entered:
            await event.wait()
        for event, task in zip(leave, tasks, strict=True):
            event.set()
            assert await task == ""

    asyncio.run(cross())


def test_generators_are_not_decorated():
    def pieces():
        yield 1

    async def later():
        yield 1

    for function in (pieces, later):
        with pytest.raises(InputError, match="a generator") as caught:
            track(team="search")(function)
        assert "inside of it" in (caught.value.hint or "")


def test_a_generator_that_is_cleaned_up_elsewhere_changes_nothing_there():
    def pieces():
        with track(team="inside"):
            yield team()
            yield team()

    made = pieces()
    assert contextvars.Context().run(next, made) == "inside"
    with track(team="here"):
        made.close()
        gc.collect()
        assert team() == "here"
    assert team() == ""


def test_wrong_words_are_told_at_once():
    with pytest.raises(InputError, match="team is 5"):
        track(team=5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="model can't be a tag"):
        track(model="gpt-4o")
