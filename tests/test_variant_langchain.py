"""LangChain runnables as a variant."""

from __future__ import annotations

import asyncio
import builtins
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmops.errors import InputError, MissingExtraError, NotRecordedError, PipelineError
from llmops.registry import Spec, create
from llmops.types import Build, Case, Context, Output, ToolCall, Trial, Usage

pytest.importorskip("langchain_core")

CHAIN = """
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from llmops.errors import NotRecordedError
from llmops.types import Output


def message(text="Paris", **more):
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12, "input_token_details": {"cache_read": 4}}
    return AIMessage(content=text, usage_metadata=usage, **more)


def model(*messages):
    return GenericFakeChatModel(messages=iter(messages or [message() for _ in range(20)]))


chat = model()
named = model(*[message(response_metadata={"model_name": "m"}) for _ in range(20)])
silent = model(*[AIMessage(content="no usage") for _ in range(5)])
chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | model() | RunnableLambda(lambda m: m.content)


async def _both(inputs):
    first = await chat.ainvoke(inputs["question"])
    second = await named.ainvoke(first.content)
    return {"answer": second.content, "context": [
        Document(page_content="one", id="d1", metadata={"score": 0.5}),
        Document(page_content="two", metadata={"source": "two.md"}),
        "three",
        (Document(page_content="four"), 0.25),
        {"text": "five", "id": 5},
    ]}


def _sync(inputs):
    return chat.invoke(inputs["question"]).content


twice = RunnableLambda(_both)
threaded = RunnableLambda(_sync)
echo = RunnableLambda(lambda value: repr(value))
tools = RunnableLambda(lambda _: message(text="", tool_calls=[{"name": "look", "args": {"a": 1}, "id": "c"}]))
parts = RunnableLambda(lambda _: AIMessage(content=[{"type": "text", "text": "Pa"}, "ris", {"type": "image"}]))
graph = RunnableLambda(lambda x: {"messages": [
    HumanMessage(x["question"]),
    message(text="", tool_calls=[{"name": "look", "args": {}, "id": "c"}]),
    message("Done"),
]})
own = RunnableLambda(lambda _: Output("mine"))
nothing = RunnableLambda(lambda _: None)
unknown = RunnableLambda(lambda _: {"reply": "x"})
bad_context = RunnableLambda(lambda _: {"text": "x", "contexts": [3]})
seen = []


def _seen(value, config):
    seen.append(config)
    return "ok"


configured = RunnableLambda(_seen)


def _boom(_):
    raise ZeroDivisionError("by zero")


def _missing(_):
    raise NotRecordedError("not here")


boom = RunnableLambda(_boom)
missing = RunnableLambda(_missing)


def make(k=1, *, label="x"):
    return RunnableLambda(lambda _: f"{label}{k}")


def make_nothing():
    return 3


def make_fail():
    raise RuntimeError("no index")


number = 3
"""
CASE = Case("q1", {"question": "Capital?", "k": 2}, tags=("hard",), where="d.jsonl:4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("langchain")
    (base / "llmops_test_chains.py").write_text(CHAIN, encoding="utf-8")
    return base


def make(folder: Path, name: str, **options: Any) -> Any:
    build: Any = Build(folder, prompt=lambda n: None, backend=lambda f: None, where="s.yaml:2")  # type: ignore[arg-type, return-value]
    spec = Spec("langchain", options={"langchain": f"llmops_test_chains.py:{name}", **options})
    return create("variants", spec, build=build, where="s.yaml:2")


def run(folder: Path, name: str, **options: Any) -> Output:
    output: Output = asyncio.run(make(folder, name, **options).answer(Trial(CASE, 1)))
    return output


def test_a_chain_gives_text_usage_and_latency(folder: Path) -> None:
    output = run(folder, "chain")
    assert output.text == "Paris"
    assert output.usage == Usage(10, 2, 4, requests=1, certainty="exact")
    assert output.latency_s is not None and output.latency_s > 0 and not output.cached


def test_every_call_of_a_trial_is_counted_and_no_other(folder: Path) -> None:
    variant = make(folder, "twice")

    async def several() -> list[Output]:
        return await asyncio.gather(*(variant.answer(Trial(Case(str(n), CASE.inputs))) for n in range(4)))

    for output in asyncio.run(several()):
        assert output.usage == Usage(20, 4, 8, requests=2, certainty="exact")
        assert output.contexts == (
            Context("one", "d1", 0.5),
            Context("two", "two.md"),
            Context("three"),
            Context("four", "", 0.25),
            Context("five", "5"),
        )


def test_calls_in_a_thread_are_counted_too(folder: Path) -> None:
    assert run(folder, "threaded").usage == Usage(10, 2, 4, requests=1, certainty="exact")


def test_a_model_by_itself(folder: Path) -> None:
    output = run(folder, "named", input="question")
    assert (output.text, output.usage.input_tokens) == ("Paris", 10)
    assert run(folder, "silent", input="question").usage == Usage(requests=1)


def test_one_input_or_all(folder: Path) -> None:
    assert run(folder, "echo").text == repr(dict(CASE.inputs))
    assert run(folder, "echo", input="question").text == "'Capital?'"
    with pytest.raises(InputError, match=r"d\.jsonl:4.*did you mean 'question'"):
        make(folder, "echo", input="questoin").check(CASE)
    with pytest.raises(PipelineError, match="no input"):
        run(folder, "echo", input="questoin")


def test_tool_calls_messages_and_parts(folder: Path) -> None:
    tools = run(folder, "tools")
    assert tools.tool_calls == (ToolCall("look", {"a": 1}, "c"),)
    assert tools.usage.total_tokens == 12
    assert run(folder, "parts").text == "Paris"
    graph = run(folder, "graph")
    assert (graph.text, graph.tool_calls) == ("Done", (ToolCall("look", {}, "c"),))
    assert run(folder, "own") == Output("mine")


def test_the_config_says_which_case(folder: Path) -> None:
    variant = make(folder, "configured")
    asyncio.run(variant.answer(Trial(CASE, 1)))
    config = sys.modules[variant._runnable.func.__module__].seen[-1]
    assert config["metadata"]["case"] == "q1" and config["metadata"]["repeat"] == 1
    assert set(config["tags"]) >= {"llmops", "hard"}


def test_a_factory_with_and_without_arguments(folder: Path) -> None:
    assert run(folder, "make").text == "x1"
    variant = make(folder, "make", **{"with": {"k": 3, "label": "y"}})
    assert asyncio.run(variant.answer(Trial(CASE))).text == "y3"
    assert variant.info.kind == "langchain" and variant.info.name == ""
    assert variant.info.details["with"] == {"k": 3, "label": "y"} and len(variant.info.details["sha256"]) == 64
    assert variant.info != make(folder, "make").info
    assert str(folder) not in str(variant.info)


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("chian", {}, "has no 'chian'"),
        ("number", {}, "is int, not a Runnable"),
        ("make_nothing", {}, "returned int, not a Runnable"),
        ("make_fail", {}, "RuntimeError: no index"),
        ("chain", {"with": {"k": 1}}, "takes no with"),
        ("make", {"with": {"kk": 1}}, "no parameter 'kk'; did you mean 'k'?"),
        ("message_for_nobody", {}, "has no"),
        ("chain", {"inputs": "question"}, "did you mean 'input'"),
        ("_both", {}, "missing a required argument"),
    ],
)
def test_broken_options(folder: Path, name: str, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        make(folder, name, **options)
    assert problem in str(caught.value) and "s.yaml:2" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("nothing", "returned NoneType"), ("unknown", r"\['reply'\]"), ("bad_context", "a context that is int")],
)
def test_what_is_not_an_output(folder: Path, name: str, problem: str) -> None:
    with pytest.raises(PipelineError, match=problem):
        run(folder, name)


def test_what_a_chain_raises_reaches_the_runner(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(folder, "boom")
    with pytest.raises(NotRecordedError):
        run(folder, "missing")


def test_without_the_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("langchain_core"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'llmops\[langchain\]'"):
        make(folder, "chain")


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, llmops.variants.langchain, llmops.variants.http, llmops.backends.openai_http;"
        "import llmops.backends.extractive, llmops.variants.recorded;"
        "heavy = {'langchain_core', 'aiohttp', 'jinja2', 'pydantic', 'numpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
