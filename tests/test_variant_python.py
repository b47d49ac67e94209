"""A user's function as a variant: what it gets, what it may return, and what goes wrong."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from llmops.errors import InputError, PipelineError
from llmops.registry import Spec, create
from llmops.threads import Threads
from llmops.types import Build, Case, Completion, Context, Output, Trial, Usage
from llmops.variants.python import PythonVariant
from llmops.variants.returned import to_output


class Echo:
    identity = {"kind": "echo"}  # noqa: RUF012
    note = "echo: says what it was asked"

    async def complete(self, request):
        return Completion(f"{request.messages[-1]['content']}/{request.repeat}/{dict(request.parameters)}")


def build(base: Path) -> Build:
    return Build(base=base, prompt=lambda name: None, backend=lambda form: Echo(), where="s.yaml:3")


def answer(variant: PythonVariant, repeat: int = 0, **inputs) -> Output:
    async def body() -> Output:
        try:
            return await variant.answer(Trial(Case("c", inputs), repeat))
        finally:
            await variant.aclose()

    return asyncio.run(body())


def made(function, tmp_path, **options) -> PythonVariant:
    return PythonVariant(build(tmp_path), function, **options)


def test_inputs_by_name_and_only_those_it_takes(tmp_path):
    assert (
        answer(made(lambda question, k=1: f"{question} {k}", tmp_path, with_={"k": 3}), question="q", extra=1).text
        == "q 3"
    )


def test_a_mapping_of_inputs_when_no_parameter_is_called_like_an_input(tmp_path):
    assert answer(made(lambda inputs: inputs["question"], tmp_path), question="q").text == "q"
    assert answer(made(lambda row, k: f"{sorted(row)} {k}", tmp_path, with_={"k": 1}), b=1, a=2).text == "['a', 'b'] 1"


def test_keyword_functions_get_everything(tmp_path):
    assert answer(made(lambda **inputs: str(sorted(inputs)), tmp_path, with_={"k": 1}), a=1).text == "['a', 'k']"


def test_threads_that_nothing_is_given_end():
    async def body() -> str:
        threads = Threads("llmops-ending", idle_s=0.001)
        return [await threads.run(lambda: threading.current_thread()) for _ in range(2)][-1]

    thread = asyncio.run(body())
    assert thread.name == "llmops-ending"
    thread.join(20)
    assert not thread.is_alive()


def test_the_backend_takes_parameters_by_name_or_as_a_mapping(tmp_path):
    def by_name(question, backend):
        return backend.complete(question, max_tokens=5, temperature=0).text

    def as_mapping(question, backend):
        return backend.complete(question, parameters={"max_tokens": 5}, temperature=0).text

    first, second = (answer(made(one, tmp_path), question="q").text for one in (by_name, as_mapping))
    assert first == second == "q/0/{'max_tokens': 5, 'temperature': 0}"

    with pytest.raises(PipelineError, match="messages are text"):
        answer(made(lambda question, backend: backend.complete([]), tmp_path), question="q")


def test_async_functions_and_objects(tmp_path):
    async def question_of(question):
        return question

    class Pipeline:
        def __init__(self, suffix):
            self.suffix = suffix

        async def __call__(self, question):
            return question + self.suffix

    assert answer(made(question_of, tmp_path), question="q").text == "q"
    assert answer(made(Pipeline, tmp_path, with_={"suffix": "!"}), question="q").text == "q!"
    with pytest.raises(InputError, match="check with:"):
        made(Pipeline, tmp_path, with_={"sufix": "!"})


def test_the_backend_is_handed_over_to_async_and_sync_functions(tmp_path):
    async def asks(question, backend):
        return (await backend.complete([{"role": "user", "content": question}], max_tokens=5)).text

    def asks_too(question, backend):
        return backend.complete(question).text

    assert answer(made(asks, tmp_path), repeat=2, question="q").text == "q/2/{'max_tokens': 5}"
    variant = made(asks_too, tmp_path)
    assert answer(variant, question="q").text == "q/0/{}"
    assert variant.info.note == "echo: says what it was asked"
    assert variant.info.details["backend"] == {"kind": "echo"}


def test_wrong_options_are_one_line(tmp_path):
    for options, said in (
        ({"with_": {"kk": 1}}, "did you mean 'k'?"),
        ({"backend": "echo"}, "no parameter called backend"),
    ):
        with pytest.raises(InputError) as caught:
            made(lambda question, k=1: "", tmp_path, **options)
        assert str(caught.value).startswith("s.yaml:3: ")
        assert said in str(caught.value)


def test_a_case_without_a_needed_input_is_found_before_anything_runs(tmp_path):
    variant = made(lambda question, context: "", tmp_path)
    variant.check(Case("1", {"question": "q", "context": "c"}))
    with pytest.raises(InputError, match=r"d.jsonl:4: .* needs 'context'"):
        variant.check(Case("2", {"question": "q"}, where="d.jsonl:4"))


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("text", Output("text")),
        (3, Output("3")),
        ({"answer": "a", "contexts": ["c", {"id": "d", "text": "t", "score": 1}]},
         Output("a", (Context("c"), Context("t", "d", 1.0)))),
        ({"text": "t", "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
         Output("t", usage=Usage(3, 4, requests=1, certainty="exact"))),
        (Output("o", contexts=["c"]), Output("o", (Context("c"),))),
        (Completion("c", Usage(1, 2)), Output("c")),
        ({"output": ""}, Output("")),
    ],
)  # fmt: skip
def test_what_a_pipeline_may_return(returned, expected):
    assert to_output(returned, "f") == expected


@pytest.mark.parametrize(
    "returned",
    [None, [], {}, {"reply": "x"}, {"text": "t", "contexts": [3]}, {"text": "t", "usage": {"tokens": 1}},
     {"text": "t", "latency_s": "fast"}, {"text": "t", "latency_s": float("nan")}, object()],
)  # fmt: skip
def test_anything_else_is_a_pipeline_error(returned):
    with pytest.raises(PipelineError, match="f returned"):
        to_output(returned, "f")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("pipe.py", "doesn't name a function"),
        ("pipe.py:", "doesn't name a function"),
        ("absent.py:answer", "no file absent.py"),
        ("pipe.py:anser", "did you mean 'answer'?"),
        ("pipe.py:NUMBER", "is int, not a function"),
        ("broken.py:answer", "importing broken.py failed at broken.py:2: ZeroDivisionError"),
        ("syntax.py:answer", "importing syntax.py failed"),
        ("exits.py:answer", "importing exits.py failed"),
        ("no_such_package.module:answer", "importing no_such_package.module failed"),
    ],
)
def test_targets_that_are_not_there(tmp_path, target, said):
    (tmp_path / "pipe.py").write_text("NUMBER = 3\ndef answer(question): return question\n")
    (tmp_path / "broken.py").write_text("x = 1\nx / 0\n")
    (tmp_path / "syntax.py").write_text("def answer(:\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(InputError) as caught:
        create("variants", Spec("python", options={"python": target}), build=build(tmp_path), where="s.yaml:3")
    assert str(caught.value).startswith("s.yaml:3: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_imports_its_neighbours_and_modules_are_found_from_the_suite(tmp_path):
    (tmp_path / "neighbour_of_pipe.py").write_text("WORD = 'hello'\n")
    (tmp_path / "with_neighbour.py").write_text(
        "from neighbour_of_pipe import WORD\ndef answer(question): return WORD\n"
    )
    for target in ("with_neighbour.py:answer", "with_neighbour:answer"):
        assert answer(made(target, tmp_path), question="q").text == "hello"


@pytest.mark.parametrize(
    "fields",
    [
        {"text": 5},
        {"usage": {"input_tokens": 4}},
        {"latency_s": "fast"},
        {"error": "no"},
        {"metadata": [1]},
        {"messages": ("hello",)},
        {"tool_calls": ({"name": "look_up"},)},
        {"contexts": (4,)},
        {"contexts": None},
    ],
)
def test_an_output_that_could_not_be_read_again_fails_its_case(fields):
    """Saved as it is, it would make the whole run unreadable."""
    with pytest.raises(PipelineError, match="returned an Output"):
        to_output(Output(**{"text": "x", **fields}), "p.py:f")


def test_ids_and_texts_of_an_outputs_contexts_become_text():
    made_by_hand = Output("x", contexts=[Context("t", 7, 1), {"id": 3, "text": "u"}, Context(None, None), "v"])
    wanted = (Context("t", "7", 1.0), Context("u", "3"), Context(""), Context("v"))
    assert to_output(made_by_hand, "p.py:f").contexts == wanted


@pytest.mark.parametrize(
    "returned",
    [{"text": "t", "latency_s": -1}, {"text": "t", "usage": {"input_tokens": -5}}, Output("t", usage=Usage(-1)),
     Output("t", latency_s=float("inf"))],
)  # fmt: skip
def test_what_can_not_have_been_measured_is_refused(returned):
    with pytest.raises(PipelineError, match="f returned"):
        to_output(returned, "f")


def test_a_call_that_raises_stop_iteration_fails_and_does_not_hang(tmp_path):
    with pytest.raises(RuntimeError, match="StopIteration"):
        answer(made(lambda question: next(iter(())), tmp_path), question="q")


def test_a_class_that_can_not_be_made_is_one_line(tmp_path):
    class Broken:
        def __init__(self):
            raise SystemExit(3)

        def __call__(self, question):
            return ""

    with pytest.raises(InputError, match=r"making .*Broken: SystemExit: 3"):
        made(Broken, tmp_path)


def test_threads_are_reused_and_see_context_variables(tmp_path):
    import contextvars
    import threading

    variable = contextvars.ContextVar("variable", default="unset")
    seen: set[int] = set()

    def look(question):
        seen.add(threading.get_ident())
        return variable.get()

    variant = made(look, tmp_path)

    async def body():
        variable.set("set")
        texts = [(await variant.answer(Trial(Case("c", {"question": "q"})))).text for _ in range(20)]
        await variant.aclose()
        return texts

    assert set(asyncio.run(body())) == {"set"}
    assert len(seen) == 1
