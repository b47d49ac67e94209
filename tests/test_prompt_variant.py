"""A prompt on a backend: what is sent, what comes back, and what is found out before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llmops.errors import BackendUnavailableError, InputError, PromptError
from llmops.prompts.store import PromptStore
from llmops.registry import Spec, create
from llmops.types import Backend, Build, Case, Completion, Context, Request, ToolCall, Trial, Usage
from llmops.variants.prompt import PromptVariant

PROJECT = Path(__file__).resolve().parents[1]
PROMPT = """---
backend: {fake: {size: 1}}
model: small
parameters: {temperature: 0, max_tokens: 50}
output: {type: object}
tools: [{name: look_up}]
inputs:
  question: string
  tone: {type: string, default: calm}
---
system:
Be {{ tone }}.
user:
{{ question }}
"""


class Fake:
    note = "fake: repeats"

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.specs: list[Any] = []

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "fake"}

    async def complete(self, request: Request) -> Completion:
        self.seen.append(request)
        if request.messages[-1]["content"] == "fail":
            raise BackendUnavailableError("down")
        return Completion(
            "yes",
            usage=Usage(3, 1, requests=1, certainty="exact"),
            tool_calls=(ToolCall("look_up"),),
            finish_reason="length",
            model="small-2",
            latency_s=0.25,
            cached=True,
        )


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def build(tmp_path: Path, fake: Fake) -> Build:
    (tmp_path / "p.prompt.md").write_text(PROMPT)
    (tmp_path / "open.prompt.md").write_text("{% for c in contexts %}{{ c }};{% endfor %}{{ question }}")

    def backend(spec: Any) -> Backend:
        fake.specs.append(spec)
        return fake

    return Build(tmp_path, PromptStore(tmp_path).load, backend, "suite.yaml:7")


def case(where: str = "data.jsonl:4", contexts: tuple[Context, ...] = (), **inputs: Any) -> Case:
    return Case("c1", inputs=inputs, contexts=contexts, where=where)


def test_the_request_is_the_prompts_with_the_suites_changes(build: Build, fake: Fake) -> None:
    variant = PromptVariant(build, "p", parameters={"max_tokens": 9, "seed": 1}, variables={"tone": "kind"})
    trial = Trial(case(question="Why?", tone="loud", page=3), repeat=2)
    expected = Request(
        messages=({"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}),
        model="small",
        parameters={"temperature": 0, "max_tokens": 9, "seed": 1},
        tools=({"name": "look_up"},),
        output_schema={"type": "object"},
        repeat=2,
    )
    assert variant.requests(trial) == [expected]
    assert fake.seen == []
    output = asyncio.run(variant.answer(trial))
    assert fake.seen == [expected]
    assert fake.specs == [{"fake": {"size": 1}}]
    assert (output.text, output.latency_s, output.cached) == ("yes", 0.25, True)
    assert output.usage.input_tokens == 3
    assert output.tool_calls == (ToolCall("look_up"),)
    assert output.messages == expected.messages
    assert output.metadata == {"model": "small-2", "finish_reason": "length"}


def test_the_suite_wins_over_the_prompt(build: Build, fake: Fake) -> None:
    variant = PromptVariant(build, "p", backend="other", model="large")
    assert fake.specs == ["other"]
    assert variant.requests(Trial(case(question="q")))[0].model == "large"


def test_info_says_what_it_is(build: Build) -> None:
    info = PromptVariant(build, "p", variables={"tone": "kind"}).info
    assert info.kind == "prompt"
    assert info.note == "fake: repeats"
    assert info.details == {
        "prompt": "p",
        "content_id": build.prompt("p").content_id,
        "backend": {"kind": "fake"},
        "model": "small",
        "parameters": {"temperature": 0, "max_tokens": 50},
        "variables": {"tone": "kind"},
        "prompt_text": [["system", "Be {{ tone }}."], ["user", "{{ question }}"]],
    }


def test_info_says_what_the_suite_overrides(build: Build) -> None:
    info = PromptVariant(build, "p", backend="fake", model="large", parameters={"max_tokens": 60}).info
    assert info.details["overrides"] == {
        "backend": {"kind": "fake"}, "model": "large", "parameters": {"max_tokens": 60},
    }  # fmt: skip


def test_contexts_reach_a_template_that_uses_them(build: Build) -> None:
    contexts = (Context("one", id="1"), Context("two", id="2"))
    uses = PromptVariant(build, "open", backend="fake")
    trial = Trial(case(question="q", contexts=contexts))
    assert uses.requests(trial)[0].messages[0]["content"] == "one;two;q"
    assert asyncio.run(uses.answer(trial)).contexts == contexts
    ignores = PromptVariant(build, "p")
    assert asyncio.run(ignores.answer(trial)).contexts == ()
    own = Trial(case(question="q", contexts=(Context("gold"),)))
    fixed = PromptVariant(build, "open", backend="fake", variables={"contexts": ["mine"]})
    assert fixed.requests(own)[0].messages[0]["content"] == "mine;q"
    assert asyncio.run(fixed.answer(own)).contexts == ()


def test_check_finds_a_missing_variable_before_any_call(build: Build, fake: Fake) -> None:
    variant = PromptVariant(build, "p")
    variant.check(case(question="q"))
    with pytest.raises(PromptError) as caught:
        variant.check(case(qestion="q"))
    assert caught.value.where == "data.jsonl:4"
    assert "prompt p needs 'question'" in str(caught.value)
    assert "p.prompt.md:8" in str(caught.value)
    with pytest.raises(PromptError, match="question is integer, not string"):
        variant.check(case(question=3))
    assert fake.seen == []


def test_a_hint_names_the_cases_columns(build: Build) -> None:
    with pytest.raises(PromptError, match="the case has: page, qestion"):
        PromptVariant(build, "p").check(case(qestion="q", page=3))


def test_wrong_options_are_errors_with_the_suites_line(build: Build) -> None:
    with pytest.raises(InputError) as caught:
        PromptVariant(build, "open")
    assert caught.value.where == "suite.yaml:7"
    assert "has no backend" in str(caught.value)
    assert "extractive" in str(caught.value)
    with pytest.raises(InputError, match="no variable 'tome'; did you mean 'tone'"):
        PromptVariant(build, "p", variables={"tome": "x"})
    with pytest.raises(InputError, match="prompt has no option 'modle'; did you mean 'model'"):
        create("variants", Spec("prompt", options={"prompt": "p", "modle": "x"}), build=build, where="suite.yaml:7")


def test_a_backends_error_passes_through(build: Build) -> None:
    with pytest.raises(BackendUnavailableError):
        asyncio.run(PromptVariant(build, "p").answer(Trial(case(question="fail"))))


def test_the_projects_prompt_answers_on_the_extractive_backend() -> None:
    def backend(spec: Any) -> Backend:
        made: Backend = create("backends", Spec(spec))
        return made

    build = Build(PROJECT, PromptStore(PROJECT / "prompts").load, backend)
    variant = PromptVariant(build, "docs/answer", backend="extractive")
    contexts = (Context("The filter lasts six months. Order it online."), Context("The lamp is red."))
    output = asyncio.run(variant.answer(Trial(case(question="How long does the filter last?", contexts=contexts))))
    assert output.text == "The filter lasts six months."
    assert output.contexts == contexts
    variant.check(case(question="Unanswerable?"))
