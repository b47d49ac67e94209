"""Others' prompt formats: what is read and written, what is listed as lost, and that renderings stay the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import clean_environment
from llmops.errors import InputError, LlmopsError, PromptError
from llmops.prompts.formats import FORMATS, Imported, guess_format, read_prompts, write_prompt
from llmops.prompts.template import FilePrompt, load_prompt_file

FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)
NAMES = ("question", "tone", "x")
PIECES = st.one_of(
    st.sampled_from(
        ["{", "}", "{{", "}}", "{%", "%}", "{#", "#}", '"', "'", "\\", "\n", " ", "system:", "\nuser:\n", "é😀", "\r",
         "{{x}}", "{x}", "{{#x}}", "{{/x}}", "{% raw %}", "~", "---"]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6),
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=8).map("".join)


def load(folder: Path, text: str) -> FilePrompt:
    path = folder / "p.prompt.md"
    path.write_bytes(text.encode())
    return load_prompt_file(path, folder)


def loaded(folder: Path, imported: Imported) -> FilePrompt:
    """The imported prompt, by way of its file."""
    return load(folder, imported.text)


def one(text: Any, format: str, name: str = "") -> Imported:
    (made,) = read_prompts(text if isinstance(text, str) else json.dumps(text), format, name=name)
    return made


def rendered(folder: Path, imported: Imported, **values: Any) -> list[tuple[str, Any]]:
    return [(m["role"], m["content"]) for m in loaded(folder, imported).render(values)]


# --- what holds for every format ---------------------------------------------------------------------------------

FULL = """---
description: Answers from the docs
model: small
parameters: {temperature: 0.5, max_tokens: 20, stop: [END]}
inputs:
  question: string
  tone: {type: string, default: short}
output: {type: object, properties: {answer: {type: string}}, required: [answer]}
tools: [{type: function, function: {name: find, parameters: {type: object, properties: {q: {type: string}}}}}]
tags: [docs]
owner: docs team
---
system:
Be {{ tone }}, say "so" { and }.

user:
{{ question }}
"""


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_read_again_renders_the_same_and_the_rest_is_kept_or_listed(tmp_path, format):
    prompt = load(tmp_path, FULL)
    exported = write_prompt(prompt, format)
    back = one(exported.text, format)
    again = loaded(tmp_path, back)
    values = {"question": 'What {{is}} "this"?', "tone": "brief"}
    assert again.render(values) == prompt.render(values)
    listed = {line.split(":")[0] for line in exported.lost}
    for key in ("description", "model", "parameters", "output", "tools", "tags", "owner"):
        assert (getattr(again.front, key) == getattr(prompt.front, key)) != (key in listed), key


@pytest.mark.parametrize("format", FORMATS)
@FOLDER
@given(parts=st.lists(st.one_of(st.sampled_from(NAMES).map(lambda n: (n,)), TEXTS), min_size=1, max_size=5))
def test_text_and_variables_survive_every_format_or_the_change_is_listed(tmp_path, format, parts):
    from llmops.prompts.formats.jinja_text import fit, literal

    source = "".join(literal(p) if isinstance(p, str) else f"{{{{ {p[0]} }}}}" for p in parts)
    text = "\n".join(f"{name}: string" for name in NAMES)
    body = fit(source) if source.strip() else '{{ "" }}'
    prompt = load(
        tmp_path, f"---\ninputs: {{{text.replace(chr(10), ', ')}}}\n---\nsystem:\nBe good.\n\nuser:\n{body}\n"
    )
    values = {name: f"<{name} {{{{x}}}}>" for name in NAMES}
    exported = write_prompt(prompt, format)
    try:
        (back,) = read_prompts(exported.text, format)
    except LlmopsError:
        assert exported.lost
        return
    again = loaded(tmp_path, back)
    used = {name: value for name, value in values.items() if name in again.variables}
    noted = [line for line in (*exported.lost, *back.lost) if "message" in line or "variable" in line]
    assert noted or again.render(used) == prompt.render(values)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["user", "{{x}}", "{x}", "{% if", "function", "{{#a}}b{{/a}}", "\ud800", "\0", "string"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["role", "content", "messages", "prompt", "template", "name", "type", "config", "tags", "lc", "id",
             "kwargs", "inputs", "model", "tools", "response_format", "text", "image_url", "url", "prompts", "raw",
             "label", "partial_variables", "parameters", "input", "schema", "output", "default", "outputs", "data",
             "function", "PromptTemplate", "template_format", "labels", "model_config", "metadata", "sample"]
        ) | st.text(max_size=4),
        inner, max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


def harmless(text: str, format: str) -> None:
    try:
        made = read_prompts(text, format, name="x.file")
    except LlmopsError as problem:
        assert "\n" not in str(problem) and str(problem).startswith("x.file")
    else:
        for prompt in made:
            assert prompt.text.encode() and prompt.name
            assert all("\n" not in line for line in prompt.lost)


@pytest.mark.parametrize("format", FORMATS)
@given(value=JSON)
@settings(deadline=None, max_examples=150)
def test_any_json_is_read_or_refused_in_one_line(format, value):
    harmless(json.dumps(value), format)
    harmless(f"---\n{json.dumps(value)}\n---\nHi {{{{x}}}}", format)


@pytest.mark.parametrize("format", FORMATS)
@given(
    text=st.text(max_size=60)
    | TEXTS
    | st.lists(
        st.sampled_from(
            [
                "{{#if x}}",
                "{{else}}",
                "{{/if}}",
                "{{#each y}}",
                "{{/each}}",
                "{{this.a}}",
                '{{role "user"}}',
                "{{>p}}",
                "\n",
                "{{~x~}}",
                "\\{{",
                "{{!-- c --}}",
                "system:\n",
                "- role: user\n",
                "prompts:\n",
                "---\n",
                "a: b\n",
                "[",
                "{",
                "{{{",
            ]
        ),
        max_size=12,
    ).map("".join)
)
@settings(deadline=None, max_examples=200)  # fmt: skip
def test_any_text_is_read_or_refused_in_one_line(format, text):
    harmless(text, format)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000, '{"a":' * 50_000, "[" + "9" * 10_000 + "]", '[{"role": "user", "content": "\\ud800"}]',
        '[{"role": "user", "content": 1e999}]', '{"messages": NaN}', "\0", "", "{" * 5000, "{{#a}}" * 5000,
        "{{#if a}}" * 3000 + "{{/if}}" * 3000, "{% if a %}" * 3000 + "{% endif %}" * 3000, "x" * 300_000,
        '{"prompt": "' + "{{a}}" * 50_000 + '"}', "---\n" + "- " * 5000 + "\n---\nhi", "{{ 9" + "9" * 6000 + " }}",
        '[{"role": "user", "role": "user", "content": ""}]', "{{a" * 20_000, "\\{{" * 20_000, "![](" * 20_000,
        '{"lc":1,"id":["PromptTemplate"],"kwargs":{"template":"' + "{a:" * 3000 + '"}}', "{{!" * 30_000,
        "system[a=" * 10_000, "{{'" * 20_000, "{{#a}}x" * 2000 + "{{/a}}" * 2000,
        "{{#a}}" * 100_000, "\\" * 300_000, " " * 300_000 + "x", "![" * 100_000,
        "system" + " " * 200_000 + "x", "{{a " + "[" * 200_000 + "}}", "{{a}}\n" * 30_000,
        "- " * 100_000, "|" * 100_000,
    ],
)  # fmt: skip
def test_hostile_text_ends_soon(format, text):
    began = time.process_time()
    harmless(text, format)
    assert time.process_time() - began < 10


def test_formats_are_named_and_guessed(tmp_path):
    with pytest.raises(InputError, match="did you mean 'langchain'"):
        read_prompts("", "langchian")
    prompt = load(tmp_path, FULL)
    suffixes = {"prompty": ".prompty", "dotprompt": ".prompt"}
    for format in FORMATS:
        found = guess_format(Path("p" + suffixes.get(format, ".json")), write_prompt(prompt, format).text)
        assert found == ("openai" if format == "promptfoo" else format)
    assert guess_format(Path("p.txt"), "Hi") == "promptfoo"
    assert guess_format(Path("promptfooconfig.yaml"), "# x\ndescription: a\nprompts:\n  - hi") == "promptfoo"
    assert guess_format(Path("l.json"), '[{"name": "a", "prompt": "hi", "labels": []}]') == "langfuse"
    for name, text in (("a.bin", "?"), ("a.json", "[1]"), ("a.json", "{"), ("a.yaml", "a: 1")):
        with pytest.raises(InputError, match="dotprompt, langchain, langfuse"):
            guess_format(Path(name), text)


def test_nothing_heavy_is_loaded_with_the_package():
    heavy = {"jinja2", "yaml", "langchain_core", "jsonschema"}
    code = f"import sys, llmops.prompts.formats; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


def test_few_shot_examples_leave_as_messages(tmp_path):
    head = '---\ninputs: {q: string}\nfew_shot: [{user: "1 {{+}} 1?", assistant: "2"}]\n---\n'
    text = head + "system:\nAdd.\n\nuser:\n{{ q }}\n"
    prompt = load(tmp_path, text)
    exported = write_prompt(prompt, "promptfoo")
    assert rendered(tmp_path, one(exported.text, "promptfoo"), q="2?") == [
        (m["role"], m["content"]) for m in prompt.render(q="2?")
    ]
    assert any(line.startswith("few_shot:") for line in exported.lost)


# --- OpenAI chat JSON --------------------------------------------------------------------------------------------


def test_an_openai_request_becomes_front_matter_and_messages():
    request = {
        "model": "gpt", "temperature": 0, "stream": True, "min_p": 0.1,
        "messages": [
            {"role": "developer", "content": "Be {{ tone }}."},
            {"role": "user", "name": "bob", "content": "{{user.name}}: {{ q }} {% if %} {{ not a name }}"},
            {"role": "tool", "content": "no", "tool_call_id": "1"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}],
        "response_format": {
            "type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}},
        },
    }  # fmt: skip
    made = one(request, "openai", "folder/ask.json")
    assert made.name == "ask"
    assert made.front == {
        "model": "gpt",
        "parameters": {"temperature": 0, "min_p": 0.1},
        "inputs": {"tone": "string", "user": "any", "q": "string"},
        "output": {"type": "object"},
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    assert made.messages == [
        ("system", "Be {{ tone }}."),
        ("user", '{{ user.name }}: {{ q }} {{ "{" }}% if %} {{ "{{" }} not a name }}'),
    ]
    for part in ("'stream'", "developer", "'name'", "'tool'", "'tool_call_id'", "web_search", "'strict'", "name 'a'"):
        assert any(part in line for line in made.lost), part


@FOLDER
@given(text=TEXTS)
def test_openai_text_renders_as_written(tmp_path, text):
    made = one([{"role": "user", "content": text.replace("{{x}}", "")}], "openai")
    assert rendered(tmp_path, made) == [("user", text.replace("{{x}}", ""))]


def test_images_come_and_go_as_parts(tmp_path):
    parts = [
        {"type": "text", "text": "Look: {{q}}"},
        {"type": "image_url", "image_url": {"url": "{{ photo }}", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/{{id}}.png"}},
        {"type": "input_audio", "input_audio": {}},
    ]
    made = one([{"role": "user", "content": parts}], "openai")
    values = {"q": "a", "photo": "https://x.test/a.png", "id": "7"}
    content = rendered(tmp_path, made, **values)[0][1]
    assert content == [
        {"type": "text", "text": "Look: a"},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/7.png"}},
    ]
    assert any("input_audio" in line for line in made.lost)
    for format in ("openai", "promptfoo", "langchain"):
        again = one(write_prompt(loaded(tmp_path, made), format).text, format)
        assert rendered(tmp_path, again, **values)[0][1] == content, format


def test_role_lines_and_blank_edges_stay_in_their_message(tmp_path):
    text = "\n\nsystem:\nno\nuser:\n \n"
    made = one([{"role": "user", "content": text}, {"role": "assistant", "content": ""}], "openai")
    assert rendered(tmp_path, made) == [("user", text), ("assistant", "")]
    raw = "{% raw %}a\nuser:\n{{ b }}{% endraw %}{# \nuser:\n #}{{ '\nsystem:\n' }}"
    raw += "{{ {\nuser:\n1}|length if false else 2 }}"
    made = one([{"role": "user", "content": raw}], "promptfoo")
    assert rendered(tmp_path, made, user="k") == [("user", "a\nuser:\n{{ b }}\nsystem:\n2")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "f.json:1: not valid JSON"),
        ('{\n"a": 1,}', "f.json:2: not valid JSON"),
        ("[]", "f.json: there is no message"),
        ('{"model": "x"}', "f.json: there are no messages"),
        ('{"messages": 1}', "f.json: messages is a list, not 1"),
        ('[{"role": "user", "content": "\\udc00"}]', "half of a surrogate pair"),
        ('[{"role": "user", "content": "a"}, 3]', "f.json: message 2 is a mapping, not 3"),
        ('{"messages": [{"role": "user", "content": "a"}], "response_format": {"type": 5}}', "isn't a JSON Schema"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_with_its_place(text, message):
    with pytest.raises(PromptError, match="(?s)" + message.replace("(", "\\(")):
        read_prompts(text, "openai", name="f.json")


# --- Langfuse and MLflow -----------------------------------------------------------------------------------------


def test_langfuse_prompts_are_read_from_a_list(tmp_path):
    prompts = [
        {"name": "movie critic", "type": "text", "prompt": "As a {{criticLevel}} critic, {{movie}}? {% x", "version": 3,
         "config": {"model": "gpt", "temperature": 0.5, "languages": ["en"]}, "labels": ["production"], "tags": ["m"]},
        {"name": "chat", "type": "chat", "isActive": None, "commitMessage": "first", "prompt": [
            {"type": "chatmessage", "role": "system",
             "content": "@@@langfusePrompt:name=rules|label=production@@@ Go."},
            {"type": "placeholder", "name": "history"},
            {"role": "user", "content": "{{ user-name }} {{q}}"}]},
    ]  # fmt: skip
    text, chat = read_prompts(json.dumps({"data": prompts}), "langfuse")
    assert (text.name, text.front["model"], text.front["parameters"]) == ("movie-critic", "gpt", {"temperature": 0.5})
    assert rendered(tmp_path, text, criticLevel="harsh", movie="Dune") == [("user", "As a harsh critic, Dune? {% x")]
    assert [line.split(":")[0] for line in text.lost] == ["config", "'version'", "'labels'"]
    assert chat.messages[0] == ("system", '{% include "_rules.md" %} Go.')
    assert chat.front["description"] == "first"
    assert any("history" in line for line in chat.lost) and any("rules|label=production" in line for line in chat.lost)


def test_mlflow_prompts_are_read_from_fields_and_from_a_stored_version(tmp_path):
    version = {"name": "sum", "version": "2", "aliases": ["champion"], "commit_message": "Shorter", "user_id": None,
               "template": "Sum {{ text }} in {{n}}. {{ a | b }}", "tags": {"team": "docs"},
               "model_config": {"provider": "openai", "model_name": "gpt", "stop_sequences": ["."],
                                "extra_params": {"k": 1}},
               "response_format": {"type": "object"}}  # fmt: skip
    made = one(version, "mlflow")
    assert made.front == {
        "description": "Shorter", "model": "gpt", "parameters": {"stop": ["."], "k": 1},
        "inputs": {"text": "string", "n": "string"}, "output": {"type": "object"}, "tags": ["team=docs"],
    }  # fmt: skip
    assert rendered(tmp_path, made, text="it", n="3") == [("user", "Sum it in 3. {{ a | b }}")]
    assert len(made.lost) == 3 and any("champion" not in line and "'aliases'" in line for line in made.lost)
    stored = {"name": "c", "version": "1", "tags": [
        {"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "_mlflow_prompt_type", "value": "chat"},
        {"key": "mlflow.prompt.text",
         "value": json.dumps([{"role": "user", "content": "{% if a %}{{ a }}{% endif %}\n"}])},
    ]}  # fmt: skip
    assert rendered(tmp_path, one(stored, "mlflow"), a="yes") == [("user", "yes")]


# --- promptfoo ---------------------------------------------------------------------------------------------------


def test_promptfoo_text_files_hold_several_prompts(tmp_path):
    made = read_prompts(
        "Translate {{text | upper}}\n\n ---\n{% if a %}A{% elseif b %}B{% endif %}\n", "promptfoo", name="t.txt"
    )
    assert [one.name for one in made] == ["t-1", "t-2"]
    assert rendered(tmp_path, made[0], text="hi") == [("user", "Translate HI")]
    assert rendered(tmp_path, made[1], a="", b="x") == [("user", "B")]
    made = one("Hello {{ name | shout }} {{ x | dump }}", "promptfoo")
    assert any("'shout'" in line for line in made.lost) and any("dump" in line for line in made.lost)
    with pytest.raises(PromptError, match=r"t\.txt:4: message 1: "):
        read_prompts("\nfine\n---\n{% for %}", "promptfoo", name="t.txt")


def test_promptfoo_chats_and_configs_are_read(tmp_path):
    yaml = "- role: system\n  content: You are {{ who }}\n- role: user\n  content: 'Hi {{ q }}'\n"
    assert rendered(tmp_path, one(yaml, "promptfoo"), who="x", q="y") == [("system", "You are x"), ("user", "Hi y")]
    config = """# yaml-language-server: x
description: test
prompts:
  - 'Say {{ a }}'
  - file://chat.json
  - {id: p2, label: Second One, raw: '[{"role": "user", "content": "{{ b }}"}]', config: {temperature: 1}}
providers: [openai:gpt]
tests: []
"""
    first, second = read_prompts(config, "promptfoo", name="promptfooconfig.yaml")
    assert (first.name, second.name) == ("promptfooconfig-1", "Second-One")
    assert second.front == {"parameters": {"temperature": 1}, "inputs": {"b": "string"}}
    assert any("file://chat.json" in line for line in first.lost) and any("'providers'" in line for line in first.lost)
    with pytest.raises(PromptError, match="import those files"):
        read_prompts("prompts: file://a.txt", "promptfoo")
