"""An evaluation's calls and dollars: in the log, in the run, in gates, comparisons, reports and limits."""

from __future__ import annotations

import json

import pytest

import llmops as package
from llmops.store.call_queries import Calls
from stub_server import Reply, StubServer

CASES = 30
SUITE = """\
dataset: cases.jsonl
variants:
  small: {prompt: ask, backend: local}
  large: {prompt: ask, backend: local, model: large}
baseline: small
metrics: [contains]
gates: ["cost_per_case <= $0.00005 for variant:small"]
"""
SETTINGS = """\
backends:
  local: {{openai_http: {{base_url: "{url}", model: small, provider: vllm}}}}
prices:
  models:
    - {{model: small, provider: vllm, input: 1, output: 2}}
    - {{model: large, provider: vllm, input: 10, output: 20}}
"""
ONE = 11_000 + 14_000  # nano-dollars: 11 tokens in at $1 and 7 out at $2 a million
FILES = {
    "prompts/ask.prompt.md": "---\nparameters: {max_tokens: 10}\n---\nuser:\n{{ question }}\n",
    "cases.jsonl": "".join(
        json.dumps({"id": f"c{i}", "question": f"Which city {i}?", "expected": "ok"}) + "\n" for i in range(CASES)
    ),
    "suite.yaml": SUITE,
}


@pytest.fixture
def server():
    with StubServer(lambda body, number: Reply(model=body["model"])) as running:
        yield running


@pytest.fixture
def project(tmp_path, server):
    for name, text in {**FILES, "llmops.yaml": SETTINGS.format(url=server.url)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def calls_of(project):
    with Calls.open(project / ".llmops" / "llmops.db") as calls:
        return list(calls.rows())


def test_every_request_of_a_run_is_a_call_with_its_prompt_and_price(project, llmops, server):
    done = llmops("eval", "suite.yaml", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["runs"][0] if "runs" in json.loads(done.stdout) else json.loads(done.stdout)
    calls = calls_of(project)
    assert len(calls) == server.count == 2 * CASES
    assert {(c.attribution.purpose, c.attribution.suite, c.attribution.prompt) for c in calls} == {
        ("eval", "suite", "ask")
    }
    assert {c.attribution.run for c in calls} == {run["run"]["id"]}
    assert {c.attribution.prompt_id for c in calls} != {""}
    by = {name: [c.cost.total for c in calls if c.attribution.variant == name] for name in ("small", "large")}
    assert by == {"small": [ONE] * CASES, "large": [10 * ONE] * CASES}


def test_gates_and_reports_speak_of_dollars(project, llmops):
    done = llmops(
        "eval", "suite.yaml", "-o", "report.md", "-o", "report.html", "-o", "rows.csv", cwd=project, COLUMNS="200"
    )
    assert done.returncode == 0, done.stderr
    assert "$0.000025" in done.stdout and "$0.00025" in done.stdout
    report = (project / "report.md").read_text()
    assert "cost/case" in report and "$0.00025" in report
    assert "Cost / case" in (project / "report.html").read_text()
    assert "cost_usd" in (project / "rows.csv").read_text().splitlines()[0]
    wrong = llmops("eval", "suite.yaml", "--set", 'gates=["cost_per_case <= $0.0001"]', cwd=project)
    assert wrong.returncode == 1 and "$0.00025" in wrong.stdout


def test_cost_is_compared_like_any_other_measure(project, llmops):
    done = llmops("eval", "suite.yaml", "--set", 'gates=["no-regression: cost_per_case"]', cwd=project, COLUMNS="200")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Cost per case" in done.stdout and "$0.000225" in done.stdout


def test_cached_answers_are_no_calls_and_keep_their_price(project, llmops, server):
    llmops("eval", "suite.yaml", cwd=project)
    again = llmops("eval", "suite.yaml", cwd=project, COLUMNS="200")
    assert again.returncode == 0 and server.count == len(calls_of(project)) == 2 * CASES
    assert "$0.000025" in again.stdout
    text = (project / "llmops.yaml").read_text().replace("input: 1,", "input: 3,")
    (project / "llmops.yaml").write_text(text)
    dearer = llmops(
        "eval", "suite.yaml", "--set", 'gates=["cost_per_case >= $0.000047 for variant:small"]', cwd=project
    )
    assert dearer.returncode == 0, dearer.stdout


def test_what_has_no_price_is_not_free(project, llmops):
    text = (project / "llmops.yaml").read_text().replace("model: large, provider", "model: another, provider")
    (project / "llmops.yaml").write_text(text)
    done = llmops("eval", "suite.yaml", "--set", 'gates=["cost_per_case <= $1"]', cwd=project, COLUMNS="200")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "30 answers to 30 cases have no price" in done.stdout


def test_max_cost_stops_a_run_and_keeps_what_was_done(project, llmops, server):
    done = llmops("eval", "suite.yaml", "--max-cost", "$0.006", "--json", cwd=project)
    assert done.returncode == 3, done.stderr
    assert 0 < server.count < 2 * CASES
    spent = sum(c.cost.total for c in calls_of(project))
    assert 0 < spent <= 6_000_000
    more = llmops("eval", "suite.yaml", "--resume", cwd=project)
    assert more.returncode == 0 and server.count == 2 * CASES, more.stderr


def test_max_cost_needs_a_price_and_says_which(project, llmops, server):
    text = (project / "llmops.yaml").read_text().replace("model: large, provider", "model: another, provider")
    (project / "llmops.yaml").write_text(text)
    done = llmops("eval", "suite.yaml", "--max-cost", "1", cwd=project)
    assert done.returncode == 2 and server.count == 0
    assert "large" in done.stderr and "price" in done.stderr


@pytest.mark.parametrize("wrong", ["lots", "-1", "nan", ""])
def test_a_wrong_limit_is_one_line(project, llmops, wrong):
    done = llmops("eval", "suite.yaml", "--max-cost", wrong, cwd=project)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_budget_of_the_project_stops_a_run(project, llmops, server):
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(text + "budgets:\n  - {limit: 5 requests, per: run}\n")
    done = llmops("eval", "suite.yaml", cwd=project)
    assert done.returncode == 3, done.stdout + done.stderr
    assert server.count == 5 and "5 requests" in done.stdout + done.stderr


@pytest.mark.parametrize("pipeline", [False, True])
def test_a_call_that_a_budget_of_the_project_cant_be_held_to_is_bad_input(project, llmops, server, pipeline):
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(text + "budgets:\n  - {limit: 5M tokens, per: day}\n")
    (project / "own.py").write_text(
        "from llmops import connect\n\ndef answer(question):\n    return connect('local').complete(question).text\n"
    )
    own = ["--set", "variants={small: {python: own.py:answer}}", "--set", "gates=[]"]
    (project / "prompts" / "ask.prompt.md").write_text("user:\n{{ question }}\n")
    done = llmops("eval", "suite.yaml", *(own if pipeline else []), cwd=project)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "needs a bound on every answer" in done.stderr and server.count == 0


def test_from_python(project, monkeypatch, server):
    monkeypatch.chdir(project)
    run = package.evaluate("suite.yaml", max_cost=1.5, gates=[])
    assert run.aggregate.usage("small").cost == CASES * ONE
    assert run.aggregate.value("cost_per_case", "large") == pytest.approx(10 * ONE / 1e9)


def test_a_judge_is_counted_apart(project, llmops, server):
    (project / "judged.py").write_text(
        "from llmops import connect\n\n"
        "def judged(sample):\n"
        "    with connect('local') as client:\n"
        "        return 1.0 if client.complete('Is it right?').text == 'ok' else 0.0\n"
    )
    done = llmops(
        "eval", "suite.yaml", "--set", "metrics=[{python: judged.py:judged}]", "--set", "gates=[]", cwd=project
    )
    assert done.returncode == 0, done.stderr
    purposes = [c.attribution.purpose for c in calls_of(project)]
    assert purposes.count("eval") == 2 * CASES and purposes.count("judge") == 2 * CASES


def test_a_dry_run_says_what_it_would_cost(project, llmops, server):
    done = llmops("eval", "suite.yaml", "--dry-run", cwd=project)
    assert done.returncode == 0 and server.count == 0, done.stderr
    assert done.stdout.count("about $0.00") == 2
    plan = json.loads(llmops("eval", "suite.yaml", "--dry-run", "--json", cwd=project).stdout)["suites"][0]
    small, large = (variant["cost"] for variant in plan["variants"])
    assert 0 < 10 * small == large
    text = (project / "llmops.yaml").read_text().replace("model: large, provider", "model: another, provider")
    (project / "llmops.yaml").write_text(text)
    assert "no price is known" in llmops("eval", "suite.yaml", "--dry-run", cwd=project).stdout


PIPELINES = """\
import asyncio, llmops

def thread(question):
    client = llmops.connect("local")
    first = client.complete(question)
    return client.complete(first.text + question, model="large").text

async def task(question):
    async with llmops.connect("local") as client:
        await asyncio.gather(client.acomplete(question), client.acomplete(question + "?", model="large"))
        return "ok"

def counts_itself(question):
    llmops.connect("local").complete(question)
    return {"answer": "ok", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}

def unpriced(question):
    client = llmops.connect("local")
    client.complete(question)
    return client.complete(question, model="nobody-knows").text
"""


def test_a_pipelines_own_calls_are_its_cost_and_are_attributed(project, llmops, server):
    names = ("thread", "task", "counts_itself", "unpriced")
    (project / "pipelines.py").write_text(PIPELINES)
    (project / "suite.yaml").write_text(
        "dataset: cases.jsonl\nmetrics: [contains]\nvariants:\n"
        + "".join(f"  {name}: {{python: 'pipelines.py:{name}'}}\n" for name in names)
    )
    done = llmops("eval", "suite.yaml", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    calls = calls_of(project)
    assert len(calls) == server.count == CASES * 7
    assert {(c.attribution.purpose, c.attribution.suite) for c in calls} == {("eval", "suite")}
    assert len({c.attribution.run for c in calls}) == 1
    by = {name: [c.cost and c.cost.total for c in calls if c.attribution.variant == name] for name in names}
    assert sum(by["thread"]) == sum(by["task"]) == CASES * 11 * ONE and by["unpriced"].count(None) == CASES
    gates = ["cost_per_case <= $0.000276 for variant:thread", "cost_per_case >= $0.000274 for variant:task"]
    gates += ["cost_per_case <= $0.000026 for variant:counts_itself", "tokens_per_case <= 7 for variant:counts_itself"]
    priced = llmops("eval", "suite.yaml", "--set", f"gates={json.dumps(gates)}", cwd=project, COLUMNS="200")
    assert priced.returncode == 0, priced.stdout + priced.stderr
    undecided = llmops(
        "eval", "suite.yaml", "--set", 'gates=["cost_per_case <= $9 for variant:unpriced"]', cwd=project, COLUMNS="200"
    )
    assert undecided.returncode == 3 and "30 answers to 30 cases have no price" in undecided.stdout


def test_a_replay_costs_what_it_would_now(project, llmops, server):
    gates = 'gates=["cost_per_case <= $0.000026 for variant:small"]'
    assert llmops("eval", "suite.yaml", "--record", "kept", cwd=project).returncode == 0
    count, rows = server.count, len(calls_of(project))
    done = llmops("eval", "suite.yaml", "--replay", "kept", "--set", gates, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.count == count and len(calls_of(project)) == rows


def test_kept_answers_of_a_fallback_have_the_price_of_who_gave_them(project, llmops, server):
    text = (project / "llmops.yaml").read_text()
    more = f'  second: {{openai_http: {{base_url: "{server.url}", model: large, provider: vllm}}}}\n'
    (project / "llmops.yaml").write_text(text.replace("prices:", more + "  both: {fallback: [local, second]}\nprices:"))
    server.decide = lambda body, number: Reply(status=503) if body["model"] == "small" else Reply(model=body["model"])
    suite = "dataset: cases.jsonl\nmetrics: [contains]\nvariants:\n  v: {prompt: ask, backend: both}\n"
    (project / "suite.yaml").write_text(suite + 'gates: ["cost_per_case >= $0.000249", "cost_per_case <= $0.000251"]\n')
    for _ in range(2):
        done = llmops("eval", "suite.yaml", cwd=project, COLUMNS="200")
        assert done.returncode == 0, done.stdout + done.stderr
    assert server.count == 2 * CASES


def test_trials_that_failed_are_no_answers_without_a_price(project, llmops, server):
    server.decide = lambda body, number: Reply(status=400) if "city 7?" in str(body) else Reply(model=body["model"])
    done = llmops(
        "eval",
        "suite.yaml",
        "--set",
        'gates=["cost_per_case <= $0.000026 for variant:small", "errors <= 5%"]',
        cwd=project,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_wrong_prices_leave_no_run_behind(project, llmops, server):
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(text.replace("output: 20", "output: dear"))
    done = llmops("eval", "suite.yaml", cwd=project)
    assert done.returncode == 2 and "llmops.yaml:3: models[1].output" in done.stderr and server.count == 0
    assert len(done.stderr.strip().splitlines()) == 1
    listed = llmops("runs", "ls", "--json", cwd=project)
    assert "suite" not in listed.stdout
    assert llmops("prompt", "ls", cwd=project).returncode == 0


def test_what_may_have_been_billed_counts_against_max_cost(project, llmops, server):
    server.decide = lambda body, number: Reply(ending="close")
    done = llmops(
        "eval", "suite.yaml", "--max-cost", "$0.006", "--variant", "large", "--set", "limits.retries=0", cwd=project
    )
    assert "stopped after" in done.stdout and server.count < CASES, done.stdout


def test_a_comparison_of_costs_is_undecided_when_answers_have_no_price(project, llmops, server):
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(
        text.replace("model: large, provider: vllm, input: 10, output: 20", "model: cheap, input: 0.1, output: 0.1")
    )
    server.decide = lambda body, number: Reply(
        model="small" if body["model"] == "small" else "cheap" if "0?" in str(body) else "nobody-knows"
    )
    done = llmops("eval", "suite.yaml", "--set", 'gates=["no-worse: cost_per_case"]', cwd=project, COLUMNS="200")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "cases have no score of the candidate's" in done.stdout


def test_the_mean_of_the_answers_that_have_a_price_is_not_the_cost_of_all(project, monkeypatch, server):
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(text.replace("model: large, provider", "model: another, provider"))
    server.decide = lambda body, number: Reply(model="small" if "0?" in str(body) else body["model"])
    monkeypatch.chdir(project)
    run = package.evaluate("suite.yaml", gates=[])
    assert run.aggregate.value("cost_per_case", "small") == pytest.approx(ONE / 1e9)
    assert run.aggregate.value("cost_per_case", "large") is None
    assert run.aggregate.unpriced("large") == CASES - 3


OWN_CALLS = """\
import llmops

def asks(question):
    return llmops.connect("local").complete(question, max_tokens=10).text

async def awaits(question):
    async with llmops.connect("local") as client:
        return (await client.acomplete(question, max_tokens=10)).text

async def holds_up_the_loop(question):
    return asks(question)

def streams(question):
    return list(llmops.connect("local").stream(question, max_tokens=10))[-1].text

def swallows(question):
    try:
        return asks(question)
    except Exception:
        return "nothing"

def openai(question):
    import openai as package
    from llmops.integrations.openai import tracked

    client = tracked(package.OpenAI(base_url=URL, api_key="none"), backend="local", provider="vllm")
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="small", messages=messages, max_tokens=10).choices[0].message.content

def unbounded(question):
    return llmops.connect("local").complete(question).text

def knows(question):
    return "ok"

def judged(sample):
    return float(asks(sample.inputs["question"]) == "ok")

def judged_and_swallowed(sample):
    return float(swallows(sample.inputs["question"]) == "ok")
"""


def write_own_calls(project, server, pipeline, metric="contains"):
    url = server.url if server.url.endswith("/v1") else f"{server.url}/v1"
    (project / "own.py").write_text(f"URL = {url!r}\n{OWN_CALLS}")
    (project / "suite.yaml").write_text(
        f"dataset: cases.jsonl\nvariants:\n  v: {{python: 'own.py:{pipeline}'}}\nmetrics: [{metric}]\n"
    )


ASKERS = [(name, "contains") for name in ("asks", "awaits", "streams", "swallows", "holds_up_the_loop", "openai")]
ASKERS += [("knows", f"{{python: 'own.py:{name}'}}") for name in ("judged", "judged_and_swallowed")]
MOST = {"--max-requests=5": 5, "--max-cost=$0.001": 28, "--max-tokens=700": 22}  # requests that can't be over it


@pytest.mark.parametrize(
    ("pipeline", "metric", "limit"),
    [
        *((*asker, "--max-cost=$0.001") for asker in ASKERS),
        *((*ASKERS[place], limit) for place in (0, 1, -2) for limit in ("--max-requests=5", "--max-tokens=700")),
    ],
)
def test_limits_hold_for_calls_that_pipelines_and_metrics_make_themselves(
    project, llmops, server, pipeline, metric, limit
):
    if pipeline == "openai":
        pytest.importorskip("openai")
    write_own_calls(project, server, pipeline, metric)
    done = llmops("eval", "suite.yaml", limit, cwd=project)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "stopped: finish it with" in done.stderr
    calls = [c for c in calls_of(project) if c.outcome != "unsent"]
    assert 0 < server.count == len(calls) < CASES
    if pipeline != "holds_up_the_loop":  # it can't wait for the others to end
        assert 5 <= server.count <= MOST[limit]
    assert sum(c.cost.total for c in calls) <= 1_000_000
    assert sum(c.usage.total_tokens for c in calls) <= 700


@pytest.mark.parametrize(("limit", "why"), [("--max-cost=1", "dollars"), ("--max-tokens=100000", "--max-tokens")])
def test_a_pipelines_own_call_without_a_bound_ends_a_limited_run_and_says_so(project, llmops, server, limit, why):
    write_own_calls(project, server, "unbounded")
    done = llmops("eval", "suite.yaml", limit, cwd=project, COLUMNS="300")
    assert done.returncode == 3 and server.count == 0, done.stdout + done.stderr
    assert "a call that v makes itself" in done.stdout and why in done.stdout and "max_tokens" in done.stdout


def test_what_judging_cost_is_said_apart(project, llmops, server):
    write_own_calls(project, server, "knows", "{python: 'own.py:judged'}")
    done = llmops("eval", "suite.yaml", "--set", 'gates=["cost_per_case <= $0.0001"]', cwd=project)
    assert done.returncode == 3, done.stdout + done.stderr  # the variant itself asked no model
    assert f"judging: {CASES} calls to models, $0.00075, counted apart" in done.stderr
    assert "judging $0.0008" in done.stderr
    assert "judging" not in llmops("eval", "suite.yaml", "--set", "metrics=[contains]", cwd=project).stderr


def spent_of(llmops, project, *more):
    done = llmops("report", "latest", "--json", *more, cwd=project)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["spent"]


def test_a_runs_totals_are_those_of_the_log_with_judging_apart(project, llmops, server):
    write_own_calls(project, server, "asks", "{python: 'own.py:judged'}")
    assert llmops("eval", "suite.yaml", cwd=project).returncode == 0
    spent, calls = spent_of(llmops, project), calls_of(project)
    for part, purpose in (("answering", "eval"), ("judging", "judge")):
        mine = [c for c in calls if c.attribution.purpose == purpose]
        assert spent[part]["requests"] == len(mine) == CASES
        assert spent[part]["cost"] == spent[part]["exact"] == sum(c.cost.total for c in mine)
        assert spent[part]["input_tokens"] == sum(c.usage.input_tokens for c in mine)
    assert spent["total"]["cost"] == sum(c.cost.total for c in calls) and not spent["partial"]
    rescored = llmops("score", "latest", "--suite", "suite.yaml", "--json", cwd=project)
    assert rescored.returncode == 0, rescored.stderr
    again = json.loads(rescored.stdout)["runs"][0]["spent"]
    assert again["answering"]["requests"] == 0, "its answers were paid for before"
    assert again["judging"]["requests"] == CASES


def test_a_cached_run_spends_nothing_and_a_stopped_one_goes_on_counting(project, llmops, server):
    stopped = llmops("eval", "suite.yaml", "--max-requests", "20", cwd=project)
    assert stopped.returncode == 3
    first = spent_of(llmops, project)["answering"]
    assert 0 < first["requests"] <= 20
    assert llmops("eval", "suite.yaml", "--resume", cwd=project).returncode == 0
    whole = spent_of(llmops, project)["answering"]
    assert whole["requests"] + whole["from_cache"]["requests"] >= 2 * CASES
    answered = [c for c in calls_of(project) if c.outcome == "success"]
    assert whole["requests"] == len(answered)
    assert whole["cost"] == sum(c.cost.total for c in answered)
    assert llmops("eval", "suite.yaml", cwd=project).returncode == 0
    cached = spent_of(llmops, project)["total"]
    assert (cached["requests"], cached["cost"]) == (0, None)
    assert (cached["from_cache"]["requests"], cached["from_cache"]["cost"]) == (2 * CASES, CASES * 11 * ONE)


def test_budgets_that_fill_up_are_one_plain_line(project, llmops, server):
    text = (project / "llmops.yaml").read_text()
    (project / "llmops.yaml").write_text(text + "budgets:\n  - {limit: 10 requests, per: day, action: warn}\n")
    done = llmops("eval", "suite.yaml", cwd=project)
    told = [line for line in done.stderr.splitlines() if "10 requests" in line]
    assert told and all(line.startswith("warning: the budget") for line in told), done.stderr
    assert "RuntimeWarning" not in done.stderr
