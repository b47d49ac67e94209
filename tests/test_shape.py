"""The shape of the project: public names, light imports, the ladder, and docs that cover what there is."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib

import pytest
import typer

import llmops
from conftest import clean_environment
from llmops.registry import BUILT_INS, resolve

HEAVY = [
    "pydantic",
    "sqlmodel",
    "sqlalchemy",
    "alembic",
    "httpx",
    "aiohttp",
    "litellm",
    "ragas",
    "guardrails",
    "langchain",
    "langchain_core",
    "numpy",
    "scipy",
    "jinja2",
    "jsonschema",
    "yaml",
    "pyarrow",
    "pandas",
    "torch",
    "opentelemetry",
    "google.protobuf",
    "genai_prices",
    "openai",
]


def test_public_names():
    assert sorted(llmops.__all__) == [
        "BudgetExceededError", "Case", "Completion", "Context", "LlmopsError", "Output", "Request", "Sample", "Score",
        "ToolCall", "Usage", "compare", "connect", "evaluate", "flush", "load_prompt", "track",
    ]  # fmt: skip
    for name in llmops.__all__:
        assert getattr(llmops, name).__doc__, name
    with pytest.raises(AttributeError):
        llmops.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    "words", [None, ["--help"], ["eval", "--help"], ["runs", "ls", "--help"], ["cost", "report", "--help"]]
)
def test_starting_up_loads_nothing_heavy(words):
    code = "import llmops"
    if words is not None:
        code = f"sys.argv = {['llmops', *words]!r}; import llmops.cli.main as m; m.main()"
    allowed = {"pydantic"} if words and len(words) > 1 else set()  # Typer itself reads a command's options with it
    check = f"""
import sys, atexit
atexit.register(lambda: print("LOADED", sorted((set({HEAVY!r}) - {allowed!r}) & set(sys.modules)), file=sys.stderr))
{code}
"""
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, env=clean_environment())
    assert "LOADED []" in done.stderr, done.stderr


def test_the_ladder_holds(root):
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_stands_on_the_ladder(root):
    """A module that no layer names could import anything."""
    with (root / "pyproject.toml").open("rb") as file:
        [contract] = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    named = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
    top = root / "src" / "llmops"
    modules = {f"llmops.{p.stem}" for p in top.glob("*.py")} | {
        f"llmops.{p.parent.name}" for p in top.glob("*/__init__.py")
    }
    assert modules - named == {"llmops.__init__", "llmops.__main__"}


def test_every_built_in_can_be_loaded_and_says_what_it_is():
    for kind, table in BUILT_INS.items():
        for name in table:
            assert inspect.getdoc(resolve(kind, name)), f"{kind} {name}"


@pytest.mark.parametrize(
    ("kind", "page"),
    [("metrics", "metrics"), ("backends", "backends"), ("variants", "evaluate"), ("reports", "reports")],
)
def test_every_built_in_is_documented(root, kind, page):
    text = (root / "docs" / f"{page}.md").read_text("utf-8")
    described = set(re.findall(r"^(?:#+|\|) *`([^`]+)`", text, re.MULTILINE))  # by a heading or a table's row
    assert set(BUILT_INS[kind]) <= described


def test_the_command_reference_is_current(root):
    from llmops.cli.reference import reference

    assert (root / "docs" / "cli.md").read_text("utf-8") == reference(), "run: make docs"


def test_the_schema_for_editors_is_current(root):
    from llmops.cli.reference import schema

    assert (root / "docs" / "suite.schema.json").read_text("utf-8") == schema(), "run: make docs"


def test_every_command_and_option_has_help():
    from llmops.cli.main import app
    from llmops.cli.reference import commands

    for name, command in commands(typer.main.get_command(app)):
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_every_setting_is_documented(root):
    from llmops.config import _KEYS

    text = (root / "docs" / "settings.md").read_text("utf-8")
    source = "".join(path.read_text("utf-8") for path in (root / "src").rglob("*.py"))
    variables = set(re.findall(r"\"(LLMOPS_[A-Z_]+)\"", source))
    for name in {*_KEYS, *variables}:
        assert f"`{name}`" in text, name


def test_sizes_of_modules_and_functions(root):
    """Small parts: no module over 300 lines but `types.py`, which holds all the nouns."""
    for path in {*(root / "src").rglob("*.py")} - {root / "src" / "llmops" / "types.py"}:
        assert len(path.read_text("utf-8").splitlines()) <= 300, path.name
