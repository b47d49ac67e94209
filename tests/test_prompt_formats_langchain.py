"""LangChain templates, as objects and as JSON, both ways."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.errors import InputError, MissingExtraError, PromptError
from llmops.prompts.formats import Imported, from_langchain, read_prompts, to_langchain, write_prompt
from llmops.prompts.formats.jinja_text import fit, literal
from llmops.prompts.template import FilePrompt, load_prompt_file

core = pytest.importorskip("langchain_core.prompts")
ROLES = {"system": "system", "human": "user", "ai": "assistant"}
FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)


def load(folder: Path, text: str) -> FilePrompt:
    path = folder / "p.prompt.md"
    path.write_bytes(text.encode())
    return load_prompt_file(path, folder)


def theirs(template: Any, values: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(ROLES[m.type], m.content) for m in template.format_messages(**values)]


def ours(prompt: FilePrompt, values: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(m["role"], m["content"]) for m in prompt.render(values)]


def back(folder: Path, made: Imported) -> FilePrompt:
    return load(folder, made.text)


TEXT = st.lists(
    st.sampled_from(["{", "}", "{{", "{%", "{#", '"', "'", "\\", "\n", "é", "user:", " ", "%}", "\r"])
    | st.text(st.characters(codec="utf-8"), max_size=5),
    max_size=6,
).map("".join)


@FOLDER
@given(
    parts=st.lists(TEXT | st.sampled_from("abc").map(lambda n: (n,)), min_size=1, max_size=6),
    values=st.fixed_dictionaries(dict.fromkeys("abc", TEXT)),
    complex=st.booleans(),
)
def test_there_and_back_renders_the_same(tmp_path, parts, values, complex):
    source = "".join(literal(p) if isinstance(p, str) else f"{{{{ {p[0]} }}}}" for p in parts)
    source += "{% if a %}{{ b | upper }}{% endif %}" if complex else ""
    head = "---\ninputs: {a: string, b: string, c: string}\n---\n"
    prompt = load(tmp_path, f"{head}system:\nBe {{{{ c }}}}.\n\nuser:\n{fit(source) or literal('') or fit(' ')}\n")
    template = to_langchain(prompt)
    again = back(tmp_path, from_langchain(template))
    used = {name: value for name, value in values.items() if name in again.variables}
    assert ours(again, used) == ours(prompt, values) == theirs(template, values)
    from langchain_core.load import dumps

    written = json.loads(write_prompt(prompt, "langchain").text)
    assert written == json.loads(dumps(template))


def test_every_kind_of_message_is_read_or_listed(tmp_path):
    from langchain_core.messages import AIMessage, SystemMessage, ToolMessage

    template = core.ChatPromptTemplate(
        [
            SystemMessage("literal {x}"),
            ("human", "{{braces}} {name!r} {n:>5} {user}"),
            core.MessagesPlaceholder("history", optional=True),
            AIMessage("calling", tool_calls=[{"name": "f", "args": {}, "id": "1"}]),
            ToolMessage("done", tool_call_id="1"),
            core.ChatMessagePromptTemplate.from_template("as {who}", role="critic"),
            ("human", [{"type": "text", "text": "see {name}"}, {"type": "image_url", "image_url": {"url": "{link}"}}]),
        ],
        partial_variables={"name": "Bob", "who": lambda: "x"},
    )
    made = from_langchain(template)
    assert made.name == "prompt"
    assert made.front["inputs"]["name"] == {"type": "string", "default": "Bob"}
    found = ours(back(tmp_path, made), {"n": "1", "user": "u", "link": "https://x.test/a.png"})
    assert found[:3] == [("system", "literal {x}"), ("user", "{braces} Bob 1 u"), ("assistant", "calling")]
    assert found[3][1][1] == {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    for part in ("name", "n} is formatted", "history", "tool_calls", "'tool'", "'critic'", "'who'"):
        assert any(part in line for line in made.lost), part
    (same,) = read_prompts(
        __import__("langchain_core.load", fromlist=["x"]).dumps(template), "langchain", name="p.json"
    )
    assert (same.front, same.messages) == (made.front, made.messages)


@pytest.mark.parametrize(
    ("form", "template", "values"),
    [
        ("f-string", "a {{x}} {b}", {"b": "1"}),
        ("mustache", "a {{{b}}} {{! no }}{{#c}}yes{{/c}}{{^c}}no{{/c}}", {"b": "<1>", "c": True}),
        ("mustache", "{{#xs}}\n- {{&n}} {\n{{/xs}}\nend", {"xs": [{"n": "1"}, {"n": "2"}]}),
        ("mustache", "{{#xs}}{{.}},{{/xs}}", {"xs": ["1", "2"]}),
        ("jinja2", "{% for x in xs %}{{ x|upper }}{% endfor %}\n", {"xs": ["a", "b"]}),
    ],
)
def test_template_formats(tmp_path, form, template, values):
    found = core.ChatPromptTemplate([("human", template)], template_format=form)
    made = from_langchain(found)
    made.front["inputs"] = dict.fromkeys(made.front["inputs"], "any")
    assert ours(back(tmp_path, made), values) == theirs(found, values)
    text = from_langchain(core.PromptTemplate.from_template(template, template_format=form))
    assert text.messages == made.messages


def test_model_settings_and_what_else_has_no_place_are_listed(tmp_path):
    head = "---\nmodel: m\ninputs: {a: {type: string, default: d, description: D}}\ntags: [t]\n---\n"
    prompt = load(tmp_path, head + "user:\n{{ a | tojson }}{% set b = 1 %}\n")
    lost = write_prompt(prompt, "langchain").lost
    assert [line.split(":")[0] for line in lost] == ["message 1", "model", "inputs"]
    template = to_langchain(prompt)
    assert template.tags == ["t"] and template.metadata == {"prompt": "p", "content_id": prompt.content_id}
    assert theirs(template, {}) == [("user", '"d"')]
    imported = from_langchain(template)
    assert imported.name == "p" and imported.front["tags"] == ["t"]


def test_what_can_not_be_carried_over_is_refused(tmp_path, monkeypatch):
    for wrong in ("text", object(), core.FewShotPromptTemplate(
        examples=[], example_prompt=core.PromptTemplate.from_template("x"), suffix="s", input_variables=[]
    )):  # fmt: skip
        with pytest.raises(PromptError, match=r"isn't a LangChain|can't be read"):
            from_langchain(wrong)
    image = load(tmp_path, "---\ninputs: {url: string}\n---\nuser:\n{{ url | image }}\n")
    with pytest.raises(InputError, match="no variable called url"):
        to_langchain(image)
    for text in ('{"lc": 1, "id": ["langchain", "prompts", "chat", "Other"], "kwargs": {}}', '{"lc": 1}', "[1]"):
        with pytest.raises(PromptError, match=r"^x\.json"):
            try:
                read_prompts(text, "langchain", name="x.json")
            except PromptError as problem:
                raise PromptError(str(problem)) from None
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    for call in (to_langchain, from_langchain):
        with pytest.raises(MissingExtraError, match=r"llmops\[langchain\]"):
            call(image)


def test_a_saved_prompt_of_old_is_read():
    old = {"_type": "prompt", "input_variables": ["a"], "template": "x {a}", "template_format": "f-string",
           "partial_variables": {"a": "1"}, "validate_template": False, "output_parser": None}  # fmt: skip
    (made,) = read_prompts(json.dumps(old), "langchain")
    assert made.messages == [("user", "x {{ a }}")]
    assert made.front == {"inputs": {"a": {"type": "string", "default": "1"}}} and made.lost == ()
