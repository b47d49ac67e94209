"""`llmops prompt …` as its users meet it: what is printed where, exit codes, narrow terminals and pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import clean_environment

PROMPT = """---
description: Answers.
parameters: {temperature: 0}
inputs:
  question: {type: string, example: How long?}
  count: {type: integer, default: 3}
  tags: {type: array, default: []}
---
system:
Give {{ count }} answers.
{% include "_style.md" %}

user:
{{ question }} {{ tags | join(", ") }}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "prompts"
    (root / "docs").mkdir(parents=True)
    (tmp_path / "llmops.yaml").write_text("", "utf-8")
    (root / "docs/answer.prompt.md").write_text(PROMPT, "utf-8")
    (root / "docs/_style.md").write_text("Be brief.\n", "utf-8")
    return tmp_path


def test_ls_show_and_render(project, llmops):
    def run(*words: str) -> str:
        done = llmops(*words, cwd=project)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "docs/answer  -               never released" in run("prompt", "ls")
    run("prompt", "release", "docs/answer")
    run("prompt", "promote", "docs/answer", "--to", "production", "--by", "Ann")
    (project / "prompts/docs/_style.md").write_text("Be long.\n", "utf-8")
    [row] = json.loads(run("prompt", "ls", "--json"))["prompts"]
    assert row.pop("content_id")
    assert row == {
        "name": "docs/answer", "version": 1, "labels": {"production": "1"}, "changed": True,
        "state": "changed since production (1)",
    }  # fmt: skip
    shown = json.loads(run("prompt", "show", "docs/answer@production", "--json"))
    assert (shown["version"], shown["label"], shown["parameters"]) == (1, "production", {"temperature": 0})
    assert shown["messages"][0]["content"].endswith("Be brief.")
    assert 'input question: {type: string, example: "How long?"}' in run("prompt", "show", "docs/answer")
    messages = json.loads(
        run("prompt", "render", "docs/answer", "-v", "question=a=b", "-v", "count=2", "-v", "tags=[x, y]", "--json")
    )
    assert messages == [
        {"role": "system", "content": "Give 2 answers.\nBe long."}, {"role": "user", "content": "a=b x, y"},
    ]  # fmt: skip
    assert "How long?" in run("prompt", "render", "docs/answer", "--examples")
    assert "[-brief-]{+long+}" in run("prompt", "diff", "docs/answer")
    assert json.loads(run("prompt", "diff", "docs/answer@1", "docs/answer", "--json"))["breaking"] == []
    assert "```diff" in run("prompt", "diff", "docs/answer", "--markdown")
    log = json.loads(run("prompt", "log", "docs/answer", "--json"))
    assert [entry["events"] for entry in log["entries"]] == [["production → 1"], ["released 1"]]
    assert "no git history" in log["note"]
    source = subprocess.run(
        [sys.executable, "-m", "llmops", "prompt", "show", "docs/answer", "--source"],
        cwd=project, env=clean_environment(), capture_output=True, check=True,
    )  # fmt: skip
    assert source.stdout == PROMPT.encode()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "docs/anser"], "did you mean 'docs/answer'"),
        (["show", "docs/answer@2"], "never released; llmops prompt release docs/answer"),
        (["show", "docs/answer@git:main"], "git"),
        (["render", "docs/answer"], "needs 'question'"),
        (["render", "docs/answer", "-v", "question"], "is no NAME=VALUE"),
        (["render", "docs/answer", "-v", "question=x", "-v", "count=two"], "count is string, not integer"),
        (["render", "docs/answer", "-v", "qestion=x"], "did you mean 'question'"),
        (["render", "docs/answer", "--case", "1"], "no suite uses docs/answer; give --dataset"),
        (["release"], "which prompts?"),
        (["release", "docs/answer@1"], "write the name alone"),
        (["promote", "docs/answer", "--to", "production"], "never released"),
        (["promote", "docs/answer"], "Missing option '--to'"),
        (["rollback", "docs/answer"], "never released"),
        (["route", "docs/answer", "production", "--to", "live"], "is no LABEL=PERCENT"),
        (["route", "docs/answer", "1=100", "--to", "live"], "never released"),
        (["diff", "docs/answer"], "never released"),
        (["log", "docs/other"], "no prompt 'docs/other'"),
        (["import", "nothing.json"], "can't be read"),
        (["export", "docs/answer", "--to", "word"], "langchain"),
        (["types", "--output", "types.txt"], "is no Python module"),
    ],
)
def test_wrong_input_is_one_line(project, llmops, words, says):
    done = llmops("prompt", *words, cwd=project)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (project / "prompts/releases").exists()


def test_check_says_what_is_wrong_and_exits_with_2(project, llmops):
    assert llmops("prompt", "check", cwd=project).stdout == "1 prompt, 0 releases, 0 labels: all sound\n"
    (project / "prompts/plain.prompt.md").write_text("Hello {{ name }}\n", "utf-8")
    done = llmops("prompt", "check", cwd=project)
    assert done.returncode == 0
    assert "warning: prompts/plain.prompt.md:1: name is not declared" in done.stdout
    assert llmops("prompt", "check", "--strict", cwd=project).returncode == 2
    (project / "prompts/broken.prompt.md").write_text("---\nmodle: x\n---\nHello\n", "utf-8")
    done = llmops("prompt", "check", "--json", cwd=project)
    assert done.returncode == 2
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert [(one["rule"], one["level"]) for one in report["problems"]] == [
        ("prompt", "error"),
        ("undeclared", "warning"),
    ]
    assert llmops("prompt", "check", cwd=project / "prompts").returncode == 2  # from any folder of the project
    listed = llmops("prompt", "ls", cwd=project).stdout
    assert "broken: prompts/broken.prompt.md:2: no key is called 'modle'" in listed


def test_release_all_goes_on_after_a_broken_prompt(project, llmops):
    (project / "prompts/broken.prompt.md").write_text("{{ nope\n", "utf-8")
    done = llmops("prompt", "release", "--all", cwd=project)
    assert done.returncode == 2
    assert "docs/answer: released version 1" in done.stdout
    assert "1 released, 0 unchanged" in done.stdout
    assert "prompts/broken.prompt.md:1" in done.stderr


def test_text_from_files_can_t_drive_a_terminal(project, llmops):
    hostile = '---\ndescription: "\\e[31mred"\nowner: "a\\u202eb"\n---\n\x1b]0;title\x07Hello [bold]x[/bold]\n'
    (project / "prompts/evil.prompt.md").write_text(hostile, "utf-8")
    for words in (["show", "evil"], ["render", "evil"], ["ls"], ["diff", "evil", "docs/answer"], ["check"]):
        out = llmops("prompt", *words, cwd=project)
        assert "\x1b" not in out.stdout + out.stderr, words
        assert "\u202e" not in out.stdout + out.stderr, words
    assert "[bold]x[/bold]" in llmops("prompt", "render", "evil", cwd=project).stdout


def test_types_are_written_and_checked(project, llmops):
    llmops("prompt", "release", "docs/answer", cwd=project)
    done = llmops("prompt", "types", "--output", "app/prompts.py", cwd=project)
    assert (done.returncode, done.stderr) == (0, "wrote app/prompts.py\n")
    text = (project / "app/prompts.py").read_text("utf-8")
    assert '"docs/answer@1"' in text
    assert llmops("prompt", "types", "--output", "app/prompts.py", "--check", cwd=project).returncode == 0
    use = "import app.prompts as p; print(p.load_prompt('docs/answer@1').render(question='a')[1]['content'])"
    ran = subprocess.run(
        [sys.executable, "-c", use], cwd=project, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert ran.stdout == "a \n"
    edited = PROMPT.replace("count", "number")
    (project / "prompts/docs/answer.prompt.md").write_text(edited, "utf-8")
    done = llmops("prompt", "types", "--output", "app/prompts.py", "--check", cwd=project)
    assert done.returncode == 2
    assert "is out of date" in done.stderr


def test_imports_list_what_is_lost_and_replace_nothing(project, llmops):
    messages = [{"role": "system", "content": "Be kind to {{name}}."}, {"role": "tool", "content": "x"}]
    (project / "chat.json").write_text(json.dumps({"messages": messages, "logit_bias": {"1": 2}}), "utf-8")
    dry = llmops("prompt", "import", "chat.json", "--name", "support/chat", "--dry-run", cwd=project)
    assert "Be kind to {{ name }}." in dry.stdout or "Be kind to {{name}}." in dry.stdout
    assert "not carried over" in dry.stderr
    assert not (project / "prompts/support").exists()
    done = llmops("prompt", "import", "chat.json", "--name", "support/chat", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "wrote prompts/support/chat.prompt.md" in done.stderr
    assert llmops("prompt", "render", "support/chat", "-v", "name=Bo", cwd=project).returncode == 0
    again = llmops("prompt", "import", "chat.json", "--name", "support/chat", cwd=project)
    assert (again.returncode, "there is a prompt support/chat already" in again.stderr) == (2, True)
    for name in ("../x", "releases/x", "a@1", "/etc/x", "_x", "a//b"):
        assert llmops("prompt", "import", "chat.json", "--name", name, cwd=project).returncode == 2, name
    out = llmops("prompt", "export", "support/chat", "--to", "openai", cwd=project)
    assert json.loads(out.stdout)


def test_shells_complete_names_and_versions(project, llmops):
    def completed(words: str) -> list[str]:
        environment = {"_LLMOPS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "3"}
        command = [str(Path(sys.executable).with_name("llmops"))]
        done = subprocess.run(
            command, cwd=project, env=clean_environment(**environment), capture_output=True, text=True
        )
        return done.stdout.split()

    llmops("prompt", "release", "docs/answer", cwd=project)
    assert completed("llmops prompt show do") == ["docs/answer"]
    assert completed("llmops prompt show docs/answer@") == ["docs/answer@1", "docs/answer@latest"]
    assert completed("llmops prompt show x") == []


def test_secrets_conflicts_and_misspelt_roles_are_found_wherever_they_are(project, llmops):
    prompts = project / "prompts"
    secret = "sk-proj-" + "aB3dE5" * 8 + "x7Q"
    (prompts / "docs/_style.md").write_text(f"Be brief.\nUse {secret}\n", "utf-8")
    (prompts / "docs/_shots.jsonl").write_text('{"user": "a", "assistant": "' + secret + '"}\n', "utf-8")
    (prompts / "shots.prompt.md").write_text("---\nfew_shot: docs/_shots.jsonl\n---\nHello\n", "utf-8")
    (prompts / "odd.prompt.md").write_text("system:\nBe kind.\n\nusr:\nHello\n", "utf-8")
    (prompts / "torn.prompt.md").write_text("Hello\n<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n", "utf-8")
    said = llmops("prompt", "check", cwd=project).stdout
    assert secret not in said
    for line in (
        "prompts/docs/_style.md:2: holds what looks like an OpenAI API key",
        "prompts/docs/_shots.jsonl:1: holds what looks like an OpenAI API key",
        "warning: prompts/odd.prompt.md:4: usr: starts no message",
        "prompts/torn.prompt.md:2: a merge conflict is left in it",
    ):
        assert line in said
    refused = llmops("prompt", "release", "docs/answer", cwd=project)
    assert refused.returncode == 2
    assert "_style.md:2" in refused.stderr


def test_an_empty_reference_to_compare_with_is_refused(project, llmops):
    for flag in ("--against", "--changed"):
        done = llmops("eval", "suite.yaml", flag, "", cwd=project)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"{flag} names nothing" in done.stderr


def test_a_closed_pipe_is_no_failure_of_a_gate(project):
    long = "\n".join(f"line {i}" for i in range(15_000))
    (project / "prompts/long.prompt.md").write_text(long + "\n", "utf-8")
    for words in ("show long", "render long"):
        script = f"{sys.executable} -m llmops prompt {words} | head -1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=project, env=clean_environment(), capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] in ("0", "141"), words
