"""What a template may reach and may cost: a greedy or hostile one ends as an error, soon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from llmops.errors import PromptError
from llmops.prompts.template import FilePrompt, load_prompt_file


def prompt(folder: Path, text: str) -> FilePrompt:
    path = folder / "p.prompt.md"
    path.write_text(text)
    return load_prompt_file(path, folder)


def set_in_loop(start: str, step: str) -> str:
    """A template that applies `step` to `n.x` sixty times and then writes it."""
    loop = "{% for i in range(60) %}{% set n.x = " + step + " %}{% endfor %}"
    return "{% set n = namespace(x=" + start + ") %}" + loop + "{{ n.x }}"


GREEDY = {
    "a long text that is thrown away": "{{ ('abcdefgh' * 400000)|length }}",
    "shared tuples as keys": set_in_loop("(1,)", "(n.x, n.x)").replace("{{ n.x }}", "{{ {n.x: 1} }}"),
    "work in many messages": "user:\n{% for a in range(90000) %}{% endfor %}\n" * 20,
    "repeat text": "{{ 'a' * 10 ** 9 }}",
    "repeat a list": "{{ [1] * 10 ** 9 }}",
    "power": "{{ 9 ** 99999999 }}",
    "squares": set_in_loop("10", "n.x * n.x"),
    "long range": "{% for i in range(10 ** 9) %}x{% endfor %}",
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "much output": "{% for a in range(99999) %}" + "x" * 1000 + "{% endfor %}",
    "many messages": "user:\n{{ 'a' * 1500000 }}\nuser:\n{{ 'a' * 1500000 }}",
    "center": "{{ 'a'|center(10 ** 9) }}",
    "indent": "{{ 'a'|indent(10 ** 9, true) }}",
    "format width": "{{ '%1000000000d'|format(1) }}",
    "format star": "{{ '%*d'|format(10 ** 9, 1) }}",
    "format method": "{{ '{:1000000000}'.format(1) }}",
    "format field": "{{ '%1000000000d' % 1 }}",
    "ljust": "{{ 'a'.ljust(10 ** 9) }}",
    "doubling": set_in_loop("'ab'", "n.x ~ n.x"),
    "shared lists": set_in_loop("[1]", "[n.x, n.x]"),
    "shared mappings": set_in_loop("{}", "{'a': n.x, 'b': n.x}"),
    "shared padding": set_in_loop("[1]", "n.x|batch(3, n.x)"),
    "replace": "{{ ('a' * 10000)|replace('a', 'b' * 100000) }}",
    "replace method": "{{ ('a' * 10000).replace('a', 'b' * 100000) }}",
    "join": "{{ range(100000)|join('x' * 10000) }}",
    "wordwrap": "{{ ('a ' * 100000)|wordwrap(1, true, 'z' * 10000) }}",
    "batch": "{{ [1]|batch(10 ** 9, 'x') }}",
    "slice": "{{ [1]|slice(10 ** 9) }}",
    "round": "{{ 1.5|round(10 ** 9, 'ceil') }}",
    "json indent": "{{ [1]|tojson(10 ** 9) }}",
    "strip": "{{ ('a' * 1000000 ~ 'b').strip('c' * 900000 ~ 'a') }}",
    "compare": "{% set x = range(90000)|list %}{% for i in range(99999) %}{{ x == x[:] }}{% endfor %}",
    "membership": "{% set x = range(90000)|list %}{% for i in range(99999) %}{{ 'a' in x }}{% endfor %}",
    "copies": "{% set x = 'a' * 1900000 %}{% for i in range(99999) %}{% set y = x[1:] %}{% endfor %}",
    "filters": "{% for i in range(999) %}{{ range(99999)" + "|map('string')" * 50 + "|list|length }}{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("text", GREEDY.values(), ids=list(GREEDY))
def test_a_greedy_template_is_stopped_soon(tmp_path: Path, text: str) -> None:
    started = time.thread_time()
    with pytest.raises(PromptError):
        prompt(tmp_path, text).render({})
    assert time.thread_time() - started < 5  # without limits these take minutes to centuries


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ x['__class__'] }}",
        "{{ [x]|map(attribute='__class__')|list }}",
        "{{ range.__self__ }}",
        "{{ x.append(1) }}",
        "{{ f() }}",
        "{{ f }}",
        "{{ x.copy }}",
        "{{ self }}",
        "{{ cycler('a') }}",
    ],
)
def test_a_template_reaches_only_its_data(tmp_path: Path, text: str) -> None:
    called: list[int] = []
    with pytest.raises(PromptError):
        prompt(tmp_path, text).render({"x": [1], "f": lambda: called.append(1)})
    assert not called


def test_endless_and_hostile_values_become_prompt_errors(tmp_path: Path) -> None:
    round_trip: list[Any] = []
    round_trip.append(round_trip)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    def endless() -> Any:
        while True:
            yield 1

    for text, value in [
        ("{{ x }}", round_trip),
        ("{{ x|tojson }}", deep),
        ("{{ x }}", deep),
        ("{{ x }}", "\ud800"),
        ("{{ x }}", 10**5000),
        ("{% for i in x %}{% endfor %}", endless()),
        ("{% for i in x %}{% endfor %}", 3),
        ("{{ x }}", "a" * 2_000_001),
    ]:
        with pytest.raises(PromptError):
            prompt(tmp_path, text).render({"x": value})


def test_each_rendering_has_a_budget_of_its_own(tmp_path: Path) -> None:
    made = prompt(tmp_path, "{% for i in x %}{{ i }}{% endfor %}")
    for _ in range(50):
        [message] = made.render({"x": ["a"] * 20_000})
        assert message["content"] == "a" * 20_000
