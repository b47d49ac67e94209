"""What `diff_prompts` finds between two prompts, and how it is shown."""

from __future__ import annotations

import json
import random
import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.prompts.comparison.diff_text import MAX_CHARACTERS, diff_lines, diff_markdown
from llmops.prompts.comparison.diffing import PromptDiff, diff_prompts
from llmops.prompts.comparison.message_changes import message_changes
from llmops.prompts.comparison.values import brief, same, visible
from llmops.prompts.comparison.words import new_text, old_text, tokens, word_diff
from llmops.prompts.template import FilePrompt, load_prompt_file

PIECES = st.sampled_from(
    ["the ", "a", " ", "\n", "\n\n", ",", ".", "{{ x }}", "{% if y %}", "{{", "}}", "{#", "[-", "+}", "`", "```", "0.7",
     "don't", "文", "字", "é", "e\u0301", "क्षि", "ไทย", "👩\u200d💻", "\t", "\r", "\x1b[31m", "\ud800", "\u202e", "\0"]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=25).map("".join)


@pytest.fixture
def prompt(tmp_path):
    """Makes a prompt from front matter and messages: `prompt(front, messages)`."""

    def make(front: str = "", messages: str = "user:\nHello") -> FilePrompt:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        file = folder / "p.prompt.md"
        file.write_text(f"---\n{front}\n---\n{messages}\n" if front else messages, encoding="utf-8")
        return load_prompt_file(file, folder, name="docs/answer")

    return make


def marked(old: str, new: str) -> str:
    marks = {"equal": "{}", "delete": "[-{}-]", "insert": "{{+{}+}}"}
    return "".join(marks[op].format(text) for op, text in word_diff(old, new))


@settings(max_examples=500, deadline=None)
@given(TEXTS, TEXTS)
def test_segments_join_to_both_texts_and_leave_no_islands(old, new):
    found = word_diff(old, new)
    assert old_text(found) == old
    assert new_text(found) == new
    assert all(segment.text for segment in found)
    ops = [segment.op for segment in found]
    assert all(a != b and (a, b) != ("insert", "delete") for a, b in pairwise(ops))
    for segment in found[1:-1]:
        assert segment.op != "equal" or "\n" in segment.text or re.search(r"\w", segment.text)
    assert "".join(tokens(old)) == old


@given(TEXTS)
def test_a_text_compared_with_itself_has_no_changes(text):
    assert all(segment.op == "equal" for segment in word_diff(text, text))


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("You are a helpful bot.", "You are a careful bot.", "You are a [-helpful-]{+careful+} bot."),
        ("Ask {{ question }} now", "Ask {{ query }} now", "Ask [-{{ question }}-]{+{{ query }}+} now"),
        ("use 0.7 at most", "use 0.75 at most", "use [-0.7-]{+0.75+} at most"),
        ("I don't know it", "I do know it", "I [-don't-]{+do+} know it"),
        ("回答问题。", "请回答这问题。", "{+请+}回答{+这+}问题。"),
        ("हिन्दी में", "हिन्दी मे", "हिन्दी [-में-]{+मे+}"),
        ("first, second end", "uno, dos end", "[-first, second-]{+uno, dos+} end"),
        ("one\n\nthree", "uno\n\ntres", "[-one-]{+uno+}\n\n[-three-]{+tres+}"),
        ("kept", "kept and more", "kept{+ and more+}"),
        ("a b", "a  b", "a[- -]{+  +}b"),
    ],
)
def test_words_change_whole_and_read_well(old, new, shown):
    assert marked(old, new) == shown


def _words(seed: int, size: int, kinds: int, ends: list[str]) -> str:
    source = random.Random(seed)
    return "".join(f"{source.randrange(kinds)}{source.choice(ends)}" for _ in range(size // len(str(kinds))))[:size]


@pytest.mark.parametrize("kinds", [10, 10**9])
@pytest.mark.parametrize("ends", [[" "], ["\n"], [" "] * 12 + ["\n"], [" {{ x }} "], [""]], ids=repr)
def test_large_texts_that_differ_wholly_take_seconds_not_minutes(kinds, ends):
    old, new = _words(1, 200_000, kinds, ends), _words(2, 200_000, kinds, ends)
    start = time.process_time()
    found = word_diff(old, new)
    assert time.process_time() - start < 10  # quadratic time would be minutes
    assert (old_text(found), new_text(found)) == (old, new)


@pytest.mark.parametrize("text", ["{{", "{%", "{#", "{% raw %}", "{{ '", "a'", "1.", "\u0301", "{{ {"])
def test_unclosed_tags_are_read_in_linear_time(text):
    start = time.process_time()
    word_diff(text * 50_000, text * 50_000 + "x")
    assert time.process_time() - start < 1


def test_small_changes_in_a_large_text_are_found_each():
    words = _words(3, 200_000, 10**6, [" "] * 12 + ["\n"]).split(" ")
    changed = [("changed" if i % 500 == 250 else word) for i, word in enumerate(words)]
    found = word_diff(" ".join(words), " ".join(changed))
    assert sum(segment.text == "changed" for segment in found) > len(words) // 500 * 0.8
    assert sum(len(segment.text) for segment in found if segment.op == "equal") > 190_000


def kinds(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> list[tuple[str, int, int]]:
    return [(one.kind, one.old_place, one.new_place) for one in message_changes(old, new)]


A, B, C = ("user", "Where is the nearest station?"), ("assistant", "Two streets away."), ("user", "{{ question }} now")


def test_a_message_in_the_middle_moves_no_other():
    system = ("system", "You answer questions about trains, briefly.")
    assert kinds([system, A, B, C], [system, C]) == [("removed", 2, 0), ("removed", 3, 0)]
    assert kinds([system, C], [system, A, B, C]) == [("added", 0, 2), ("added", 0, 3)]
    edited = ("system", "You answer questions about trains, at length.")
    longer = ("user", "Where is the nearest bus station?")
    assert kinds([system, A, C], [edited, B, longer, C]) == [("changed", 1, 1), ("added", 0, 2), ("changed", 2, 3)]


def test_one_message_written_anew_is_one_change():
    assert kinds([A, C], [("user", "Something else"), C]) == [("changed", 1, 1)]
    assert kinds([("system", "x")], [("user", "x")]) == [("removed", 1, 0), ("added", 0, 1)]


def test_many_messages_take_bounded_time():
    words = [f"{i} {' '.join(str(random.Random(i * j).random()) for j in range(12))}" for i in range(1000)]
    start = time.process_time()
    found = kinds([("user", word) for word in words[:500]], [("user", word) for word in words[500:]])
    assert time.process_time() - start < 2
    assert len(found) == 500


MESSAGES = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=7)


@settings(max_examples=200, deadline=None)
@given(MESSAGES, MESSAGES)
def test_messages_can_be_rebuilt_from_the_changes(old, new):
    changes = message_changes(old, new)
    for one in changes:
        assert one.old_place == 0 or old[one.old_place - 1] == (one.role, old_text(one.segments))
        assert one.new_place == 0 or new[one.new_place - 1] == (one.role, new_text(one.segments))
    kept = [text for i, text in enumerate(old, 1) if i not in {one.old_place for one in changes}]
    assert kept == [text for i, text in enumerate(new, 1) if i not in {one.new_place for one in changes}]
    assert message_changes(old, list(old)) == ()


@pytest.mark.parametrize(
    ("old", "new", "line", "breaking"),
    [
        ("{a: string}", "{}", "a: removed", True),
        ("{}", "{a: string}", "a: added, must be given (string)", True),
        ("{}", "{a: {type: string, default: x}}", "a: added, may be left out (string)", False),
        ("{}", "{a: {type: string, required: false}}", "a: added, may be left out (string)", False),
        ("{a: number}", "{a: integer}", "a: number → integer", True),
        ("{a: integer}", "{a: number}", "a: integer → number", False),
        ("{a: any}", "{a: string}", "a: any → string", True),
        ("{a: string}", "{a: any}", "a: string → any", False),
        ("{a: {type: [string, 'null']}}", "{a: string}", "a: string or null → string", True),
        ("{a: array}", "{a: {type: array, items: string}}", "a: items: any → string", True),
        ("{a: {type: array, items: string}}", "{a: array}", "a: items: string → any", False),
        ("{a: {enum: [x, y]}}", "{a: {enum: [x]}}", 'a: no longer "y"', True),
        ("{a: {enum: [x]}}", "{a: {enum: [x, y]}}", 'a: now also "y"', False),
        ("{a: {enum: [1]}}", "{a: {enum: [true]}}", "a: no longer 1", True),
        ("{a: string}", "{a: {type: string, enum: [x]}}", 'a: any value → "x"', True),
        ("{a: {type: string, enum: [x]}}", "{a: string}", 'a: "x" → any value', False),
        ("{a: {default: x}}", "{a: {default: z}}", 'a: default: "x" → "z"', False),
        ("{a: {default: x}}", "{a: any}", 'a: no default any more (was "x")', True),
        ("{a: {default: x}}", "{a: any}", "a: must be given now", True),
        ("{a: {required: false}}", "{a: any}", "a: must be given now", True),
        ("{a: any}", "{a: {default: x}}", "a: may be left out now", False),
        ("{a: any}", "{a: {description: D}}", "a: description changed", False),
    ],
)
def test_variables(prompt, old, new, line, breaking):
    diff = diff_prompts(prompt(f"inputs: {old}"), prompt(f"inputs: {new}"))
    assert {str(one): one.breaking for one in diff.variables}.get(line) is breaking, diff.variables
    assert bool(diff.breaking) is any(one.breaking for one in diff.variables)


def test_variables_that_are_only_used_count_as_declared(prompt):
    diff = diff_prompts(prompt("", "{{ a }} {{ b }}"), prompt("", "{{ b }} {{ c }}"))
    assert diff.breaking == ("variable a: removed", "variable c: added, must be given (any)")
    assert diff_prompts(prompt("", "{{ a }}"), prompt("inputs: {a: any}", "{{ a }}")).breaking == ()


FIND = "{name: find, parameters: {type: object, properties: {q: {type: string}}, required: [q]}}"


@pytest.mark.parametrize(
    ("old", "new", "line", "breaking"),
    [
        ("parameters: {temperature: 0}", "parameters: {temperature: 0.7}", "temperature: 0 → 0.7", False),
        ("parameters: {n: 1}", "parameters: {n: 1.0}", "n: 1 → 1.0", False),
        ("parameters: {a: {b: 1, c: 2}}", "parameters: {a: {b: 1, c: 3}}", "a.c: 2 → 3", False),
        ("parameters: {stop: [x]}", "model: m", 'stop removed (was ["x"])', False),
        ("model: m", "model: n", 'model: "m" → "n"', False),
        ("owner: o", "model: n", 'model added: "n"', False),
        ("backend: echo", "backend: {echo: {a: 1}}", 'backend: "echo" → {"echo": {"a": 1}}', False),
        (f"tools: [{FIND}]", "owner: o", "tool find removed", True),
        ("owner: o", f"tools: [{FIND}]", "tool find added", False),
        (f"tools: [{FIND}]", f"tools: [{FIND.replace('string', 'integer')}]",
         "tool find, parameters $.q: type: string → integer", True),
        (f"tools: [{FIND.replace('required: [q]', 'required: []')}]", f"tools: [{FIND}]",
         "tool find, parameters $.q: required now", True),
        (f"tools: [{FIND}]", f"tools: [{{type: function, function: {FIND}}}]",
         'tool find.type added: "function"', False),
        ("few_shot: [{user: a, assistant: b}]", "few_shot: [{user: a, assistant: c}, {user: d, assistant: e}]",
         "few_shot: 1 changed, 1 added (1 → 2 examples)", False),
        ("few_shot: [{user: a, assistant: b}, {user: c, assistant: d}]",
         "few_shot: [{user: c, assistant: d}, {user: a, assistant: b}]",
         "few_shot: in another order (2 → 2 examples)", False),
        ("output: {type: object}", "owner: o", "output schema dropped: answers are any text now", True),
        ("owner: o", "output: {type: object}", "output schema added: answers are JSON now", True),
        ("output: {properties: {a: {type: string}}}", "output: {properties: {a: {type: 'null'}}}",
         "output $.a: type: string → null", True),
        ("output: {title: T}", "output: {title: U}", 'output $: title: "T" → "U"', False),
    ],
)  # fmt: skip
def test_settings(prompt, old, new, line, breaking):
    diff = diff_prompts(prompt(old), prompt(new))
    assert {str(one): one.breaking for one in diff.settings}.get(line) is breaking, diff.settings


def test_metadata_stands_apart(prompt):
    old, new = prompt("description: a\nmodel: m\ntags: [x]"), prompt("description: b\nmodel: m\nowner: me")
    diff = diff_prompts(old, new)
    assert [str(one) for one in diff.metadata] == [
        'description: "a" → "b"',
        'tags removed (was ["x"])',
        'owner added: "me"',
    ]
    assert not diff.settings and not diff.breaking and not diff.is_empty
    assert diff.summary == "metadata changed"
    assert old.content_id == new.content_id


def test_the_same_prompt_has_an_empty_diff(prompt):
    front = f"model: m\ninputs: {{a: string}}\ntools: [{FIND}]"
    front += "\noutput: {type: object}\nfew_shot: [{user: a, assistant: b}]"
    diff = diff_prompts(prompt(front, "user:\n{{ a }}"), prompt(front, "user:\n{{ a }}"))
    assert diff.is_empty and diff.summary == "no changes" and diff.breaking == ()
    assert list(diff_lines(diff)) == []
    assert "No changes." in diff_markdown(diff)


def test_the_summary_and_the_data(prompt):
    old = prompt("inputs: {question: string}", "system:\nBe brief and kind.\nuser:\n{{ question }}")
    new = prompt("inputs: {query: string}", "system:\nBe brief and exact.\nuser:\n{{ query }}")
    diff = diff_prompts(old, new)
    assert diff.summary == (
        "2 messages changed; 1 variable added; 1 variable removed; breaking: question removed, query must be given"
    )
    data = diff.to_json()
    assert json.loads(json.dumps(data)) == data
    assert data["breaking"] == list(diff.breaking)
    assert data["messages"][0]["segments"][1] == {"op": "delete", "text": "kind"}
    assert data["old"] == data["new"] == "docs/answer"


def plain(diff: PromptDiff, **options: object) -> str:
    return "\n".join("".join(text for _, text in line) for line in diff_lines(diff, **options))


def of_texts(old: str, new: str) -> PromptDiff:
    return PromptDiff("a", "b", messages=message_changes([("user", old)], [("user", new)]))


def test_lines_for_a_pipe_mark_words_and_shorten_what_is_equal():
    around = "Some words that stay as they are for quite a while. " * 10
    text = plain(of_texts(f"{around}old\n{around}\n{around}end", f"{around}new\n{around}\n{around}END"), color=False)
    lines = text.split("\n")
    assert lines[0] == "Message 1, user: changed"
    assert lines[1].startswith("  … ") and lines[1].endswith("for quite a while. [-old-]{+new+}")
    assert "  …" in lines and len(text) < 400
    assert text.endswith("[-end-]{+END+}")


def test_lines_for_a_terminal_style_words_instead():
    lines = list(diff_lines(of_texts("one two", "one three"), color=True))
    assert lines[1] == (("", "  "), ("", "one "), ("red", "two"), ("green", "three"))


def test_a_change_of_blanks_can_be_seen():
    assert "a[-·-]{+··+}b" in plain(of_texts("a b", "a  b"), color=False)
    assert "a\n  {+↵+}\n  b" in plain(of_texts("a\nb", "a\n\nb"), color=False)


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS, st.booleans())
def test_no_prompt_drives_the_terminal(old, new, color):
    text = plain(of_texts(old, new), color=color, width=40)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_no_prompt_leaves_its_block_in_markdown(old, new):
    text = diff_markdown(of_texts(old, new))
    lines = text.split("\n")
    opened = [i for i, line in enumerate(lines) if re.fullmatch(r"`{3,}diff", line)]
    assert len(opened) == (old != new)
    for start in opened:
        fence = lines[start].removesuffix("diff")
        end = lines.index(fence, start + 1)
        assert all(line[:1] in ("-", "+", " ") or line in ("@@ … @@", "…") for line in lines[start + 1 : end])
        assert not any(line.strip(" `") == "" and line.count("`") >= len(fence) for line in lines[start + 1 : end])
        assert not any(line.strip() for line in lines[end + 1 :])


def test_markdown_keeps_names_and_reasons_inert(prompt):
    bad = "x`</code>@team <img src=x> [a](http://b) \n# T"
    old = prompt(f"output: {json.dumps({'properties': {bad: {'type': 'string'}}})}")
    text = diff_markdown(diff_prompts(old, prompt("output: {type: object}")))
    [line] = [one for one in text.split("\n") if "property removed" in one and "$" in one][:1]
    found = re.fullmatch(r"- (`+) ?(.*?) ?\1", line)
    assert found and found[1] not in re.findall("`+", found[2])
    assert "\n# T" not in text


def test_markdown_fits_a_comment():
    texts = [[("user", f"{side} {i} " * 1500) for i in range(40)] for side in ("old", "new")]
    text = diff_markdown(PromptDiff("a", "b", messages=message_changes(*texts)))
    assert len(text) < MAX_CHARACTERS + 200
    assert "More was left out" in text


def test_markdown_shows_whole_lines_with_some_around():
    old = "\n".join(f"line {i}" for i in range(30))
    text = diff_markdown(of_texts(old, old.replace("line 15", "line fifteen")))
    assert (
        "@@ … @@\n line 12\n line 13\n line 14\n-line 15\n+line fifteen\n line 16\n line 17\n line 18\n@@ … @@" in text
    )


def test_values_on_one_line():
    assert visible("a\x1b[1m\u202e\n\u200b") == "a\\x1b[1m\\u202e\n\\u200b"
    assert brief("a\nb" * 100).startswith('"a\\nb') and len(brief("ab" * 100)) == 60
    assert brief({"a": object})[:6] == '{"a": ' and brief([10**5000]) == "(list)"
    assert same({"a": [1, float("nan")]}, {"a": (1, float("nan"))})
    assert not same([1], [True]) and not same([1], [1.0]) and not same({"a": 1}, {"a": 1, "b": 1})
