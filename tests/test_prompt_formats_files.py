"""Prompty and dotprompt files: front matter, roles, templates, and what is listed as lost."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.errors import PromptError
from llmops.prompts.formats import Imported, read_prompts, write_prompt
from llmops.prompts.formats.picoschema import to_json_schema
from llmops.prompts.template import load_prompt_file


def one(text: str, format: str, name: str = "") -> Imported:
    (made,) = read_prompts(text, format, name=name)
    return made


def rendered(folder: Path, made: Imported, **values: Any) -> list[tuple[str, Any]]:
    path = folder / "p.prompt.md"
    path.write_text(made.text, "utf-8", newline="")
    return [(m["role"], m["content"]) for m in load_prompt_file(path, folder).render(values)]


def body(folder: Path, template: str, **values: Any) -> str:
    """What a dotprompt body of one message renders as."""
    ((_, content),) = rendered(folder, one(template, "dotprompt"), **values)
    return str(content)


# --- dotprompt ---------------------------------------------------------------------------------------------------

DOT = """# Copyright someone
---
name: greet
variant: formal
model: googleai/gemini
config: {temperature: 0.7, topK: 20, stopSequences: [STOP], version: latest}
input:
  default: {name: Guest}
  schema:
    name: string, Who it is
    language?: string
    tags(array, Labels): string
    mood(enum): [happy, sad]
output:
  format: json
  schema:
    greeting: string, the words
    level?: integer
tools: [clock]
toolDefs: [{name: find, description: Finds, inputSchema: {query: string}}]
myext.flag: true
---
{{role "system"}}
Greet {{name}}.

{{role "user"}}
{{#each tags}}
{{@index}}:{{this}}
{{/each}}
{{#if language}}In {{language}}{{else}}Any{{/if}}, {{#unless mood}}no{{/unless}}
{{history}}
Fine.
"""


def test_a_dotprompt_file_becomes_a_prompt(tmp_path):
    made = one(DOT, "dotprompt", "x.prompt")
    assert made.name == "greet"
    assert made.front == {
        "model": "googleai/gemini",
        "parameters": {"temperature": 0.7, "top_k": 20, "stop": ["STOP"]},
        "inputs": {
            "name": {"type": "string", "description": "Who it is", "default": "Guest"},
            "language": {"type": ["string", "null"], "required": False},
            "tags": {"type": "array", "items": "string", "description": "Labels"},
            "mood": {"type": "string", "enum": ["happy", "sad"]},
        },
        "output": {
            "type": "object",
            "properties": {
                "greeting": {"type": "string", "description": "the words"}, "level": {"type": ["integer", "null"]},
            },
            "required": ["greeting"], "additionalProperties": False,
        },
        "tools": [
            {"type": "function", "function": {"name": "clock"}},
            {"type": "function", "function": {"name": "find", "description": "Finds", "parameters": {
                "type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"],
                "additionalProperties": False}}},
        ],
    }  # fmt: skip
    assert rendered(tmp_path, made, tags=["a", "b"], mood="sad", language=None) == [
        ("system", "Greet Guest."), ("user", "0:a\n1:b\nAny, "), ("assistant", "Fine."),
    ]  # fmt: skip
    for part in ("'variant'", "'version'", "clock", "myext.flag", "history", "line breaks"):
        assert any(part in line for line in made.lost), part


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("{{a.b}} {{a.[c d]}} {{a.items}}", {"a": {"b": 1, "c d": 2, "items": 3}}, "1 2 3"),
        ("{{{a}}}{{&b}}", {"a": "<", "b": "&"}, "<&"),
        (
            "{{#each a}}{{this.n}}{{n}}{{../b}}{{@root.b}}{{#if @last}}.{{/if}}{{/each}}",
            {"a": [{"n": 1}], "b": "x"},
            "11xx.",
        ),
        ("{{#each a as |v i|}}{{i}}{{v}}{{#each v}}{{this}}{{/each}}{{/each}}", {"a": ["p"]}, "0pp"),
        ("{{#each a}}x{{else}}none{{/each}}", {"a": []}, "none"),
        ("{{#with a}}{{b}}{{../c}}{{else}}{{c}}{{/with}}", {"a": {"b": 1}, "c": 2}, "12"),
        ("{{#if a}}1{{else if b}}2{{else}}3{{/if}}", {"a": "", "b": "y"}, "2"),
        ('{{#ifEquals a "x"}}yes{{else}}no{{/ifEquals}}', {"a": "x"}, "yes"),
        ("{{^a}}no{{/a}}", {"a": ""}, "no"),
        ("a {{~b~}} c", {"b": "-"}, "a-c"),
        ("\\{{a}} \\\\{{a}} {{! gone }}{{!-- {{gone}} --}}{ { } }", {"a": 1}, "{{a}} \\1 { { } }"),
        ("{{b.x-y}}{{#each b}}{{/each}}", {"b": {"x-y": 2}}, "2"),
        ("{% if %} {# {{a}}", {"a": 1}, "{% if %} {# 1"),
    ],
)
def test_handlebars_renders_the_same(tmp_path, template, values, text):
    untyped = "---\ninput: {schema: {" + ", ".join(f"{k}: any" for k in values) + "}}\n---\n"
    assert body(tmp_path, untyped + template, **values) == text


def test_handlebars_that_has_no_counterpart_stays_and_is_listed(tmp_path):
    made = one("A {{shout name}} {{#repeat 3}}x{{/repeat}} {{> footer a=1}} {{@key}}\n{{media url=photo}}", "dotprompt")
    assert made.messages == [(
        "user",
        'A {{ "{{" }}shout name}} {{ "{{" }}#repeat 3}}x{{ "{{" }}/repeat}} {% include "_footer.md" %} '
        '{{ "{{" }}@key}}\n{{ photo | image }}',
    )]  # fmt: skip
    assert len(made.lost) == 5
    with pytest.raises(PromptError, match=r"a\.prompt:2: a message that starts inside a block"):
        read_prompts('{{#if a}}\n{{role "user"}}x{{/if}}', "dotprompt", name="a.prompt")
    for text, message in (
        ("{{#if a}}x", "'if' is never closed"), ("{{/if}}", "closes nothing"), ("{{a", "has no end"),
        ("---\nmodel: x", "front matter has no end"), ("---\ninput: {schema: {a: strin}}\n---\nx", "no type is called"),
    ):  # fmt: skip
        with pytest.raises(PromptError, match=message):
            read_prompts(text, "dotprompt")


def test_picoschema_is_json_schema():
    schema = to_json_schema(
        {"a": "any, Any", "b?(array)": {"c": "integer"}, "d(object, D)": {"(*)": "any"}, "e?(enum)": ["x"]}, "f"
    )
    assert schema == {
        "type": "object",
        "properties": {
            "a": {"description": "Any"},
            "b": {"type": ["array", "null"], "items": {
                "type": "object", "properties": {"c": {"type": "integer"}}, "required": ["c"],
                "additionalProperties": False}},
            "d": {"type": "object", "properties": {}, "additionalProperties": {}, "description": "D"},
            "e": {"enum": ["x", None]},
        },
        "required": ["a", "d"],
        "additionalProperties": False,
    }  # fmt: skip
    assert to_json_schema({"type": "array", "items": {}}, "f") == {"type": "array", "items": {}}


def test_an_export_to_dotprompt_keeps_conditions_and_loops(tmp_path):
    text = (
        "---\ninputs: {xs: array, a: any, u: string}\n---\nsystem:\nA\n\nuser:\n"
        "{% for x in xs %}{{ loop.index0 }}{{ x.n }}{% for y in x.ys %}{{ y }}{{ x.n }}{{ a }}{% endfor %}{% endfor %}"
        '{% if not a %}no{% elif xs %}some{% else %}none{% endif %}{{ "{{" }}z}} {{ a | upper }}\n\nassistant:\nok\n'
    )
    path = tmp_path / "p.prompt.md"
    path.write_text(text)
    prompt = load_prompt_file(path, tmp_path)
    exported = write_prompt(prompt, "dotprompt")
    assert exported.lost == ("message 2: the Jinja2 {{ a | upper }} is kept as text, which Handlebars won't run",)
    values = {"xs": [{"n": 1, "ys": [2, 3]}], "a": "b", "u": ""}
    want = [(m["role"], m["content"]) for m in prompt.render(values)]
    want[1] = ("user", want[1][1].removesuffix("B") + "{{ a | upper }}")
    assert rendered(tmp_path, one(exported.text, "dotprompt"), **values) == want


@given(st.text(max_size=30))
def test_any_picoschema_is_read_or_refused(text):
    with contextlib.suppress(PromptError):
        assert to_json_schema({text: "string", "a": "any"}, "f")["type"] == "object"


# --- Prompty -----------------------------------------------------------------------------------------------------

V1 = """---
name: Ask
authors: [a, b]
version: 2
model:
  api: chat
  configuration: {type: azure_openai, azure_deployment: gpt-35, azure_endpoint: "${env:E}", api_key: s3cret}
  parameters: {max_tokens: 10, temperature: 0.1, tools: [{type: function, function: {name: f}}]}
inputs:
  question: {type: string, description: What}
  photo: string
sample: {question: Why?, docs: [1]}
---
# system:
Use {{ docs }}.
{% for d in docs %}{{ d }};{% endfor %}

User:
![the photo]({{photo}})
![chart](chart.png)
{{question}}
{{role}}:
said
"""


def test_a_prompty_file_of_version_1(tmp_path):
    made = one(V1, "prompty", "ask.prompty")
    assert made.front == {
        "model": "gpt-35",
        "parameters": {"max_tokens": 10, "temperature": 0.1},
        "inputs": {
            "question": {"type": "string", "description": "What", "example": "Why?"},
            "photo": "string",
            "docs": {"type": "array", "example": [1]},
            "role": "string",
        },
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "owner": "a, b",
    }
    found = rendered(tmp_path, made, question="Q", photo="https://x.test/p.png", docs=[1, 2], role="r")
    assert found[0] == ("system", "Use [1, 2].\n1;2;")
    assert found[1][1][0] == {"type": "image_url", "image_url": {"url": "https://x.test/p.png"}}
    for part in ("'version'", "azure_endpoint", "api_key", "the photo", "chart.png", "{{role}}:"):
        assert any(part in line for line in made.lost), part
    assert "s3cret" not in made.text + "".join(made.lost)


V2 = """---
name: greet
displayName: Greeter
metadata: {authors: [me], tags: [x], other: 1}
model: {id: gpt, provider: openai, apiType: chat, connection: {kind: key, apiKey: k},
        options: {maxOutputTokens: 5, topP: 0.5, additionalProperties: {min_p: 0.1}}}
inputs:
  - {name: name, kind: string, default: World}
  - {name: n, kind: float, required: false}
  - {name: items, kind: array, items: {kind: string}}
  - {name: t, kind: thread}
outputs:
  - {name: words, kind: array, items: {kind: string}, description: All}
tools:
  - {name: f, kind: function, description: F, parameters: [{name: q, kind: integer, required: false}]}
  - {name: m, kind: mcp}
template: {format: {kind: mustache}, parser: {kind: prompty}}
---
Hi {{name}}{{#items}}
- {{.}}
{{/items}}
assistant[name="x"]:
![a](b) {{{name}}}
"""


def test_a_prompty_file_of_version_2(tmp_path):
    made = one(V2, "prompty")
    assert made.front == {
        "model": "gpt",
        "parameters": {"max_tokens": 5, "top_p": 0.5, "min_p": 0.1},
        "inputs": {
            "name": {"type": "string", "default": "World"},
            "n": {"type": "number", "required": False},
            "items": {"type": "array", "items": "string"},
            "t": "any",
        },
        "output": {
            "type": "object",
            "properties": {"words": {"type": "array", "description": "All", "items": {"type": "string"}}},
            "required": ["words"],
        },
        "tools": [{"type": "function", "function": {"name": "f", "description": "F", "parameters": {
            "type": "object", "properties": {"q": {"type": "integer"}}}}}],
        "tags": ["x"],
        "owner": "me",
    }  # fmt: skip
    found = rendered(tmp_path, made, items=["a"], t=[])
    assert found == [("system", "Hi World\n- a\n"), ("assistant", "![a](b) World")]
    for part in ("displayName", "'other'", "'provider'", "'connection'", "thread", "'mcp'", 'name="x"', "HTML"):
        assert any(part in line for line in made.lost), part


def test_a_block_over_several_prompty_messages_is_refused_with_the_reason():
    text = "---\nname: x\n---\nsystem:\na\n{% if b %}\nuser:\nc\n{% endif %}\n"
    with pytest.raises(PromptError, match=r"p\.prompty:.*message 1: .* a condition or a loop can't go over several"):
        read_prompts(text, "prompty", name="p.prompty")
    with pytest.raises(PromptError, match=r"p\.prompty:6: message 1"):
        read_prompts("---\nname: x\n---\nsystem:\na\n{{ b c }}\n", "prompty", name="p.prompty")
