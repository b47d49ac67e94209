"""Finding the Python code that loads and renders prompts, and checking the variables it passes."""

from __future__ import annotations

import json
import os
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.errors import InputError, NotFoundError, PromptError
from llmops.prompts.calling.callers import Caller, check_callers, find_callers
from llmops.prompts.inputs import Input

IMPORT = "from llmops import load_prompt\n"


def write(root: Path, code: str, name: str = "app.py") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code), "utf-8")
    return path


@pytest.fixture
def found(tmp_path):
    """Callers in code as `reference:line names`; `+` marks that more may be passed, `?` that no name is seen."""

    def find(code: str, start: str = IMPORT) -> list[str]:
        write(tmp_path, start + textwrap.dedent(code))
        return [
            f"{c.reference}:{int(c.where.rpartition(':')[2]) - start.count(chr(10))} "
            + ("?" if c.given is None else ",".join(sorted(c.given)))
            + "+" * c.open
            for c in find_callers(tmp_path)
        ]

    return find


def test_a_caller_says_what_it_passes_and_where(tmp_path):
    write(tmp_path, 'import llmops\n\nllmops.load_prompt("docs/answer@production").render(question=1, c=2)\n', "a/b.py")
    assert find_callers(tmp_path) == [Caller("docs/answer@production", "a/b.py:3", frozenset({"question", "c"}), False)]


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ("", ""),
        ("q=1, c=2", "c,q"),
        ('{"q": 1, "c": 2}', "c,q"),
        ("None", ""),
        ("{}", ""),
        ('{"q": 1}, c=2', "c,q"),
        ("dict(q=1, c=2)", "c,q"),
        ('{"q": 1} | dict(c=2)', "c,q"),
        ('{"q": 1, **{"c": 2}}', "c,q"),
        ("**{'q': 1}", "q"),
        ("**rest", "?+"),
        ("rest", "?+"),
        ("q=1, **rest", "q+"),
        ('{"q": 1, **rest}', "q+"),
        ('{"q": 1, name: 2}', "q+"),
        ('{"q": 1} | rest', "q+"),
        ("*rest", "?+"),
        ("{k: v for k, v in rest}", "?+"),
    ],
)
def test_variables_passed(found, arguments, seen):
    assert found(f'load_prompt("a").render({arguments})') == [f"a:1 {seen}"]


@pytest.mark.parametrize(
    "start",
    [
        "from llmops import load_prompt as f",
        "from llmops.sdk import load_prompt as f",
        "from app.prompts import load_prompt as f",
        "from .prompts import load_prompt as f",
        "import llmops as l; f = l.load_prompt",
        "import app.prompts; f = app.prompts.load_prompt",
        "from app import prompts; f = prompts.load_prompt",
        "from llmops import *; f = load_prompt",
        "try:\n    from llmops import load_prompt as f\nexcept ImportError:\n    f = None",
        "import typing\nif typing.TYPE_CHECKING:\n    from llmops import load_prompt as f",
    ],
)
def test_ways_to_import(found, start):
    assert found('f("a").render(q=1)', start + "\n") == ["a:1 q"]


@pytest.mark.parametrize(
    "start",
    [
        "from langchain_core.prompts import load_prompt",
        "import mlflow; load_prompt = mlflow.load_prompt",
        "def load_prompt(name): ...",
        "load_prompt = open",
        "client = connect(); load_prompt = client.load_prompt",
        "from llmops import load_prompt; load_prompt = print",
        "from mlflow import *",
        "",
    ],
)
def test_functions_of_that_name_from_elsewhere_do_not_count(found, start):
    assert found('load_prompt("a").render(q=1)', start + "\n") == []


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ('p = load_prompt("a")\np.render(q=1)\np.render(c=1)', ["a:2 q", "a:3 c"]),
        ('p: object = load_prompt("a")\np.render(q=1)', ["a:2 q"]),
        ('if p := load_prompt("a"):\n    p.render(q=1)', ["a:2 q"]),
        ('(p := load_prompt("a")).render(q=1)', ["a:1 q"]),
        ('p = q = load_prompt("a")\nr = q\nr.render(q=1)', ["a:3 q"]),
        ('p, (q, _) = 1, (load_prompt("a"), 2)\nq.render(q=1)', ["a:2 q"]),
        ('render = load_prompt("a").render\nrender(q=1)', ["a:2 q"]),
        ('p = load_prompt("a")\ndef f():\n    return [p.render(q=x) for x in y]', ["a:3 q"]),
        ('p = load_prompt("a")\nf = lambda x: p.render(q=x)', ["a:2 q"]),
        ('def f(p=load_prompt("a"), *, z=2):\n    p.render(q=1)', ["a:2 q"]),
        ('def f():\n    return load_prompt("a")\nf().render(q=1)', ["a:3 q"]),
        ('async def f():\n    return load_prompt("a")\nasync def g():\n    (await f()).render(q=1)', ["a:4 q"]),
        ('for p in (load_prompt("a"), load_prompt("b")):\n    p.render(q=1)', ["a:2 q", "b:2 q"]),
        ('p = load_prompt("a" if x else "b")\np.render(q=1)', ["a:2 q", "b:2 q"]),
        ('p = load_prompt("a") if x else load_prompt("b")\np.render(q=1)', ["a:2 q", "b:2 q"]),
        ('global p\np = load_prompt("a")\np.render(q=1)', ["a:3 q"]),
        ('def g():\n    global p\n    p = load_prompt("a")\ndef f():\n    p.render(q=1)', ["a:5 q"]),
        ('load_prompt("a", root=None).render(q=1)', ["a:1 q"]),
        ('load_prompt(reference="a", key=user).render(q=1)', ["a:1 q"]),
        ('load_prompt(\n    "a",\n    reload=True,\n).render(q=1)', ["a:1 q"]),
        ('f(\n    load_prompt("a").render(q=1),\n    load_prompt("b").render(c=1))', ["a:2 q", "b:3 c"]),
    ],
)
def test_prompts_are_followed(found, code, seen):
    assert found(code) == seen


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ('class A:\n    p = load_prompt("a")\n    def f(self):\n        self.p.render(q=1)', ["a:4 q"]),
        (
            'class A:\n    def __init__(self):\n        self.p = load_prompt("a")\n'
            "    def f(this):\n        this.p.render(q=1)",
            ["a:5 q"],
        ),
        (
            "class A:\n    def f(self):\n        self.p.render(q=1)\n"
            '    def setup(self):\n        self.p: object = load_prompt("a")',
            ["a:3 q"],
        ),
        (
            "class A:\n    def f(self):\n        x = self.p\n        x.note = 1\n        x.render(q=1)\n"
            '    def setup(self):\n        self.p = load_prompt("a")',
            ["a:5 q"],
        ),
        ('class A:\n    p = load_prompt("a")\nA.p.render(q=1)\nA().p.render(q=2)', ["a:3 q", "a:4 q"]),
        ('class A:\n    p = load_prompt("a")\nx = A()\nx.p.render(q=1)', ["a:4 q"]),
        (
            'class A:\n    p = load_prompt("a")\n'
            "class B(A):\n    @classmethod\n    def f(cls):\n        cls.p.render(q=1)",
            ["a:6 q"],
        ),
        (
            'class A:\n    @property\n    def p(self):\n        return load_prompt("a")\n'
            "    def f(self):\n        self.p.render(q=1)",
            ["a:6 q"],
        ),
        (
            'class A:\n    def p(self):\n        return load_prompt("a")\n'
            "    def f(self):\n        self.p().render(q=1)",
            ["a:5 q"],
        ),
        ('class A:\n    REF = "a"\n    def f(self):\n        load_prompt(self.REF).render(q=1)', ["a:4 q"]),
        (
            'class A:\n    p = load_prompt("a")\n'
            "class B:\n    def f(self, p):\n        self.p.render(q=1)\n        p.render(q=1)",
            ["a:2 ?"],
        ),
        ('class A:\n    p = load_prompt("a")\n    def f(self):\n        p.render(q=1)', ["a:2 ?"]),
        ('class A:\n    p = load_prompt("a")\n    @staticmethod\n    def f(x):\n        x.p.render(q=1)', ["a:2 ?"]),
    ],
)
def test_prompts_in_classes_are_followed(found, code, seen):
    assert found(code) == seen


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ('p = load_prompt("a")\np.render(q=1)\np = load_prompt("b")\np.render(c=1)', ["a:2 q", "b:4 c"]),
        ('if x:\n    p = load_prompt("a")\nelse:\n    p = load_prompt("b")\np.render(q=1)', ["a:5 q", "b:5 q"]),
        ('if x:\n    p = load_prompt("a")\nelse:\n    p.render(q=1)', ["a:2 ?"]),
        ('p = load_prompt("a")\nif x:\n    p = load_prompt("b")\n    p.render(q=1)\np.render(c=1)',
         ["b:4 q", "a:5 c", "b:5 c"]),
        ('p = load_prompt("a")\nwhile x:\n    p.render(q=1)\n    p = load_prompt("b")', ["a:3 q", "b:3 q"]),
        ('p = load_prompt("a")\nwhile x:\n    p = load_prompt("b")\n    p.render(q=1)', ["a:1 ?", "b:4 q"]),
        ('try:\n    p = load_prompt("a")\nexcept E:\n    p = load_prompt("b")\np.render(q=1)', ["a:5 q", "b:5 q"]),
        ('match x:\n    case 1:\n        p = load_prompt("a")\n    case 2:\n        p = load_prompt("b")\n'
         "        p.render(q=1)", ["a:3 ?", "b:6 q"]),
        ('p = load_prompt("a")\np = Environment().from_string("")\np.render(q=1)', ["a:1 ?"]),
        ('p = load_prompt("a")\ndef f():\n    p.render(q=1)\np = load_prompt("b")', ["a:3 q", "b:3 q"]),
        ('p = load_prompt("a")\ndef g():\n    global p\n    p = load_prompt("b")\np.render(q=1)',
         ["a:5 q", "b:5 q"]),
        ('p = load_prompt("a")\ndef f(p):\n    p.render(q=1)', ["a:1 ?"]),
        ('p = load_prompt("a")\n[p.render(q=1) for p in others]', ["a:1 ?"]),
        ('p = load_prompt("a")\nfor p in others:\n    p.render(q=1)', ["a:1 ?"]),
        ('p = load_prompt("a")\nwith f() as p:\n    p.render(q=1)', ["a:1 ?"]),
    ],
)  # fmt: skip
def test_a_name_that_holds_several_things(found, code, seen):
    assert found(code) == seen


def test_names_assigned_from_each_other_end(found):
    assert found('p = q\nq = p\nwhile x:\n    p, q = q, p\n    p = p or load_prompt("a")\nq.render(q=1)')


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ('REF = "a"\nload_prompt(REF).render(q=1)', ["a:2 q"]),
        ('REF = "a"\ndef f():\n    load_prompt(REF).render(q=1)', ["a:3 q"]),
        ('from enum import StrEnum\nclass R(StrEnum):\n    A = "a"\nload_prompt(R.A).render(q=1)', ["a:4 q"]),
        ('load_prompt("a" "b").render(q=1)', ["ab:1 q"]),
        ('load_prompt(f"a@{label}").render(q=1)', []),
        ("load_prompt(name).render(q=1)", []),
        ("load_prompt(*names).render(q=1)", []),
        ("load_prompt().render(q=1)", []),
        ("load_prompt(b'a').render(q=1)", []),
        ('REF = "a"\ndef f(REF):\n    load_prompt(REF).render(q=1)', []),
        ('load_prompt("a", root=folder).render(q=1)', []),
    ],
)
def test_references(found, code, seen):
    assert found(code) == seen


def test_a_load_that_is_never_rendered_is_a_caller_too(found):
    assert found('run(load_prompt("a"))\np = load_prompt("b")\np.name') == ["a:1 ?", "b:2 ?"]
    assert found('f(load_prompt("a"))') == ["a:1 ?"]


@pytest.mark.parametrize(
    "code",
    [
        b"load_prompt(",
        b"\xff\xfe load_prompt",
        b"load_prompt\0",
        b"# coding: nonsense\nload_prompt('a')",
        b"from llmops import load_prompt\n" + b"(" * 500 + b")" * 500,
        b"from llmops import load_prompt\nx = " + b"-" * 50_000 + b"1",
        b"from llmops import load_prompt\nx = " + b"1+" * 20_000 + b"1",
        b"from llmops import load_prompt\nx = a" + b".b" * 5_000,
    ],
)
def test_code_that_cannot_be_read_is_left_out(tmp_path, code):
    (tmp_path / "bad.py").write_bytes(code)
    write(tmp_path, IMPORT + 'load_prompt("a").render()', "good.py")
    assert [c.where for c in find_callers(tmp_path)] == ["good.py:2"]


def test_warnings_about_the_code_are_not_ours(tmp_path):
    write(tmp_path, IMPORT + 'load_prompt("a").render(q="\\d", c=1 is 1)')
    assert len(find_callers(tmp_path)) == 1


def test_a_long_chain_of_names_is_no_trouble(tmp_path):
    chain = "".join(f"a{i} = a{i - 1} if x else a{i - 1}\n" for i in range(1, 60))
    write(tmp_path, f'{IMPORT}a0 = load_prompt("a")\n{chain}a59.render(q=1)')
    assert [c.given for c in find_callers(tmp_path)] == [{"q"}]


WORDS = "load_prompt ('a') .render ( ) q = 1 , p if x : else while def f class A self . { } ** [ ] for in".split()  # noqa: SIM905


@given(st.lists(st.sampled_from([*WORDS, "\n", "\n\t"])))
def test_any_code_is_read_or_left_out(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("code")
    write(folder, IMPORT + " ".join(words))
    for caller in find_callers(folder):  # "a" is the only text there is to load
        assert caller.reference == "a"
        assert caller.given is None or caller.given <= set(WORDS)


CALL = IMPORT + 'load_prompt("a").render()\n'


def test_which_files_are_read(tmp_path):
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    for name in (
        "z.py", "app/b.py", "app/a.py", "tests/test_a.py", "buildings/a.py", "env2/a.py",
        ".hidden/a.py", "app/.cache/a.py", "node_modules/m/a.py", "my-env/lib/a.py", "build/a.py", "dist/a.py",
        "lib/site-packages/x/a.py", "app/a.txt", "app/a.pyi",
    ):  # fmt: skip
        write(root, CALL, name)
    write(root, "", "my-env/pyvenv.cfg")
    write(outside, CALL)
    (root / "linked").symlink_to(outside, target_is_directory=True)
    (root / "round").symlink_to(root, target_is_directory=True)
    (root / "broken.py").symlink_to(root / "nothing.py")
    (root / "self.py").symlink_to(root / "self.py")
    (root / "folder.py").mkdir()
    os.mkfifo(root / "pipe.py")
    assert [c.where for c in find_callers(root)] == [
        "z.py:2", "app/a.py:2", "app/b.py:2", "buildings/a.py:2", "env2/a.py:2", "tests/test_a.py:2",
    ]  # fmt: skip


def test_a_project_that_is_in_a_skipped_folder(tmp_path):
    root = tmp_path / "node_modules" / ".hidden" / "build"
    write(root, CALL)
    write(root, "", "pyvenv.cfg")
    assert [c.where for c in find_callers(root)] == ["app.py:2"]


def test_only_the_files_given(tmp_path, monkeypatch):
    root = tmp_path / "root"
    given = [write(root, CALL, "b.py"), write(root, CALL, ".hidden/a.py"), write(root, CALL, "a.md"),
             write(tmp_path, CALL, "out.py"), root / "missing.py", root, root / "nul\0.py"]  # fmt: skip
    write(root, CALL, "other.py")
    os.mkfifo(root / "pipe.py")
    given.append(root / "pipe.py")
    monkeypatch.chdir(root)
    found = find_callers(Path(), [*given, Path("other.py")])
    assert [c.where for c in found] == ["b.py:2", ".hidden/a.py:2", f"{tmp_path}/out.py:2", "other.py:2"]


def test_names_of_files_cannot_write_to_a_terminal(tmp_path):
    write(tmp_path, CALL, "a\x1b[31m\nb.py")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py")).write_text(CALL)
    assert [c.where for c in find_callers(tmp_path)] == ["a�[31m�b.py:2", "�.py:2"]


def notebook(*cells: object) -> str:
    return json.dumps({"nbformat": 4, "cells": [
        c if isinstance(c, dict) else {"cell_type": "code", "source": c} for c in cells
    ]})  # fmt: skip


def test_notebooks_are_one_module_of_cells(tmp_path):
    text = notebook(
        {"cell_type": "markdown", "source": CALL},
        ["%load_ext autoreload\n", "x = !ls\n", "from llmops import load_prompt\n", "load_prompt?"],
        "%%time\np = load_prompt('a')\n",
        "this isn't Python",
        "%%bash\nload_prompt('x')",
        ["s = '''\n", "%d'''\n", "p.render(q=1)"],
        "\n\np = load_prompt('b'); p.render(c=1)",
    )
    write(tmp_path, text, "n/b.ipynb")
    assert [(c.reference, c.where, c.given) for c in find_callers(tmp_path)] == [
        ("a", "n/b.ipynb:cell 6:line 3", {"q"}),
        ("b", "n/b.ipynb:cell 7:line 3", {"c"}),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "load_prompt", "[]", '"load_prompt"', '{"load_prompt": 1}', '{"cells": "load_prompt"}',
        '{"cells": [1, null, {}, {"cell_type": "code"}, {"cell_type": "code", "source": [1, "load_prompt"]}]}',
        '{"cells": ' + "[" * 100_000 + '"load_prompt"',
    ],
)  # fmt: skip
def test_notebooks_that_are_none(tmp_path, text):
    write(tmp_path, text, "b.ipynb")
    assert find_callers(tmp_path) == []


def test_five_thousand_files_take_well_under_a_second(tmp_path):
    line = "x = [i for i in range(10)]  # some code\n"
    for folder in range(100):
        (tmp_path / f"p{folder}").mkdir()
        for file in range(50):
            (tmp_path / f"p{folder}" / f"m{file}.py").write_text(line * 100)
    started = time.process_time()
    assert find_callers(tmp_path) == []
    assert time.process_time() - started < 0.9


def inputs(**more: object) -> dict[str, Input]:
    return {"question": Input("question"), "contexts": Input("contexts", required=False),
            "tone": Input("tone", default="calm"), **more}  # fmt: skip


def check(caller: Caller, declared: dict[str, Input] | None = None) -> list[tuple[str, str]]:
    problems = check_callers([caller], lambda reference: inputs() if declared is None else declared)
    assert all(p.rule == "caller" and p.level == "error" and p.where == caller.where for p in problems)
    return [(p.message, p.hint) for p in problems]


def caller(*names: str, open: bool = False) -> Caller:
    return Caller("docs/answer@2", "app.py:7", frozenset(names), open)


@pytest.mark.parametrize(
    "good", [caller("question"), caller("question", "contexts", "tone"), caller(open=True), caller("tone", open=True),
             Caller("docs/answer", "app.py:7", None, False), Caller("docs/answer", "app.py:7", None, True)]
)  # fmt: skip
def test_right_callers(good):
    assert check(good) == []


def test_a_missing_variable():
    assert check(caller("tone")) == [
        ("prompt docs/answer@2 needs 'question', which isn't passed", "pass question=… to render()")
    ]


def test_an_unknown_variable():
    assert check(caller("question", "tome")) == [
        ("prompt docs/answer@2 has no variable 'tome'", "did you mean 'tone'?")
    ]
    assert check(caller("tome", open=True)) == [("prompt docs/answer@2 has no variable 'tome'", "did you mean 'tone'?")]
    assert check(caller("tome"), {}) == [("prompt docs/answer@2 has no variable 'tome'", "none are known")]


def test_prompts_that_declare_nothing_take_anything():
    assert check_callers([caller("x")], lambda reference: None) == []


def test_a_reference_that_leads_nowhere_is_the_callers_problem():
    def find(reference):
        asked.append(reference)
        raise {"no": NotFoundError("no prompt 'no'", hint="did you mean 'on'?"),
               "@": InputError("'@' doesn't name a prompt"),
               "bad": PromptError("bad front matter", where="bad.prompt.md:1")}[reference]  # fmt: skip

    asked: list[str] = []
    callers = [Caller(r, f"a.py:{n}", None, False) for n, r in enumerate(["no", "@", "bad", "no"])]
    assert [str(p) for p in check_callers(callers, find)] == [
        "a.py:0: no prompt 'no'; did you mean 'on'?", "a.py:1: '@' doesn't name a prompt",
        "a.py:3: no prompt 'no'; did you mean 'on'?",
    ]  # fmt: skip
    assert asked == ["no", "@", "bad"]


def test_hostile_names_stay_on_one_line(tmp_path):
    write(tmp_path, IMPORT + 'load_prompt("a\\n\\x1b[2J\\ud800").render({"\\n\\x1b\\udc00": 1})')
    for problem in check_callers(find_callers(tmp_path), lambda reference: inputs()):
        assert str(problem).isprintable()
