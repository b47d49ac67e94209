"""Public data through `llmops eval`, as a user would: the figures other people found come out of the runs.

The data stands beside the repository; every test here skips without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

PEOPLE = """\
import string

KEPT = str.maketrans("", "", string.punctuation)


def normalize(text):
    words = text.lower().translate(KEPT).split()
    return " " + " ".join(word for word in words if word not in ("a", "an", "the")) + " "


def agrees(sample, whole=False):
    '''The expected answer is in the output (or, whole, is the output) where people called it correct, else not.'''
    people = {**sample.case.metadata, **sample.output.metadata}["human_correct"]
    own = normalize(sample.text)
    wanted = [normalize(gold) for gold in sample.expected]
    return any(gold == own if whole else gold in own for gold in wanted) == people
"""
CONTAINMENT = {"fid": 0.914, "gpt35": 0.917, "chatgpt": 0.915, "gpt4": 0.903, "newbing": 0.858}
PROVIDERS = {"base": "retrieve_base", "level_two": "retrieve_level_two", "level_three": "retrieve_level_three"}
LEVELS = {"base": "basic", "level_two": "level_two", "level_three": "level_three"}
MEASURES = ("precision", "recall", "mrr")
STORED = """\
def precision(output):
    return output.metadata["precision"]


def recall(output):
    return output.metadata["recall"]


def mrr(output):
    return output.metadata["mrr"]
"""
RETRIEVER = """\
import gzip
import json
import sys


class Retriever:
    def __init__(self, example, corpus, k):
        sys.path.insert(0, example)
        from pipeline import Index

        with gzip.open(corpus, "rt", encoding="utf-8") as lines:
            documents = map(json.loads, lines)
            self.index = Index((str(d["doc_id"]), d["title"], d["text"]) for d in documents)
        self.k = k

    def __call__(self, question):
        return {"text": "", "contexts": self.index.search(question, self.k)}
"""


# --- answers that people judged -----------------------------------------------------------------------------------


def test_containment_agrees_with_people_on_9690_answers_of_five_systems(llmops, tmp_path, shared_data):
    """EVOUNA TriviaQA: the agreement published for "a gold answer is contained", by system, in one run.

    The agreement is measured by a user's metric with a normalisation of its own; the second half checks that it
    says of every answer what our `contains` says.
    """
    rows = read_lines(found(shared_data, "evouna/tq.jsonl"))
    write_lines(
        tmp_path / "answers.jsonl",
        (
            {"id": row["id"], "text": answer["answer"], "system": answer["system"]}
            | {"metadata": {"human_correct": answer["human_correct"]}}
            for row in rows
            for answer in row["answers"]
        ),
    )
    (tmp_path / "people.py").write_text(PEOPLE)
    suite(
        tmp_path,
        dataset={
            "path": str(shared_data / "evouna/tq.jsonl"),
            "fields": {"id": "id", "inputs.question": "question", "expected": "gold"},
        },
        variants={system: {"recorded": "answers.jsonl", "only": {"system": system}} for system in CONTAINMENT},
        metrics=[{"contains": {"normalize": True}}, "token_f1", {"python": "people.py:agrees"}],
    )
    variants = evaluate(llmops)
    assert {name: variant["cases"] for name, variant in variants.items()} == dict.fromkeys(CONTAINMENT, 1938)
    for system, published in CONTAINMENT.items():
        assert mean(variants[system], "agrees") == pytest.approx(published, abs=0.0005), system
        assert scored(variants[system], "contains") == scored(variants[system], "token_f1") == 1938
    results = exported(llmops, tmp_path)
    assert len(results) == 9690
    for (system, case), result in results.items():
        human = result["output"]["metadata"]["human_correct"]
        agreed = float(value(result, "contains") == float(human))
        assert value(result, "agrees") == agreed, (system, case)


def test_one_system_is_read_straight_from_the_nested_file(llmops, tmp_path, shared_data):
    """The same answers without preparing a file: dotted paths reach into each row's list of answers."""
    path = str(found(shared_data, "evouna/tq.jsonl"))
    (tmp_path / "people.py").write_text(PEOPLE)
    suite(
        tmp_path,
        dataset={"path": path, "fields": {"id": "id", "inputs.question": "question", "expected": "gold"}},
        variants={
            "newbing": {
                "recorded": path,
                "fields": {"id": "id", "text": "answers.4.answer", "metadata": "answers.4"},
            }
        },
        metrics=[{"python": "people.py:agrees"}],
    )
    assert mean(evaluate(llmops)["newbing"], "agrees") == pytest.approx(CONTAINMENT["newbing"], abs=0.0005)


def test_containment_and_equality_agree_with_people_on_nq301(llmops, tmp_path, shared_data):
    """1,490 answers, questions and human verdicts in one file: containment agrees in .745, equality in .654."""
    path = str(found(shared_data, "nq301/nq301.jsonl"))
    (tmp_path / "people.py").write_text(PEOPLE)
    fields = {"id": "id", "inputs.question": "question", "expected": "gold"}
    suite(
        tmp_path,
        dataset={"path": path, "fields": fields | {"metadata.human_correct": "human_correct"}},
        variants={"recorded": {"recorded": path, "fields": {"id": "id", "text": "answer"}}},
        metrics=[
            {"contains": {"normalize": True}},
            {"exact_match": {"normalize": True}},
            "squad_exact_match",
            {"python": {"target": "people.py:agrees", "name": "containment"}},
            {"python": {"target": "people.py:agrees", "with": {"whole": True}, "name": "equality"}},
        ],
    )
    variant = evaluate(llmops)["recorded"]
    assert variant["cases"] == scored(variant, "exact_match") == 1490
    assert mean(variant, "containment") == pytest.approx(0.745, abs=0.0005)
    assert mean(variant, "equality") == pytest.approx(0.654, abs=0.0005)
    for result in exported(llmops, tmp_path).values():
        human = float(result["case"]["metadata"]["human_correct"])
        assert value(result, "containment") == float(value(result, "contains") == human)
        assert value(result, "equality") == float(value(result, "exact_match") == human)
        assert value(result, "squad_exact_match") == value(result, "exact_match")


# --- recorded retrieval -------------------------------------------------------------------------------------------


def test_recorded_rankings_score_as_they_were_scored_when_recorded(llmops, tmp_path, shared_data):
    """Three pipelines' rankings for 100 questions: our precision, recall and MRR of each are the stored ones.

    These are measurements: the rankings are recorded, the scores are ours. One ranking of `base` is missing: its
    recorder failed there, so the case is an error and the means are over 99.
    """
    rankings = recorded_rankings(shared_data)
    write_rankings(tmp_path / "rankings.jsonl", rankings)
    docs_suite(tmp_path, shared_data, "rankings.jsonl", [*MEASURES, "f1"])
    variants = evaluate(llmops)
    results = exported(llmops, tmp_path)
    failed = [key for key, result in results.items() if result["output"].get("error")]
    assert len(results) == 300 and [variant for variant, _ in failed] == ["base"]
    compared = 0
    for key, row in rankings.items():
        if "error" in row:
            continue
        stored = {name.lower(): score for name, score in row["named_scores"].items()}
        assert [value(results[key], name) for name in MEASURES] == [stored[name] for name in MEASURES], key
        assert value(results[key], "f1") == pytest.approx(stored["f1"], abs=1e-12)
        compared += 1
    assert compared == 299
    assert rounded(variants["level_two"]) == [0.4500, 0.7092, 0.7733]
    assert rounded(variants["level_three"]) == [0.4533, 0.7092, 0.8383]
    assert rounded(variants["base"]) == [0.4259, 0.6557, 0.7340]
    assert variants["base"]["errors"] == 1 and scored(variants["base"], "mrr") == 99


def test_published_figures_of_the_base_pipeline_follow_from_its_rankings(llmops, tmp_path, shared_data):
    """The published .4283, .6592 and .7367 of Basic RAG, from rankings.

    These are measurements, with one ranking filled in: for the question that `base` has none for it is `level_two`'s,
    whose score is the one recorded for `base` there (so is `level_three`'s). All 100 questions then score as in the
    end-to-end recording. The published figures of the other two pipelines come from other runs than their recorded
    rankings: only 97 and 63 of 100 questions score the same.
    """
    rankings = recorded_rankings(shared_data)
    [missing] = [question for (variant, question), row in rankings.items() if "error" in row]
    rankings["base", missing] = rankings["level_two", missing]
    write_rankings(tmp_path / "rankings.jsonl", rankings)
    docs_suite(tmp_path, shared_data, "rankings.jsonl", list(MEASURES))
    base = evaluate(llmops)["base"]
    published = published_figures(shared_data)["Basic RAG"]
    for name in MEASURES:
        assert mean(base, name) == pytest.approx(published[name], abs=1e-12)
    recorded = recorded_scores(shared_data)
    same = dict.fromkeys(PROVIDERS, 0)
    for key, result in exported(llmops, tmp_path).items():
        wanted = [recorded[key][name] for name in MEASURES]
        same[key[0]] += [value(result, name) for name in MEASURES] == pytest.approx(wanted, abs=1e-12)
    assert same == {"base": 100, "level_two": 97, "level_three": 63}


def test_published_figures_are_the_means_of_the_recorded_scores(llmops, tmp_path, shared_data):
    """All nine published figures: a replay, not a measurement.

    The end-to-end recording holds a score for each question and no ranking, so a user's metric reads precision, recall
    and MRR from the recorded row, and what this shows is that a run's means are the published ones.
    """
    scores = recorded_scores(shared_data)
    rows = ({"id": i, "variant": variant, "text": "", "metadata": kept} for (variant, i), kept in scores.items())
    write_lines(tmp_path / "scores.jsonl", rows)
    (tmp_path / "stored.py").write_text(STORED)
    docs_suite(tmp_path, shared_data, "scores.jsonl", [{"python": f"stored.py:{name}"} for name in MEASURES])
    variants = evaluate(llmops)
    published = published_figures(shared_data)
    names = {"base": "Basic RAG", "level_two": "Summary Indexing", "level_three": "Summary Indexing + Re-Ranking"}
    for variant, name in names.items():
        assert scored(variants[variant], "mrr") == 100
        for measure in MEASURES:
            assert mean(variants[variant], measure) == pytest.approx(published[name][measure], abs=1e-12)
    assert rounded(variants["base"]) == [0.4283, 0.6592, 0.7367]
    assert rounded(variants["level_two"]) == [0.4533, 0.7142, 0.7733]
    assert rounded(variants["level_three"]) == [0.4367, 0.6933, 0.8650]


# --- a live retriever ---------------------------------------------------------------------------------------------


def test_the_example_retriever_reaches_bm25_on_scifact(llmops, tmp_path, shared_data, root):
    """300 claims over 5,183 abstracts: nDCG@10 of the example's full-text index, run as a pipeline of a user's."""
    folder = found(shared_data, "scifact/corpus.jsonl.gz").parent
    grades: dict[str, dict[str, int]] = {}
    for row in read_lines(folder / "qrels.jsonl"):
        grades.setdefault(row["query_id"], {})[row["doc_id"]] = row["relevance"]
    queries = read_lines(folder / "queries.jsonl")
    write_lines(tmp_path / "claims.jsonl", ({**row, "relevant": grades[row["query_id"]]} for row in queries))
    (tmp_path / "retriever.py").write_text(RETRIEVER)
    options = {"example": str(root / "examples/rag"), "corpus": str(folder / "corpus.jsonl.gz"), "k": 10}
    suite(
        tmp_path,
        dataset={
            "path": "claims.jsonl",
            "fields": {"id": "query_id", "inputs.question": "text", "relevant": "relevant"},
        },
        variants={"full_text": {"python": "retriever.py:Retriever", "with": options}},
        metrics=[{"ndcg": {"k": 10}}],
    )
    variant = evaluate(llmops)["full_text"]
    assert scored(variant, "ndcg@10") == 300
    assert mean(variant, "ndcg@10") == pytest.approx(0.687, abs=0.01)


# --- datasets as they are -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fields", "wanted"),
    [
        (
            "clinc150_small/utterances.jsonl",
            ("inputs.text=text", "expected=intent", "tags=split"),
            {"cases": 16_200, "with_expected": 16_200},
        ),
        (
            "llmbar/pairs.jsonl",
            ("id=id", "inputs.input=input", "inputs.first=output_1", "inputs.second=output_2", "expected=label"),
            {"cases": 146, "with_expected": 146},
        ),
        (
            "clapnq_dev/answerable.jsonl",
            ("id=id", "inputs.question=input", "contexts=passages", "expected=output.0.answer"),
            {"cases": 300, "with_expected": 300, "with_contexts": 300},
        ),
        (
            "clapnq_dev/unanswerable.jsonl",
            ("id=id", "inputs.question=input", "contexts=passages", "expected=output.0.answer"),
            {"cases": 300, "with_expected": 300, "with_contexts": 300},
        ),
    ],
)
def test_datasets_are_checked_and_counted_as_they_are(llmops, shared_data, path, fields, wanted):
    file = found(shared_data, path)
    options = [part for field in fields for part in ("--field", field)]
    done = llmops("data", "check", file, *options)
    assert done.returncode == 0 and f"{wanted['cases']} cases" in done.stdout, done.stderr
    survey = json.loads(llmops("data", "stats", file, *options, "--json").stdout)
    assert {name: survey[name] for name in wanted} == wanted


# --- how the files are written and read ---------------------------------------------------------------------------


def found(shared_data: Path, name: str) -> Path:
    path = shared_data / name
    if not path.exists():
        pytest.skip(f"no shared/data/{name} beside the repository")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def suite(folder: Path, **keys: Any) -> None:
    """A suite file; JSON is YAML."""
    (folder / "llmops.yaml").write_text("")
    (folder / "suite.yaml").write_text(json.dumps(keys, indent=1), "utf-8")


def evaluate(llmops: Any) -> dict[str, dict[str, Any]]:
    """The variants of the run's machine report, by name."""
    done = llmops("eval", "suite.yaml", "--json")
    assert done.returncode == 0, done.stderr
    [run] = json.loads(done.stdout)["runs"]
    assert run["run"]["status"] == "finished"
    return {variant["name"]: variant for variant in run["variants"]}


def exported(llmops: Any, folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Every result of the latest run, by variant and case."""
    done = llmops("runs", "export", "latest", "--to", "run.jsonl")
    assert done.returncode == 0, done.stderr
    return {(row["variant"], row["case"]["id"]): row for row in read_lines(folder / "run.jsonl")[1:]}


def value(result: Mapping[str, Any], metric: str) -> float | None:
    score: float | None = result["scores"][metric]["value"]
    return score


def mean(variant: Mapping[str, Any], metric: str) -> float:
    figure: float = variant["metrics"][metric]["mean"]
    return figure


def scored(variant: Mapping[str, Any], metric: str) -> int:
    cases: int = variant["metrics"][metric]["scored"]
    return cases


def rounded(variant: Mapping[str, Any]) -> list[float]:
    return [round(mean(variant, name), 4) for name in MEASURES]


def docs_suite(folder: Path, shared_data: Path, recording: str, metrics: list[Any]) -> None:
    """The questions about Claude's documentation, and one recorded variant a pipeline."""
    fields = {"id": "id", "inputs.question": "question", "relevant": "correct_chunks"}
    suite(
        folder,
        dataset={"path": str(shared_data / "claude_docs_rag/questions.jsonl"), "fields": fields},
        variants={name: {"recorded": recording, "only": {"variant": name}} for name in PROVIDERS},
        metrics=metrics,
    )


def question_ids(shared_data: Path) -> dict[str, str]:
    rows = read_lines(found(shared_data, "claude_docs_rag/questions.jsonl"))
    return {row["question"]: row["id"] for row in rows}


def recorded_rankings(shared_data: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Recorded rankings and their stored scores by variant and question id."""
    ids = question_ids(shared_data)
    variants = {provider: variant for variant, provider in PROVIDERS.items()}
    rows = read_lines(found(shared_data, "claude_docs_rag/recorded_retrieval_runs.jsonl"))
    return {(variants[row["provider"]], ids[row["question"]]): row for row in rows}


def write_rankings(path: Path, rankings: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """A recorded variant's file: ids in their order as contexts, and the recorder's error where there is no ranking."""

    def line(variant: str, question: str, row: Mapping[str, Any]) -> dict[str, Any]:
        head = {"id": question, "variant": variant}
        if "error" in row:
            return {**head, "error": row["error"]}
        return {**head, "text": "", "contexts": [{"id": chunk} for chunk in row["retrieved"]]}

    write_lines(path, (line(variant, question, row) for (variant, question), row in rankings.items()))


def recorded_scores(shared_data: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Scores of the end-to-end recording by variant and question id."""
    ids = question_ids(shared_data)
    variants = {level: variant for variant, level in LEVELS.items()}
    rows = read_lines(found(shared_data, "claude_docs_rag/recorded_e2e.jsonl"))
    return {
        (variants[row["level"]], ids[row["question"]]): {name: float(row[f"retrieval_{name}"]) for name in MEASURES}
        for row in rows
    }


def published_figures(shared_data: Path) -> dict[str, dict[str, float]]:
    rows = read_lines(found(shared_data, "claude_docs_rag/published_summary.jsonl"))
    return {row["name"]: {name: row[f"average_{name}"] for name in MEASURES} for row in rows}
