"""The typed module: what type checkers find in code that calls prompts, and that its text is sound for any prompts."""

from __future__ import annotations

import ast
import json
import keyword
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.prompts.calling.typed import typed_module
from llmops.prompts.inputs import Input

COMMAND = "llmops prompt types --output app/prompts.py"


def declared(*inputs: Input) -> dict[str, Input]:
    return {one.name: one for one in inputs}


ANSWER = declared(
    Input("question", ("string",)),
    Input("contexts", ("array",), default=[]),
    Input("tone", ("string", "null"), enum=("calm", 'a"b', None), required=False),
)
PROMPTS = {
    "docs/answer": ANSWER,
    "docs/answer@production": dict(reversed(ANSWER.items())),
    "docs/answer@2": declared(Input("query", ("string",)), Input("number", ("number", "integer"))),
    "docs/other": ANSWER,
    "types": declared(
        Input("integer", ("integer",)), Input("boolean", ("boolean",)), Input("mapping", ("object",)),
        Input("several", ("string", "null")), Input("names", ("array",), items=("string",)), Input("anything"),
        Input("level", ("integer",), enum=(1, -2)),
    ),
    "keyword": declared(Input("class", ("string",)), Input("question", ("string",))),
    "keyword-default": declared(Input("class", ("string",), default="x")),
    "free": None,
    "nothing": {},
}  # fmt: skip

HOSTILE = {
    name: declared(Input("x", ("string",), enum=(name, f"{name}'", f'{name}"')))
    for name in (
        "2024/start", "class", "true", "none", "loaded-prompt", "literal", "type/alias", "str", "int", "a-b", "a/b",
        "A/b", "a_b_2", "données/été", "答え", "ßtart", "½", "ʼn", "_", "-", "", "a\\", "\"\"\"", "'''", "a\n\tb",
        "\u202e", "\0", "\udc80", "{x}", "%s", "x" * 120, "😀", "ﬁ", "load_prompt", "overload", "prompt", "e\u0301",
        "a\x7f\x85b",
    )
} | {
    "long": declared(Input("x", ("string",), enum=tuple(f"choice number {n}" for n in range(20)))),
    "names": declared(*(Input(n) for n in ("self_", "str", "object", "match", "type", "été", "cls", "_x", "_"))),
    "mangled": declared(Input("__x")),
    "not-normal": declared(Input("ﬁ")),
    "big": declared(Input("x", ("integer",), enum=(2**70, 1)), Input("y", ("number",), enum=(1.5,))),
    "never": declared(Input("x", ("string",), enum=(1,)), Input("y", ("null",), enum=(None,))),
    "all": declared(Input("a" * 40, ("string", "integer", "number", "array", "object", "boolean", "null"))),
}  # fmt: skip

APP = """\
from __future__ import annotations

from typing import Final

from app.prompts import DocsAnswer, DocsAnswer2, DocsOther, load_prompt

REFERENCE: Final = "docs/answer"


def passed(prompt: DocsAnswer, other: DocsOther) -> None:
    prompt.render(question="x")
    other.render(question="x")
    prompt.render(quesiton="x")  # wrong


def right(name: str) -> None:
    answer = load_prompt("docs/answer@production")
    messages = answer.render(question="x")
    print(messages[0]["content"], answer.name.upper(), answer.content_id, answer.version, answer.label)
    load_prompt("docs/answer").render(question="x", contexts=["a", 1], tone="calm")
    load_prompt("docs/answer", key="user-7").render(question="x", contexts=(), tone='a"b')
    load_prompt(REFERENCE, reload=True).render(question="x", tone=None)
    load_prompt("docs/answer@2", root="prompts").render(query="x", number=1)
    passed(answer, load_prompt("docs/other"))
    second: DocsAnswer2 = load_prompt("docs/answer@2")
    second.render(query=name, number=1.5)
    types = load_prompt("types")
    types.render(integer=1, boolean=True, mapping={"a": 1}, several=None, names=["a"], anything=b"", level=-2)
    load_prompt("keyword").render({"class": "x", "question": "y"})
    load_prompt("keyword-default").render()
    load_prompt("free").render(a=1, b="c")
    load_prompt("free").render({"a": 1})
    load_prompt("nothing").render()


def mistaken(name: str) -> None:
    answer = load_prompt("docs/answer@production")
    answer.render()  # wrong
    answer.render(contexts=[])  # wrong
    answer.render(question="x", contxets=[])  # wrong
    answer.render(question=1)  # wrong
    answer.render(question=None)  # wrong
    answer.render(question="x", contexts=3)  # wrong
    answer.render(question="x", tone="loud")  # wrong
    answer.render("x")  # wrong
    answer.rendr(question="x")  # wrong
    load_prompt("docs/anwser")  # wrong
    load_prompt("docs/answer@3")  # wrong
    load_prompt(name)  # wrong
    load_prompt("docs/answer", roots=".")  # wrong
    load_prompt("docs/answer@2").render(question="x")  # wrong
    load_prompt("docs/answer@2").render(query="x", number="1")  # wrong
    second: DocsAnswer = load_prompt("docs/answer@2")  # wrong
    second.render(question="x")
    types = load_prompt("types")
    types.render(integer=1.5, boolean=True, mapping={}, several=None, names=[], anything=1, level=1)  # wrong
    types.render(integer=1, boolean="no", mapping={}, several=None, names=[], anything=1, level=1)  # wrong
    types.render(integer=1, boolean=True, mapping=[], several=None, names=[], anything=1, level=1)  # wrong
    types.render(integer=1, boolean=True, mapping={}, several=5, names=[], anything=1, level=1)  # wrong
    types.render(integer=1, boolean=True, mapping={}, several=None, names=[1], anything=1, level=1)  # wrong
    types.render(integer=1, boolean=True, mapping={}, several=None, names=[], anything=1, level=3)  # wrong
    load_prompt("keyword").render()  # wrong
    load_prompt("keyword").render(question="x")  # wrong
    load_prompt("nothing").render(x=1)  # wrong
"""
WRONG = {number for number, line in enumerate(APP.splitlines(), 1) if line.endswith("# wrong")}

ALONE = """\
from app.alone import load_prompt

load_prompt("docs/answer").render(question="x")
load_prompt("docs/answer").render(qestion="x")  # wrong
load_prompt("docs/anwser")  # wrong
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """An application with typed modules, and code that uses them rightly and wrongly."""
    root = tmp_path_factory.mktemp("project")
    app = root / "app"
    app.mkdir()
    (app / "__init__.py").write_text("")
    (app / "prompts.py").write_text(typed_module(PROMPTS, command=COMMAND), "utf-8")
    (app / "hostile.py").write_text(typed_module(HOSTILE, command=COMMAND), "utf-8")
    (app / "alone.py").write_text(typed_module({"docs/answer": ANSWER}, command=COMMAND), "utf-8")
    (app / "none.py").write_text(typed_module({}, command=COMMAND), "utf-8")
    (root / "main.py").write_text(APP, "utf-8")
    (root / "alone_main.py").write_text(ALONE, "utf-8")
    (root / "none_main.py").write_text('from app.none import load_prompt\n\nload_prompt("x")  # wrong\n', "utf-8")
    return root


EXPECTED = {"main.py": WRONG, "alone_main.py": {4, 5}, "none_main.py": {3}}


def test_mypy_finds_every_mistake_and_nothing_else(project):
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={project / 'cache'}",
         "--no-error-summary", "--hide-error-context", "--no-pretty", "--show-absolute-path", "--output=json", "."],
        cwd=project, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    errors = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [error for error in errors if error["severity"] == "error"]
    seen: dict[str, set[int]] = {}
    for error in errors:
        seen.setdefault(Path(error["file"]).name, set()).add(error["line"])
    assert seen == EXPECTED, done.stdout
    said = {error["line"]: error["message"] for error in errors if Path(error["file"]).name == "main.py"}
    line = next(n for n, text in enumerate(APP.splitlines(), 1) if "quesiton" in text)
    assert "question" in said[line] or "quesiton" in said[line]


@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_pyright_finds_every_mistake_and_nothing_else(project, version):
    program = Path(sys.executable).with_name("basedpyright")
    if not program.exists():
        pytest.skip("no basedpyright beside this Python")
    settings = {"typeCheckingMode": "standard", "pythonVersion": version, "strict": ["app"]}
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [program, "--outputjson", "--pythonpath", sys.executable, "."], cwd=project, capture_output=True, text=True
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 8
    seen: dict[str, set[int]] = {}
    for problem in report["generalDiagnostics"]:
        seen.setdefault(Path(problem["file"]).name, set()).add(problem["range"]["start"]["line"] + 1)
    assert seen == EXPECTED, done.stdout


def ruff(*arguments: str, folder: Path) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, "--isolated", "--no-cache", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_leaves_it_alone_however_a_project_sets_it_up(project):
    everything = ("--select=ALL", "--ignore=PGH004", "--exclude=__init__.py")  # it is blanket on purpose
    assert ruff("check", *everything, folder=project / "app") == ""
    assert ruff("format", "--diff", "--line-length=60", folder=project / "app") == ""


def test_it_is_formatted_and_clean_by_itself_too(tmp_path):
    usual = {name: inputs for name, inputs in HOSTILE.items() if name != "all"}  # a union wider than a line
    for name, prompts in {"a": PROMPTS, "b": {"docs/answer": ANSWER}, "c": {}, "d": usual}.items():
        text = typed_module(prompts, command=COMMAND)
        (tmp_path / f"{name}.py").write_text(text.replace("# fmt: off\n# ruff: noqa\n", ""), "utf-8")
    assert ruff("check", "--select=E4,E7,E9,F,I,UP,B,RUF022,PYI061", folder=tmp_path) == ""
    assert ruff("format", "--diff", folder=tmp_path) == ""


def test_what_runs_is_the_real_one(project, tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "answer.prompt.md").write_text("---\ninputs: {question: string}\n---\nuser:\n{{ question }}\n")
    monkeypatch.syspath_prepend(str(project))
    for name in ("prompts", "alone"):
        typed = __import__(f"app.{name}", fromlist=["load_prompt"])
        prompt = typed.load_prompt("docs/answer", root=tmp_path)
        assert [m["content"].strip() for m in prompt.render(question="why?")] == ["why?"]
    for name in [name for name in sys.modules if name == "app" or name.startswith("app.")]:
        del sys.modules[name]


def references(text: str) -> dict[str, str]:
    """The class that each reference leads to, read from the text."""
    found: dict[str, str] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.args.args[0].arg == "reference":
            annotation = node.args.args[0].annotation
            if isinstance(annotation, ast.Subscript):
                values = ast.literal_eval(annotation.slice)
                result = node.returns
                assert isinstance(result, ast.Name)
                found |= dict.fromkeys((values,) if isinstance(values, str) else values, result.id)
    return found


def test_versions_and_prompts_that_take_the_same_share_a_class():
    text = typed_module(PROMPTS, command=COMMAND)
    assert references(text) == {
        "docs/answer": "DocsAnswer", "docs/answer@production": "DocsAnswer", "docs/other": "DocsAnswer",
        "docs/answer@2": "DocsAnswer2", "free": "Free", "keyword": "Keyword", "keyword-default": "KeywordDefault",
        "nothing": "Nothing", "types": "Types",
    }  # fmt: skip
    assert "\nDocsOther: TypeAlias = DocsAnswer\n" in text


def test_the_text_says_what_wrote_it_on_one_line():
    text = typed_module(PROMPTS, command='x\n""" import os\r\x1b\u2028{abc} # type: ignore')
    assert '# Written by: x�""" import os���{abc} # type: ignore\n' in text
    assert ast.get_docstring(ast.parse(text)) == "The prompts of this project, with the variables each takes."


def test_no_any_and_the_same_text_for_any_order():
    text = typed_module(PROMPTS | HOSTILE, command=COMMAND)
    assert not any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(ast.parse(text)))
    assert text == typed_module(dict(reversed((PROMPTS | HOSTILE).items())), command=COMMAND)


def test_releases_come_in_the_order_they_were_made():
    prompts = {f"a@{v}": declared(Input(f"v{v}")) for v in ("10", "9", "production", "2")} | {"a": {}}
    assert list(references(typed_module(prompts, command=COMMAND))) == ["a", "a@production", "a@2", "a@9", "a@10"]


TEXT = st.text(st.characters(codec=None), max_size=12)
NAMES = st.one_of(st.sampled_from([*keyword.kwlist, "self", "__x", "ﬁ", "x", "été"]), TEXT.filter(str.isidentifier))
VALUES = st.one_of(TEXT, st.integers(), st.booleans(), st.none(), st.floats(), st.lists(TEXT, max_size=2))
TYPES = st.lists(st.sampled_from("any array boolean integer null number object string".split()), min_size=1, max_size=3)  # noqa: SIM905
INPUT = st.builds(
    Input, NAMES, types=TYPES.map(tuple), required=st.booleans(), enum=st.none() | st.lists(VALUES).map(tuple),
    items=st.just(()) | TYPES.map(tuple),
)  # fmt: skip


@given(st.dictionaries(TEXT, st.none() | st.lists(INPUT, max_size=3).map(lambda found: declared(*found))), TEXT)
def test_any_prompts_give_a_module_that_python_runs(prompts, command):
    text = typed_module(prompts, command=command)
    tree = ast.parse(text)
    assert sorted(references(text)) == sorted(prompts)
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(classes) == len(set(classes))
    namespace: dict[str, typing.Any] = {"__name__": "typed"}
    exec(compile(text, "typed.py", "exec"), namespace)
    for name in set(classes) - {"LoadedPrompt"}:  # every annotation means something
        hints = typing.get_type_hints(namespace[name].render, namespace)
        assert typing.get_origin(hints["return"]) is tuple
