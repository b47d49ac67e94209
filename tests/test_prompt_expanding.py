"""Partials put in place mean what Jinja2's own include means, and what was expanded once stays as it is."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.errors import PromptError
from llmops.prompts.parsing import ROLES, parse
from llmops.prompts.reading import Reading
from llmops.prompts.segments import segments
from llmops.prompts.trees import WorkTree

FRAGMENTS = [
    "a", " ", "\n", "\n\n", "\t", "{", "}", "%", "#", "-", "system:", "user:", "\nsystem:\n", "\nuser:", "x: 1",
    "{{ v }}", "{{- v -}}", "{{ v -}}", "{{ {'k': {'j': v}}['k']['j'] }}", "{{ '}}' }}", '{{ "{% include" }}',
    "{% if v %}", "{% endif %}", "{%- if v -%}", "{%- endif -%}", "{% for i in [1, 2] %}", "{% endfor %}",
    "{% set v = 'changed' %}", "{#- note -#}", "{# system: #}", "{% raw %}{{ raw }}{% endraw %}",
    "{% raw %}\nsystem:\n{% endraw -%}", "{% raw -%} {% include 'p' %} {%- endraw %}", "é", "日本",
]  # fmt: skip
INCLUDES = ["{% include 'p' %}", "{%- include 'p' -%}", '{% include "q" %}', "{% include 'q' -%}", "{%-include 'p'%}"]
template = st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join)
includer = st.lists(st.sampled_from(FRAGMENTS + INCLUDES * 4), max_size=10).map("".join)


def rendered_by_jinja(files: dict[str, str]) -> str:
    """What Jinja2 itself makes of `main`, the partials in its own include tags."""
    return jinja2.Environment(loader=jinja2.DictLoader(files)).get_template("main").render(v="V")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(main=includer, p=template, q=includer)
def test_expanded_text_renders_as_jinja_renders_includes(tmp_path: Path, main: str, p: str, q: str) -> None:
    # Jinja2 itself loses a variable that is set both in a scope and, later, around it.
    main = main.replace("{% set v = 'changed' %}", "")
    main, q = f"[{main}]", q.replace("'q'", "'p'").replace('"q"', "'p'")
    if any(line in ROLES for line in main.split("\n")):
        main = main.replace("system:", "system: x").replace("user:", "user: x")
    files = {"main": main, "p": p, "q": q}
    for name, text in files.items():
        (tmp_path / (name if name != "main" else "main.prompt.md")).write_text(text, "utf-8", newline="")
    try:
        read = Reading(WorkTree(tmp_path), "main.prompt.md", "main")
        read.check()
    except PromptError:
        return  # a tag left open in one file and closed in another, or a role line inside a tag
    expanded = read.texts[0][1]
    assert jinja2.Environment().from_string(expanded).render(v="V") == rendered_by_jinja(files)
    assert read.expanded[0][1].origins.__len__() == expanded.count("\n") + 1
    again = parse(f"user:\n{expanded}\n", "again").messages
    assert [(m.role, m.text) for m in again] == [("user", expanded)]


@settings(max_examples=300, deadline=None)
@given(text=includer)
def test_segments_cover_the_template(text: str) -> None:
    found = list(segments(text))
    assert "".join(text[start:end] for _, start, end in found) == text
    assert all(end > start for _, start, end in found)


def test_segments_tell_tags_from_text() -> None:
    text = "a {# {{ no }} #}{% raw %}{{ x }}{% endraw %}{{ {'a': {}} }} {% if '%}' == x %}b"
    kinds = [(kind, text[start:end]) for kind, start, end in segments(text)]
    assert kinds == [
        ("text", "a "), ("comment", "{# {{ no }} #}"), ("raw", "{% raw %}{{ x }}{% endraw %}"),
        ("print", "{{ {'a': {}} }}"), ("text", " "), ("tag", "{% if '%}' == x %}"), ("text", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("main", "partial", "line", "says"),
    [
        ("a\n{% include '_p.md' %}", "{% if x %}", "_p.md:1", "endif"),
        ("{% if x %}\n{% include '_p.md' %}{% endif %}", "{% endif %}{% if x %}", "_p.md:1", "endif"),
        ("a\nb\n{% include '_p.md' %}", "one\ntwo\n{{ x | nofilter }}", "_p.md:3", "nofilter"),
        ("a\n{% include '_p.md' %}\nb\n{{ x | nofilter }}", "one\ntwo\n", "main.prompt.md:4", "nofilter"),
        ("a {% include '_p.md' %}", "one\n{{ 'a\nsystem:\nb' }}", "_p.md:3", "start of a message"),
        ("a\n{% include name %}", "", "main.prompt.md:2", "one file name in quotes"),
        ("a\n{% include ['_p.md'] %}", "", "main.prompt.md:2", "one file name in quotes"),
        ("a\n{% include '_p.md' ignore missing %}", "", "main.prompt.md:2", "one file name in quotes"),
    ],
)
def test_problems_name_the_file_and_line_they_are_in(
    tmp_path: Path, main: str, partial: str, line: str, says: str
) -> None:
    (tmp_path / "main.prompt.md").write_text(main, "utf-8")
    (tmp_path / "_p.md").write_text(partial, "utf-8")
    with pytest.raises(PromptError, match=says) as caught:
        Reading(WorkTree(tmp_path), "main.prompt.md", "main").check()
    assert caught.value.where.endswith(line)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from([
    "{{ a }}", "{{ b.c }}", "{{ loop.index }}", "{% for a in xs %}", "{% for k, v in d.items() if k %}", "{% else %}",
    "{% endfor %}", "{% with a = b, c = a %}", "{% endwith %}", "{{ c }}", "{{ k ~ v }}", "{% if a %}", "{% endif %}",
    "{{ range(n) }}", "{{ xs | map(attribute=key) | list }}", "text", "{% set q = a %}", "{{ q }}",
]), max_size=9).map("".join))  # fmt: skip
def test_variables_are_those_jinja_finds(text: str) -> None:
    from jinja2 import nodes
    from jinja2.meta import find_undeclared_variables

    from llmops.prompts.compiling import check_message
    from llmops.prompts.environment import environment
    from llmops.prompts.expanding import Expanded, Sources

    expanded = Expanded(text, list(range(1, text.count("\n") + 2)))
    try:
        found = check_message(expanded, Sources(lambda *_: ("", ""), str, ["main"])).variables
    except PromptError:
        return
    tree = environment().parse(text)
    used = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "load"}
    assert set(found) == find_undeclared_variables(tree) & used  # Jinja2 also names what is only set, in a branch
