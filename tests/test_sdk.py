"""What Python code calls: `llmops.evaluate`, the runs it gives back, and every mistake as one line."""

from __future__ import annotations

import asyncio
import dataclasses
import html
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import rich.console

import llmops
from conftest import clean_environment
from llmops import Case, LlmopsError, Output, Score, evaluate, sdk
from llmops.errors import InputError, NotFoundError
from llmops.process import this_process
from llmops.reports.completeness import state
from llmops.types import MetricInfo, RunRecord, VariantInfo

ROWS = [
    {"id": "a", "inputs": {"question": "capital?"}, "expected": "Paris", "tags": ["easy"]},
    {"id": "b", "inputs": {"question": "river?"}, "expected": "Seine", "tags": ["easy"]},
    {"id": "c", "inputs": {"question": "mountain?"}, "expected": "Mont Blanc", "tags": ["hard"]},
]
ANSWERS = {"capital?": "Paris", "river?": "Seine"}
SUITE = """\
dataset: {path: cases.jsonl}
variants:
  plain: {python: pipe.py:answer}
baseline: plain
metrics: [exact_match]
gates: ["exact_match >= 0.5"]
limits: {concurrency: 3, retries: 1}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, as the current folder."""
    (tmp_path / "llmops.yaml").write_text("prompts: prompts\n")
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "pipe.py").write_text(f"def answer(question):\n    return {ANSWERS!r}.get(question, 'no idea')\n")
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ask.prompt.md").write_text("user:\nContext: Tea is hot.\n\nQuestion: {{ question }}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMOPS_DATABASE_URL", raising=False)
    return tmp_path


def known(question):
    return ANSWERS.get(question, "no idea")


async def slow(question):
    await asyncio.sleep(0)
    return {"text": known(question), "contexts": ["about " + question]}


class Shouting:
    def __call__(self, inputs):
        return known(inputs["question"]).upper()


class Fixed:
    """A `Variant` of its own."""

    info = VariantInfo("", "fixed", {"text": "Paris"})

    async def answer(self, trial):
        return Output(text="Paris")


class Words:
    """A `Metric` of its own."""

    info = MetricInfo("words", high=None, direction="none")

    def score(self, sample):
        return Score(float(len(sample.text.split())))


async def polite(sample):
    return 1.0 if "please" in sample.text else 0.0


def scored(**changes):
    """`evaluate` on the rows with one function, changed as the test needs."""
    return evaluate(**{"dataset": ROWS, "variants": {"known": known}, "metrics": ["exact_match"], **changes})


# ── what it is for ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["suite.yaml", Path("suite.yaml")])
def test_a_suite_file(path, project):
    run = evaluate(path)
    assert run.mean("plain", "exact_match") == pytest.approx(2 / 3)
    assert (run.exit_code, run.record.suite, run.record.baseline, run.record.cases) == (0, "suite", "plain", 3)
    assert (project / ".llmops" / "llmops.db").is_file()


def test_functions_lambdas_classes_async_functions_and_objects():
    run = evaluate(
        dataset=ROWS,
        variants={
            "function": known,
            "lambda": lambda question: known(question),
            "async": slow,
            "class": Shouting,
            "object": Shouting(),
            "variant": Fixed(),
            "mapping": {"python": lambda question, mark: known(question) + mark, "with": {"mark": ""}},
        },
        metrics=["exact_match", {"contains": {"ignore_case": True}}, polite, Words(), lambda sample: 0.5],
        name="mine",
    )
    exact = {variant: run.mean(variant, "exact_match") for variant in ("function", "lambda", "async", "mapping")}
    assert exact == pytest.approx(dict.fromkeys(exact, 2 / 3))
    for shouted in ("class", "object"):
        assert run.mean(shouted, "exact_match") == 0
    assert run.mean("variant", "exact_match") == pytest.approx(1 / 3)
    assert (run.mean("class", "words"), run.mean("async", "polite")) == (pytest.approx(4 / 3), 0)
    assert run.record.suite == "mine"


def test_rows_may_be_cases_any_iterable_or_a_file():
    cases = [Case(id=row["id"], inputs=row["inputs"], expected=row["expected"]) for row in ROWS]
    for dataset in (cases, tuple(cases), (row for row in ROWS), "cases.jsonl", Path("cases.jsonl")):
        assert scored(dataset=dataset).mean("known", "exact_match") == pytest.approx(2 / 3)


def test_fields_say_which_columns_rows_have():
    rows = [{"q": "capital?", "answer": "Paris"}]
    assert scored(dataset=rows, fields={"inputs.question": "q", "expected": "answer"}).mean("known", "exact_match") == 1


def test_objects_replace_the_parts_of_a_suite_file():
    run = evaluate(
        "suite.yaml", dataset=ROWS[:1], variants={"other": known}, gates=[], repeats=2, limits={"retries": 0}
    )
    assert [variant.name for variant in run.record.variants] == ["other"]
    assert (run.record.cases, run.record.repeats, run.record.baseline, run.gates) == (1, 2, None, ())
    assert len(list(run.results)) == 2


def test_limits_keep_what_they_do_not_name():
    old = sdk.load_suite(Path("suite.yaml")).limits
    new = sdk.arguments.limits_of(old, {"concurrency": "5", "timeout_s": None})
    assert (new.concurrency, new.retries, new.timeout_s) == (5, 1, None)


def test_it_works_where_a_loop_is_running():
    async def notebook_cell():
        run = evaluate("suite.yaml", variants={"asked": {"prompt": "ask", "backend": "extractive"}, "plain": slow})
        return run, sdk.score_run(run.id, "suite.yaml"), run.to_dicts(), run.render()

    run, again, rows, text = asyncio.run(notebook_cell())
    assert run.mean("plain", "exact_match") == again.mean("plain", "exact_match") == pytest.approx(2 / 3)
    assert len(rows) == 6
    assert "asked" in text


def test_filters_samples_and_seeds():
    assert scored(only="tag:hard").record.cases == 1
    assert scored(only=["id:a", "id:c"]).record.cases == 2
    assert scored(only=["!tag:hard"]).record.cases == 2

    def chosen(seed):
        return [row["case"] for row in scored(sample=1, seed=seed).to_dicts()]

    assert chosen(1) == chosen(1)
    assert len({tuple(chosen(seed)) for seed in range(8)}) > 1


def test_gates_and_exit_codes():
    run = scored(gates=["exact_match >= 0.5", "exact_match >= 0.9 for tag:easy", "errors <= 1%"])
    assert [gate.outcome for gate in run.gates] == ["pass"] * 3
    assert run.exit_code == 0
    run = scored(gates=["exact_match >= 0.9"])
    [gate] = run.gates
    assert (gate.outcome, gate.variant, gate.value) == ("fail", "known", pytest.approx(2 / 3))
    assert run.exit_code == 1
    assert scored(gates=["exact_match >= 0.9 for tag:absent"]).exit_code == 3
    assert scored(variants={"broken": lambda question: 1 / 0}).exit_code == 4


def test_a_failed_case_is_data():
    run = scored(variants={"mostly": lambda question: ANSWERS[question]})
    errors = {row["case"]: row["error"] for row in run.to_dicts()}
    assert errors["a"] is None
    assert "KeyError" in errors["c"]
    assert run.mean("mostly", "exact_match") == 1  # over the two that have an answer


# ── a run ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_of_a_run():
    [row] = scored(dataset=ROWS[:1], variants={"v": slow}).to_dicts()
    expected = {
        "variant": "v", "case": "a", "repeat": 0, "inputs": {"question": "capital?"}, "expected": "Paris",
        "text": "Paris", "contexts": ["about capital?"], "tokens": None, "cached": False, "error": None,
        "exact_match": 1.0,
    }  # fmt: skip
    assert row.pop("latency_s") >= 0
    assert row == expected


def test_a_metric_named_like_a_column_does_not_hide_it():
    def text(sample):
        return 0.25

    [row] = scored(dataset=ROWS[:1], metrics=[text]).to_dicts()
    assert (row["text"], row["text_score"]) == ("Paris", 0.25)


def test_a_run_shows_itself_everywhere():
    run = scored()
    assert json.loads(run.render("json"))["variants"][0]["metrics"]["exact_match"]["mean"] == pytest.approx(2 / 3)
    assert run.render("md") == run.render("markdown")
    page = run.render("html")
    assert page.lower().startswith("<!doctype html>")
    in_a_notebook = run._repr_html_()
    assert in_a_notebook.startswith("<iframe sandbox=")
    assert html.escape(page[:200]) in in_a_notebook
    printed = rich.console.Console(file=io.StringIO(), width=120)
    printed.print(run)
    assert "exact_match" in printed.file.getvalue()
    assert repr(run) == f"<Run {run.id} of evaluation: finished, 3 cases>"
    with pytest.raises(LlmopsError, match="did you mean 'html'"):
        run.render("htlm")


def test_a_mean_of_nothing_is_none_and_of_no_such_thing_an_error():
    run = scored(dataset=[{"id": "a", "inputs": {"question": "river?"}}])
    assert run.mean("known", "exact_match") is None
    with pytest.raises(NotFoundError, match="no variant 'knwon'; did you mean 'known'"):
        run.mean("knwon", "exact_match")
    with pytest.raises(NotFoundError, match="no metric 'exact'; did you mean 'exact_match'"):
        run.mean("known", "exact")


def test_saved_runs_are_opened_listed_scored_again_and_deleted(project):
    first, second = evaluate("suite.yaml"), scored(name="other")
    assert [record.id for record in sdk.list_runs()] == [second.id, first.id]
    assert [record.id for record in sdk.list_runs(limit=1)] == [second.id]
    assert [record.id for record in sdk.list_runs(suite="suite")] == [first.id]
    for reference in (first.id, first.id[:13], "suite", "latest~1"):
        assert sdk.open_run(reference).id == first.id
    metrics = SUITE.replace("metrics: [exact_match]", "metrics: [{starts_with: P}]")
    (project / "suite.yaml").write_text(metrics.replace("exact_match >=", "starts_with >="))
    again = sdk.score_run(first.id, "suite.yaml")
    assert again.id != first.id
    assert again.mean("plain", "starts_with") == pytest.approx(1 / 3)
    sdk.delete_run(second.id)
    assert second.id not in [record.id for record in sdk.list_runs()]


def test_an_exported_run_is_opened_by_its_path(project):
    from llmops.store.runfile import export_run

    run = evaluate("suite.yaml")
    export_run(run.record, run.results, project / "run.jsonl.gz")
    for path in ("run.jsonl.gz", project / "run.jsonl.gz"):
        opened = sdk.open_run(path)
        assert (opened.id, opened.mean("plain", "exact_match")) == (run.id, run.mean("plain", "exact_match"))


def test_a_prompt_by_itself():
    [message] = llmops.load_prompt("ask").render({"question": "Is tea hot?"})
    assert message["content"].endswith("Question: Is tea hot?")


def test_a_run_whose_process_is_gone_died():
    record = RunRecord("r", "s", "h", "d", "f", environment={"process": this_process()})
    assert state(record) == "running"
    done = subprocess.run(
        [sys.executable, "-c", "import json, llmops.process as p; print(json.dumps(p.this_process()))"],
        capture_output=True, text=True, check=True, env=clean_environment(),
    )  # fmt: skip
    gone = dataclasses.replace(record, environment={"process": json.loads(done.stdout)})
    assert state(gone) == "died"
    for status in ("finished", "stopped", "interrupted", "failed"):
        assert state(dataclasses.replace(gone, status=status)) == status


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────


def twice(sample):
    return 1.0


def exact_match(sample):
    return 1.0


WRONG = [
    ({"dataset": None}, "evaluate needs dataset"),
    ({"dataset": 5}, "dataset is 5; give a path, or a list of mappings or Cases"),
    ({"dataset": b"rows"}, "dataset is of type bytes"),
    ({"dataset": ROWS[0]}, "dataset is one mapping; rows are a list: dataset=[{…}, {…}]"),
    ({"dataset": []}, "has no cases"),
    ({"dataset": [5]}, "row 1: the row is a number"),
    ({"dataset": "absent.jsonl"}, "absent.jsonl"),
    ({"dataset": "a\0b"}, "which is no path"),
    ({"dataset": ""}, "which is no path"),
    ({"fields": 5}, "fields is 5"),
    ({"variants": None}, "evaluate needs variants"),
    ({"variants": {}}, "evaluate needs variants"),
    ({"variants": [known]}, "variants is of type list; a mapping of names"),
    ({"variants": known}, "variants is of type function; a mapping of names"),
    ({"variants": {5: known}}, "a variant's name is 5, not text"),
    ({"variants": {"": known}}, "has 0 characters"),
    ({"variants": {"\ud800": known}}, "half a character"),
    ({"variants": {"v": "known"}}, "'known', not a function"),
    ({"variants": {"v": None}}, "None, not a function"),
    ({"variants": {"v": Fixed}}, "variant 'v' is the class Fixed; pass an object of it"),
    ({"variants": {"v": {"pyton": known}}}, "exactly one of"),
    ({"metrics": None}, "evaluate needs metrics"),
    ({"metrics": []}, "evaluate needs metrics"),
    ({"metrics": "exact_match"}, "metrics is a list, not 'exact_match'"),
    ({"metrics": lambda sample: 1.0}, "metrics is a list, not of type function"),
    ({"metrics": {"contains": "x"}}, "metrics is a list, not of type dict"),
    ({"metrics": [5]}, "metrics[0] is 5; a metric is a name"),
    ({"metrics": ["exact_mtch"]}, "did you mean 'exact_match'?"),
    ({"metrics": [lambda sample: 1, lambda sample: 0]}, "two metrics are lambdas; make them functions with names"),
    ({"metrics": [twice, twice]}, "two metrics are called 'twice'; wrap the function"),
    ({"metrics": ["exact_match", exact_match]}, "two metrics are called 'exact_match'; wrap the function"),
    ({"metrics": [exact_match, "exact_match"]}, "two metrics are called 'exact_match'; wrap the function"),
    ({"gates": "exact_match >= 0.5"}, "gates is a list, not 'exact_match >= 0.5'; write gates=[\""),
    ({"gates": [5]}, "gates[0] is 5, not text"),
    ({"gates": ["exact >= 1"]}, "did you mean 'exact_match'?"),
    ({"baseline": "knwon"}, "baseline: no variant is called 'knwon'; did you mean 'known'?"),
    ({"baseline": ["known"]}, "no variant is called of type list"),
    ({"baseline": ""}, "no variant is called ''"),
    ({"limits": 4}, "limits is 4; a mapping"),
    ({"limits": {"concurrency": 0}}, "limits: concurrency is 0: input should be greater than or equal to 1"),
    ({"limits": {"concurrency": "many"}}, "limits: concurrency is 'many'"),
    ({"limits": {"concurency": 2}}, "limits: unknown key 'concurency'; did you mean 'concurrency'?"),
    ({"limits": {5: 2}}, "limits: unknown key 5"),
    ({"limits": {"requests_per_minute": 10**400}}, "a huge number"),
    ({"limits": {"timeout_s": float("nan")}}, "finite"),
    ({"repeats": "x"}, "repeats is 'x'; give a whole number, 1 to 1,000"),
    ({"repeats": 0}, "repeats is 0"),
    ({"repeats": True}, "repeats is True"),
    ({"repeats": 10**30}, "1 to 1,000"),
    ({"name": 5}, "name is 5, not text"),
    ({"name": "\ud800"}, "half a character"),
    ({"only": 5}, "only is a list, not 5"),
    ({"only": [5]}, "only[0] is 5, not text"),
    ({"only": "id"}, "isn't a filter"),
    ({"only": "id:z"}, "no case is left after id:z"),
    ({"sample": 0}, "sample is 0; give a whole number, 1 or more"),
    ({"sample": 1.5}, "sample is 1.5"),
    ({"seed": "x"}, "seed is 'x'; give a whole number"),
    ({"max_requests": -1}, "max_requests is -1; give a whole number, 0 or more"),
    ({"max_tokens": "x"}, "max_tokens is 'x'"),
    ({"store": 5}, "store is 5, not a path"),
    ({"record": "a\0b"}, "which is no path"),
    ({"record": "a", "replay": "b"}, "record and replay can't go together"),
    ({"replay": "absent"}, "no folder absent"),
    ({"cache": False, "refresh": True}, "refresh keeps new answers"),
    ({"suite": {"dataset": "x"}}, "suite is of type dict, not a path"),
    ({"suite": "absent.yaml"}, "can't read absent.yaml"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_bad_input_is_one_line_and_nothing_is_written(changes, said, project):
    with pytest.raises(LlmopsError) as raised:
        scored(**changes)
    assert isinstance(raised.value, InputError)
    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert not (project / ".llmops").exists()


def test_a_run_that_is_not_there(project):
    with pytest.raises(NotFoundError, match="no runs yet"):
        sdk.open_run()
    assert sdk.list_runs() == sdk.list_runs(suite="nope") == []
    evaluate("suite.yaml")
    for missing in ("nofile.jsonl", "nofile.jsonl.gz", "a\0b.jsonl", "x" * 5000 + ".jsonl", Path("no/file.jsonl")):
        with pytest.raises(NotFoundError, match="no file '"):
            sdk.open_run(missing)
    with pytest.raises(NotFoundError, match="no run 'nope'"):
        sdk.open_run("nope")
    with pytest.raises(NotFoundError, match="no run of 'siute'; did you mean 'suite'"):
        sdk.list_runs(suite="siute")
    for call in (lambda: sdk.open_run(5), lambda: sdk.list_runs(suite=5), lambda: sdk.list_runs(limit="x")):
        with pytest.raises(InputError):
            call()
    with pytest.raises(InputError, match="suite is 5, not a path"):
        sdk.score_run("latest", 5)


# ── the project that `llmops init` writes ───────────────────────────────────────────────────────────────────────


def test_a_new_project_shows_a_difference(project):
    from llmops.skeleton import write_skeleton

    written, kept = write_skeleton(project / "fresh")
    assert (len(written), kept) == (6, [])
    run = evaluate(project / "fresh" / "evals" / "first.yaml")
    assert run.exit_code == 0
    assert 8 <= run.record.cases <= 10
    full, brief = (run.mean(variant, "contains") for variant in ("full", "brief"))
    assert full == 1
    assert 0.5 <= brief <= 0.8  # cut short, it loses what stands at the end
    assert run.mean("brief", "length") < run.mean("full", "length")
    assert set(run.aggregate.tags) == {"fact", "terms"}
    assert {result.case.group for result in run.results} == {"hours", "loans", "cards"}
