"""`llmops bisect`: the commit it names, what it asks and doesn't ask, and what it says when it can't tell."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import llmops as package
from gitrepo import ISOLATED, Repository, git, untouched
from llmops.bisecting import Bisection, bisect
from llmops.bisecting.probing import Answered, UnscoredError
from llmops.bisecting.search import Search, Stretch
from llmops.errors import BackendError, InputError
from llmops.prompts.lineage import Version, lineage
from llmops.prompts.references import Reference
from llmops.prompts.template import FilePrompt, load_prompt_file
from llmops.sdk import list_runs
from llmops.types import MetricInfo
from stub_server import Reply, StubServer

PROMPT = "prompts/docs/answer.prompt.md"
RIGHT, WRONG = "SAY Paris", "SAY Rome"


class Project(Repository):
    """A repository with a suite whose model says what the prompt tells it to."""

    server: StubServer

    def say(self, text: str, subject: str, name: str = "docs/answer.prompt.md") -> str:
        """Commit the prompt with this text."""
        self.write(name, f"system:\n{text}\n\nuser:\n{{{{ question }}}}\n")
        return self.commit(subject)

    def history(self, *texts: str) -> list[str]:
        return [self.say(text, f"Edit {number}") for number, text in enumerate(texts)]

    def suite(self, **more: Any) -> None:
        backend = {"openai_http": {"base_url": self.server.url, "model": "m"}}
        suite = {
            "dataset": "cases.jsonl",
            "variants": {"plain": {"prompt": "docs/answer", "backend": backend}, "code": {"python": "pipe.py:answer"}},
            "metrics": ["exact_match", "token_f1", "length"],
            "limits": {"retries": 0},
        }
        (self.top / "suite.yaml").write_text(json.dumps({**suite, **more}), "utf-8")

    def find(self, case: str = "capital", metric: str = "exact_match", **how: Any) -> Bisection:
        return bisect(self.top / "suite.yaml", case, metric, **how)


def speak(body: Any, number: int) -> Reply:
    """What the prompt says it should, or the status it asks for."""
    told = body["messages"][0]["content"]
    status = re.search(r"FAIL (\d+)", told)
    if status:
        return Reply(status=int(status[1]), body={"error": {"message": "no"}})
    return Reply(text=told.split("SAY ")[1].split("\n")[0])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in [name for name in os.environ if name.startswith(("GIT_", "GITHUB_", "LLMOPS_"))]:
        monkeypatch.delenv(name)
    for name, value in ISOLATED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    made = Project.new(tmp_path / "shop")
    (made.top / "llmops.yaml").write_text("", "utf-8")
    (made.top / ".gitignore").write_text(".llmops/\n", "utf-8")
    (made.top / "pipe.py").write_text("def answer(question):\n    return question\n", "utf-8")
    rows = [{"id": one, "inputs": {"question": f"{one}?"}, "expected": "Paris"} for one in ("capital", "city")]
    (made.top / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with StubServer(speak) as server:
        made.server = server
        made.suite()
        yield made


def test_it_names_the_commit_and_asks_few(project: Project) -> None:
    texts = [f"{RIGHT}\n{number}" for number in range(6)] + [f"{WRONG}\n{number}" for number in range(10)]
    commits = project.history(*texts)
    with untouched(project.prompts):
        made = project.find()
    assert made.outcome == "found"
    assert made.exit_code == 0
    assert made.suspects[0].commit == commits[6]
    assert made.suspects[0].subject == "Edit 6"
    assert made.before is not None and made.after is not None and made.diff is not None
    assert (made.before.answered.answers, made.after.answered.answers) == (("Paris",), ("Rome",))
    assert (made.before.answered.score, made.after.answered.score) == (1.0, 0.0)
    assert made.before.version.commit == commits[5]
    assert "Rome" in json.dumps(made.diff.to_json())
    assert made.asked == project.server.count <= 2 + 4
    assert (made.versions, made.cached) == (16, 0)
    again = project.find()
    assert again.suspects == made.suspects
    assert (again.asked, project.server.count) == (0, made.asked)
    assert again.cached == made.asked


def test_no_run_is_saved(project: Project) -> None:
    project.history(RIGHT, WRONG)
    project.find()
    assert list_runs(store=project.top / ".llmops" / "llmops.db") == []


def test_answers_of_earlier_runs_cost_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = project.history(f"{RIGHT}\n0")
    monkeypatch.chdir(project.top)
    for number in range(1, 5):
        commits += [project.say(f"{RIGHT if number < 3 else WRONG}\n{number}", f"Edit {number}")]
        package.evaluate("suite.yaml", cache=True)
    before = project.server.count
    made = project.find()
    assert made.suspects[0].commit == commits[3]
    assert project.server.count == before + made.asked
    assert made.asked == 0  # the newest known good version bounds it: the oldest isn't asked for
    assert made.good.version.commit == commits[2]


def test_a_saved_run_says_where_it_was_right(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.top)
    commits = project.history(f"{WRONG}\nfirst", f"{RIGHT}\nthen")
    made = project.find()
    assert made.outcome == "nothing broke"  # the work tree is better than the oldest commit
    package.evaluate("suite.yaml")
    commits += [project.say(f"{WRONG}\n{number}", f"Later {number}") for number in range(3)]
    (project.top / ".llmops/cache.db").unlink()
    made = project.find()
    assert made.outcome == "found"
    assert made.good.version.commit == commits[1]
    assert made.suspects[0].commit == commits[2]
    other = project.find(store=str(project.top / ".llmops/llmops.db"))
    assert other.suspects == made.suspects
    with pytest.raises(InputError, match=r"no .*other\.db|other\.db"):
        project.find(store=str(project.top / "other.db"))


def test_an_empty_past_can_be_named(project: Project) -> None:
    commits = project.history(f"{WRONG} 0", RIGHT, f"{WRONG} 1", f"{WRONG} 2")
    assert project.find().outcome == "nothing broke"
    made = project.find(good=commits[1], bad="HEAD")
    assert made.suspects[0].commit == commits[2]
    assert project.find(good=commits[1][:8], bad=commits[2]).suspects == made.suspects
    assert project.find(good=commits[1], bad=commits[1]).outcome == "nothing broke"


def test_partials_and_files_of_other_prompts(project: Project) -> None:
    project.write("docs/_tone.md", RIGHT)
    project.write("docs/other.prompt.md", "Other")
    project.write("docs/answer.prompt.md", 'system:\n{% include "_tone.md" %}\n\nuser:\n{{ question }}\n')
    project.commit("All")
    project.write("docs/other.prompt.md", "Other text")
    project.commit("Another prompt")
    project.write("docs/_tone.md", f"{WRONG}\n")
    broke = project.commit("A partial")
    project.write(
        "docs/answer.prompt.md",
        '---\ndescription: d\n---\nsystem:\n{% include "_tone.md" %}\n\nuser:\n{{ question }}\n',
    )
    project.commit("A description changes nothing")
    made = project.find()
    assert made.suspects[0].commit == broke
    assert made.versions == 2
    assert made.asked == 2


def test_a_nearer_partial_that_appears_is_a_change(project: Project) -> None:
    project.write("_tone.md", RIGHT)
    project.write("docs/answer.prompt.md", 'system:\n{% include "_tone.md" %}\n\nuser:\n{{ question }}\n')
    project.commit("All")
    project.write("docs/_tone.md", WRONG)
    broke = project.commit("A nearer one")
    assert project.find().suspects[0].commit == broke


def test_examples_in_a_file_are_part_of_it(project: Project) -> None:
    text = "---\nfew_shot: rows.jsonl\n---\nsystem:\nSAY Paris{{ few_shot | length }}\n\nuser:\n{{ question }}\n"
    row = json.dumps({"user": "a", "assistant": "b"}) + "\n"
    (project.top / "cases.jsonl").write_text(
        json.dumps({"id": "capital", "inputs": {"question": "?"}, "expected": "Paris1"}) + "\n", "utf-8"
    )
    project.write("docs/rows.jsonl", row)
    project.write("docs/answer.prompt.md", text)
    project.commit("All")
    project.write("docs/rows.jsonl", row * 2)
    broke = project.commit("More examples")
    assert project.find().suspects[0].commit == broke


def test_a_renamed_prompt(project: Project) -> None:
    first = project.say(RIGHT + "\n" + "Much more text.\n" * 20, "One", "docs/old.prompt.md")
    broke = project.say(WRONG + "\n" + "Much more text.\n" * 20, "Two", "docs/old.prompt.md")
    project.git("mv", "prompts/docs/old.prompt.md", PROMPT)
    project.commit("Rename")
    made = project.find()
    assert made.suspects[0].commit == broke
    assert str(made.suspects[0].reference) == f"docs/old@git:{broke}"
    assert project.find(good=first).suspects == made.suspects


def test_the_work_tree_may_have_broken_it(project: Project) -> None:
    project.history(RIGHT)
    project.write("docs/answer.prompt.md", f"system:\n{WRONG}\n\nuser:\n{{{{ question }}}}\n")
    made = project.find()
    assert made.outcome == "found"
    assert made.suspects[0].commit == ""
    assert project.find(bad="HEAD").outcome == "nothing broke"


def test_versions_that_can_t_be_used_are_skipped_and_named(project: Project) -> None:
    commits = project.history(
        f"{RIGHT} ", "SAY {{ oops", "{{ missing }} SAY Paris", "FAIL 400 SAY Paris", f"{WRONG}\n1", f"{WRONG}\n2"
    )
    made = project.find()
    assert made.outcome == "undecided"
    assert made.exit_code == 3
    assert [version.commit for version in made.suspects] == commits[1:5]
    assert {one.version.commit for one in made.skipped} == set(commits[1:4])
    said = " ".join(str(one.answered.problem) for one in made.skipped)
    assert "missing" in said and "400" in said
    project.write("docs/answer.prompt.md", "system:\nSAY {{ broken\n")
    made = project.find()
    assert [version.commit for version in made.suspects] == commits[1:5]
    assert made.bad.version.commit == commits[5]
    assert "" in {one.version.commit for one in made.skipped}


def test_a_skipped_version_elsewhere_doesn_t_hide_the_commit(project: Project) -> None:
    commits = project.history("SAY {{ oops", f"{RIGHT}\n1", f"{RIGHT}\n2", f"{WRONG}\n1", "SAY {{ oops", f"{WRONG}\n2")
    made = project.find()
    assert made.outcome == "found"
    assert made.suspects[0].commit == commits[3]


def test_ends_that_can_t_be_tested(project: Project) -> None:
    commits = project.history("SAY {{ oops", RIGHT, "SAY {{ wrong")
    with pytest.raises(InputError, match=rf"--good {commits[0]}: "):
        project.find(good=commits[0])
    with pytest.raises(InputError, match="--bad HEAD: "):
        project.find(bad="HEAD")
    made = project.find()
    assert made.outcome == "undecided"  # one version alone can be tested
    assert made.exit_code == 3


def test_a_metric_that_scores_no_answer(project: Project) -> None:
    project.history(RIGHT, WRONG)
    project.suite(metrics=[{"python": "metrics.py:score"}])
    (project.top / "metrics.py").write_text("def score(output):\n    return None\n", "utf-8")
    with pytest.raises(UnscoredError, match=r"no version can be tested: its answer has no score") as caught:
        project.find(metric="score")
    assert caught.value.exit_code == 3


def test_a_server_that_is_down_ends_it_and_a_key_that_is_missing_too(project: Project) -> None:
    project.history(RIGHT, "FAIL 500 SAY Paris")
    with pytest.raises(BackendError, match="run it again"):
        project.find()
    backend = {"openai_http": {"base_url": project.server.url, "model": "m", "api_key_env": "NO_SUCH_KEY"}}
    project.suite(variants={"plain": {"prompt": "docs/answer", "backend": backend}})
    with pytest.raises(InputError, match="NO_SUCH_KEY"):
        project.find()


def test_a_graded_metric_breaks_by_more_than_half(project: Project) -> None:
    steps = ["Paris", "Paris it is", "Paris it is a b c", "Paris " + "x " * 30, "Rome"]
    commits = project.history(*[f"SAY {text}" for text in steps])
    made = project.find(metric="token_f1")
    assert made.threshold == pytest.approx(0.5)
    assert made.suspects[0].commit == commits[2]  # token F1: 1, 0.5 (not more than half), 2/7
    made = project.find(metric="token_f1", bad=commits[1])
    assert made.suspects[0].commit == commits[1]


def test_answers_are_averaged(project: Project) -> None:
    count = 0

    def unsteady(body: Any, number: int) -> Reply:
        nonlocal count
        count += 1
        told = body["messages"][0]["content"]
        return Reply(text="Paris" if "GOOD" in told or ("MIXED" in told and count % 4 == 0) else "Rome")

    project.server.decide = unsteady
    project.suite(repeats=4, limits={"retries": 0, "concurrency": 1})
    commits = project.history("GOOD", "MIXED", "BAD")
    made = project.find()
    assert made.suspects[0].commit == commits[1]
    assert made.after is not None
    assert made.after.answered.score == 0.25
    assert len(made.after.answered.answers) == 4
    assert made.asked == 12


def test_it_broke_before_and_was_repaired(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.top)
    commits = []
    for number, text in enumerate([RIGHT, WRONG, RIGHT, WRONG]):
        commits.append(project.say(f"{text}\n{number}", f"Edit {number}"))
        package.evaluate("suite.yaml", variants=None)
    made = project.find()
    assert made.suspects[0].commit == commits[3]
    assert [(broke.commit, fixed.commit) for broke, fixed in made.earlier] == [(commits[1], commits[2])]


def test_one_text_asks_nothing_more(project: Project) -> None:
    project.history(RIGHT)
    project.write("docs/answer.prompt.md", f"---\ndescription: d\n---\nsystem:\n{RIGHT}\n\nuser:\n{{{{ question }}}}\n")
    project.commit("Describe it")
    made = project.find()
    assert (made.outcome, made.versions, made.asked) == ("nothing broke", 1, 1)


def test_the_commit_of_a_merged_branch_is_named(project: Project) -> None:
    project.history(RIGHT)
    project.git("checkout", "-q", "-b", "feature")
    project.say(f"{RIGHT}\nMore", "Fine")
    broke = project.say(WRONG, "Break it")
    project.say(f"{WRONG}\nMore", "Too late")
    project.git("checkout", "-q", "main")
    (project.top / "notes.txt").write_text("n", "utf-8")
    project.commit("Elsewhere")
    project.git("merge", "-q", "--no-ff", "-m", "Merge feature", "feature")
    made = project.find()
    assert made.suspects[0].commit == broke
    assert made.outcome == "found"


def test_a_merge_that_breaks_what_both_sides_had_right(project: Project) -> None:
    project.history("SAY Paris")
    project.git("checkout", "-q", "-b", "feature")
    project.say("SAY Paris\nMore", "Fine")
    project.git("checkout", "-q", "main")
    project.write("docs/_x.md", "x")
    project.commit("Elsewhere")
    project.git("merge", "-q", "--no-ff", "--no-commit", "feature")
    merge = project.say(WRONG, "Merge it badly")
    made = project.find()
    assert made.suspects[0].commit == merge


def test_a_label_s_history_is_what_it_led_to(project: Project) -> None:
    backend = {"openai_http": {"base_url": project.server.url, "model": "m"}}
    project.suite(variants={"live": {"prompt": "docs/answer@production", "backend": backend}})
    project.history(RIGHT)
    project.release("docs/answer")
    project.promote("docs/answer")
    project.commit("Release 1")
    project.say(WRONG, "Edit")
    project.release("docs/answer")
    project.commit("Release 2")
    project.promote("docs/answer")
    broke = project.commit("Promote 2")
    project.say(f"{WRONG}\nagain", "Edit again")
    made = project.find()
    assert made.suspects[0].commit == broke
    assert made.versions == 2


def test_lower_is_better_and_what_has_no_direction(project: Project) -> None:
    (project.top / "metrics.py").write_text("def words(output):\n    return len(output.text.split())\n", "utf-8")
    commits = project.history("SAY one", "SAY one two", "SAY a b c d e f", "SAY a b c d e f g")
    project.suite(metrics=[{"python": {"target": "metrics.py:words", "high": None, "direction": "lower"}}, "length"])
    made = project.find(metric="words")
    assert made.suspects[0].commit == commits[2]
    with pytest.raises(InputError, match="length can't break: neither more nor less of it is better; --metric words"):
        project.find(metric="length")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"case": "capitol"}, "has no case 'capitol'; did you mean 'capital'?"),
        ({"case": "zzz"}, "has no case 'zzz'; its ids are like capital, city"),
        ({"metric": "exact"}, "no metric is called 'exact'; did you mean 'exact_match'?"),
        ({"variant": "plane"}, "no variant is called 'plane'; did you mean 'plain'?"),
        ({"variant": "code"}, "variant 'code' is python: no prompt, so no history; bisect needs a prompt variant"),
        ({"good": "v9"}, "git knows no revision 'v9'"),
        ({"bad": "--all"}, "git knows no revision '--all'"),
        ({"good": "HEAD", "bad": "HEAD~1"}, "--good HEAD isn't before --bad HEAD~1"),
        ({"good": "before"}, "no prompt 'docs/answer' at"),
    ],
)
def test_what_isn_t_there_is_said_before_anything_is_asked(project: Project, how: dict[str, str], said: str) -> None:
    project.commit("Without a prompt")
    project.git("tag", "before")
    project.history(RIGHT, WRONG)
    with pytest.raises(InputError) as caught:
        project.find(**how)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert project.server.count == 0


def test_which_variant(project: Project) -> None:
    project.history(RIGHT, WRONG)
    backend = {"openai_http": {"base_url": project.server.url, "model": "m"}}
    both = {name: {"prompt": "docs/answer", "backend": backend} for name in ("one", "two")}
    project.suite(variants=both)
    with pytest.raises(InputError, match=r"which variant\?.*--variant one of: one, two"):
        project.find()
    assert project.find(variant="two").variant == "two"
    project.suite(variants={"code": {"python": "pipe.py:answer"}})
    with pytest.raises(InputError, match="no variant is a prompt: no prompt, so no history; bisect needs"):
        project.find()


def test_without_git_a_repository_or_a_commit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("docs/answer.prompt.md", "SAY Paris {{ question }}")
    with pytest.raises(InputError, match="this repository has no commits yet"):
        project.find()
    project.git("commit", "-q", "--allow-empty", "-m", "Empty")
    with pytest.raises(
        InputError, match=r"no prompt 'docs/answer' at .*; bisect needs a prompt that is in git's history"
    ):
        project.find()
    (project.top / ".git").rename(project.top / "gone")
    with pytest.raises(InputError, match="is not in a git repository; bisect reads the versions"):
        project.find()
    monkeypatch.setenv("PATH", str(project.top))
    with pytest.raises(InputError, match="the program git isn't installed; bisect reads the versions"):
        project.find()


def test_a_shallow_clone_names_the_fetch_that_helps(project: Project, tmp_path: Path) -> None:
    project.history(RIGHT, f"{WRONG}\n1", f"{WRONG}\n2")
    for depth, names in (
        (1, "git has one version of docs/answer; this is a shallow clone: git fetch --unshallow"),
        (2, ""),
    ):
        top = tmp_path / f"clone{depth}"
        git(tmp_path, "clone", "--quiet", f"--depth={depth}", project.top.as_uri(), str(top))
        clone = Project(top)
        if names:
            with pytest.raises(InputError, match=names):
                clone.find()
            with pytest.raises(InputError, match="this is a shallow clone: it needs 3 commits"):
                clone.find(good="HEAD~2")
        else:
            made = clone.find()
            assert (made.outcome, made.exit_code) == ("undecided", 3)
            assert "git fetch --unshallow" in made.notes[0]
        git(top, "fetch", "--quiet", "--unshallow")
        assert clone.find().outcome == "found"


def test_the_command_line(project: Project, llmops: Callable[..., Any]) -> None:
    hostile = "SAY Rome \x1b[31m[bold]x[/bold]\u202e"
    commits = project.history(RIGHT, f"{RIGHT}\n1", hostile)
    arguments = ("bisect", "suite.yaml", "--case", "capital", "--metric", "exact_match")
    done = llmops(*arguments, cwd=project.top)
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"Case capital broke at {commits[2][:10]}  20") and first.endswith("  Ann  Edit 2")
    assert f"docs/answer@git:{commits[1][:10]} → docs/answer@git:{commits[2][:10]}" in done.stdout
    assert "exact_match of docs/answer: 1.000 → 0.000" in done.stdout
    assert "before  Paris" in done.stdout
    assert "after   Rome [bold]x[/bold]" in done.stdout
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
    assert "{+" in done.stdout and "[-" in done.stdout
    assert "3 versions of docs/answer; 3 requests asked, 0 from the cache" in done.stdout
    assert done.stderr.count("asking with ") == 3
    done = llmops(*arguments, "--json", cwd=project.top)
    made = json.loads(done.stdout)
    assert done.stderr == ""
    assert made["outcome"] == "found" and made["exit_code"] == 0
    assert made["cause"]["commit"] == commits[2]
    assert made["before"]["answers"] == ["Paris"]
    assert made["requests"] == {"asked": 0, "cached": 3}
    assert made["diff"]["messages"]
    done = llmops(*arguments, "--bad", "HEAD~1", cwd=project.top)
    assert done.returncode == 0
    assert "Nothing broke: case capital is no worse with the newest docs/answer than" in done.stdout
    for more, said in ((("--good", ""), "--good names nothing"), (("--variant", "code"), "no prompt, so no history")):
        done = llmops(*arguments, *more, cwd=project.top)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr and done.stderr.count("\n") == 1


def test_the_command_line_when_it_can_t_tell(project: Project, llmops: Callable[..., Any]) -> None:
    commits = project.history(RIGHT, "SAY {{ oops", WRONG)
    done = llmops("bisect", "suite.yaml", "--case", "capital", "--metric", "exact_match", cwd=project.top)
    assert done.returncode == 3, done.stderr
    assert "Case capital broke at one of these" in done.stdout
    assert f"Skipped {commits[1][:10]}" in done.stdout
    done = llmops(
        "bisect", "suite.yaml", "--case", "capital", "--metric", "exact_match", "--bad", "HEAD~1", cwd=project.top
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--bad HEAD~1: template: " in done.stderr
    project.write("docs/answer.prompt.md", "system:\nFAIL 500\n\nuser:\n{{ question }}\n")
    done = llmops("bisect", "suite.yaml", "--case", "capital", "--metric", "exact_match", cwd=project.top)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].endswith("run it again: what has been answered is kept and costs nothing")


class Told:
    """A probe whose answers are given; counts what is asked for."""

    def __init__(self, scores: dict[str, float | None], cached: set[str]) -> None:
        self.scores = scores
        self.cached = cached
        self.asked: list[str] = []

    def known(self, version: Version) -> Answered | None:
        known = version.commit in self.cached and self.scores[version.commit] is not None
        return self._answer(version) if known else None

    def ask(self, version: Version) -> Answered:
        self.asked.append(version.commit)
        return self._answer(version)

    def _answer(self, version: Version) -> Answered:
        score = self.scores[version.commit]
        return Answered(score, problem=UnscoredError("no score") if score is None else None)


class Straight(Search):
    """A search without a repository to look for merges in."""

    def _into_branches(self, stretch: Stretch, low: int, high: int) -> tuple[Stretch, int, int]:
        return stretch, low, high


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> FilePrompt:
    path = tmp_path_factory.mktemp("prompts") / "a.prompt.md"
    path.write_text("{{ question }}", "utf-8")
    return load_prompt_file(path, path.parent)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scores=st.lists(st.sampled_from([1.0, 0.0, 0.8, 0.3, None]), max_size=40),
    named=st.booleans(),
    chance=st.randoms(use_true_random=False),
)
def test_whatever_the_history_what_is_named_lies_between_a_good_and_a_broken_version(
    prompt: FilePrompt, scores: list[float | None], named: bool, chance: random.Random
) -> None:
    """Tested before and after, nothing testable between, few questions; exact where it broke once."""
    told = [1.0, *scores, 0.0]
    line = [Version(Reference("a"), str(place), prompt=prompt) for place in range(len(told))]
    cached = {str(place) for place in range(len(told)) if chance.random() < 0.2}
    probe = Told({str(place): score for place, score in enumerate(told)}, cached)
    made = Straight(line, probe, MetricInfo("m")).run("v1" * named, "HEAD" * named, dict)  # type: ignore[arg-type]
    assert made.before is not None and made.after is not None
    before, after = int(made.before.version.commit), int(made.after.version.commit)
    assert (made.before.answered.score or 0) >= made.threshold > (made.after.answered.score or 0)
    assert (made.outcome == "found") == (after == before + 1)
    assert [int(version.commit) for version in made.suspects] == list(range(before + 1, after + 1))
    assert all(told[place] is None for place in range(before + 1, after))
    assert len(probe.asked) == len(set(probe.asked)) <= 2 + len(told).bit_length() + told.count(None)
    assert all(told[int(one)] is None for one in cached & set(probe.asked))
    for broke, fixed in made.earlier:
        assert (told[int(broke.commit)] or 0) < made.threshold <= (told[int(fixed.commit)] or 0)
        assert int(broke.commit) < int(fixed.commit) <= before
    states = [score >= made.threshold for score in told if score is not None]
    if states == sorted(states, reverse=True) and None not in told:
        assert after == states.index(False)


def test_lineage_reads_each_change_once(project: Project) -> None:
    project.history(*(f"SAY {number}" for number in range(4)))
    for number in range(3):
        project.write("docs/other.prompt.md", f"Other {number}")
        project.commit(f"Other {number}")
    head = project.git("rev-parse", "HEAD")
    versions = lineage(project.prompts, Reference("docs/answer"), head)
    assert [version.subject for version in versions] == [f"Edit {number}" for number in range(4)]
    assert len({version.content_id for version in versions}) == 4
    project.git("rm", "-q", "prompts/docs/answer.prompt.md")
    project.commit("Delete")
    project.say("SAY 9", "Back")
    head = project.git("rev-parse", "HEAD")
    versions = lineage(project.prompts, Reference("docs/answer"), head)
    assert [version.subject for version in versions] == [*(f"Edit {number}" for number in range(4)), "Back"]
