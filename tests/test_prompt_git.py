"""Prompt references and `prompt log` in every shape a git repository comes in, and prompts in two branches."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gitrepo import ENVIRONMENT, INHERITED, ISOLATED, Repository, git, untouched
from llmops import git as asking
from llmops.errors import LlmopsError
from llmops.prompts.checking import check_store
from llmops.prompts.history import History, history
from llmops.prompts.store import PromptStore
from llmops.prompts.trees import RevisionTree, WorkTree

NAME = "docs/answer"
FILE = "docs/answer.prompt.md"
ONE, TWO, THREE = "Say one.", "Say two.", "Say three."


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ.keys() - INHERITED.keys():
        monkeypatch.delenv(name)
    for name, value in ISOLATED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


def tell(repository: Repository) -> Repository:
    """Version 1 in production (tag v1), version 2 after it, and an edit that was never released."""
    repository.write(FILE, ONE)
    repository.release(NAME)
    repository.promote(NAME)
    repository.commit("One")
    repository.git("tag", "v1")
    repository.write(FILE, TWO)
    repository.release(NAME)
    repository.commit("Two")
    repository.write(FILE, THREE)
    repository.commit("Three")
    return repository


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return tell(Repository.new(tmp_path_factory.mktemp("told") / "shop"))


@pytest.fixture
def shop(told: Repository, tmp_path: Path) -> Repository:
    """A repository of the test's own that tells this story."""
    shutil.copytree(told.top, tmp_path / "shop", symlinks=True)
    return Repository(tmp_path / "shop")


def forms(repository: Repository, sha: str) -> dict[str, str]:
    """Every form of reference, and what it leads to where all of the story is at hand. `sha` is of the commit Two."""
    first = PromptStore(repository.prompts).load(f"{NAME}@1").content_id
    return {
        NAME: THREE,
        f"{NAME}@1": ONE,
        f"{NAME}@2": TWO,
        f"{NAME}@production": ONE,
        f"{NAME}@latest": TWO,
        f"{NAME}@{first[:12]}": ONE,
        f"{NAME}@{first}": ONE,
        f"{NAME}@git:main": THREE,
        f"{NAME}@git:HEAD": THREE,
        f"{NAME}@git:HEAD~1": TWO,
        f"{NAME}@git:v1": ONE,
        f"{NAME}@git:{sha}": TWO,
        f"{NAME}@git:{sha[:8]}": TWO,
        f"{NAME}@production@git:main": ONE,
        f"{NAME}@2@git:{sha}": TWO,
        f"{NAME}@latest@git:v1": ONE,
        f"{NAME}@{first[:12]}@git:main": ONE,
    }


def assert_forms(repository: Repository, sha: str, differently: Mapping[str, str] | None = None) -> None:
    """All forms lead where they should; those named in `differently` to that text, or an error that it matches."""
    expected = forms(repository, sha) | {f"{NAME}{form}": text for form, text in (differently or {}).items()}
    for reference, text in expected.items():
        said = repository.outcome(reference)
        assert said == text or re.fullmatch(text, said), (reference, said, text)


def events(found: History) -> list[tuple[str, ...]]:
    return [entry.events for entry in found.entries]


STORY = [("edited",), ("edited", "released 2"), ("added", "released 1", "production → 1")]


def told_by(repository: Repository) -> list[tuple[str, ...]]:
    """The log, as sets of events in a fixed order."""
    found = history(repository.prompts, NAME)
    order = ["edited", "added", "released 1", "released 2", "released 3", "production → 1"]
    return [tuple(sorted(one, key=lambda event: order.index(event) if event in order else 99)) for one in events(found)]


# Every form of reference, in every kind of repository


def test_every_form_leads_to_its_bytes_and_nothing_is_touched(shop: Repository) -> None:
    sha = shop.git("rev-parse", "HEAD~1")
    shop.write("docs/new.prompt.md", "Not committed.")
    shop.write("releases/labels.yaml", f"{NAME}:\n  production: 2\n")
    shop.git("add", "prompts/docs/new.prompt.md")
    os.utime(shop.prompts / FILE, (1, 1))  # git would like to look at it again, and note that it did
    with untouched(shop.top):
        assert_forms(shop, sha, {"@production": TWO})
        assert RevisionTree(shop.prompts, "v1").read(FILE) == ONE.encode()
    for reference, text in forms(shop, sha).items():
        prompt = PromptStore(shop.prompts).load(reference)
        assert prompt.reference.partition("@")[0] == NAME
        assert text in (ONE, TWO, THREE)
        if "@git:" in reference:
            assert prompt.revision == reference.partition("@git:")[2]


def test_releases_have_the_same_bytes_on_disk_and_in_git(shop: Repository) -> None:
    on_disk, in_git = WorkTree(shop.prompts), RevisionTree(shop.prompts, "HEAD")
    names = {*on_disk.files("releases")}
    assert (
        names
        == {*in_git.files("releases")}
        == {f"releases/{NAME}/1.prompt.md", f"releases/{NAME}/2.prompt.md", "releases/labels.yaml"}
    )
    for name in names:
        assert on_disk.read(name) == in_git.read(name)


def test_the_log_tells_the_story(shop: Repository) -> None:
    assert told_by(shop) == STORY
    found = history(shop.prompts, NAME)
    assert [entry.subject for entry in found.entries] == ["Three", "Two", "One"]
    assert {entry.author for entry in found.entries} == {"Ann"}
    assert found.note == ""
    assert events(history(shop.prompts, NAME, limit=1)) == [("edited",)]
    shop.write(FILE, "Say four.")
    shop.release(NAME)
    shop.promote(NAME, version=2)
    assert events(history(shop.prompts, NAME))[0] == ("edited", "released 3", "production → 2")


def test_the_log_follows_a_rename_and_not_what_took_the_old_name(shop: Repository) -> None:
    shop.git("mv", f"prompts/{FILE}", "prompts/docs/reply.prompt.md")
    shop.commit("Rename")
    shop.write(FILE, "Another prompt.")
    shop.commit("Another")
    shop.write("docs/reply.prompt.md", THREE + " Please.")
    shop.commit("Polite")
    assert events(history(shop.prompts, "docs/reply")) == [
        ("edited",),
        ("moved",),
        ("edited",),
        ("edited",),
        ("added",),
    ]


def test_a_squash_merge(shop: Repository, tmp_path: Path) -> None:
    sha = shop.git("rev-parse", "HEAD~1")
    shop.git("checkout", "--quiet", "-b", "feature")
    for text in ("Say four.", "Say five."):
        shop.write(FILE, text)
        gone = shop.commit(text)
    shop.release(NAME)
    shop.promote(NAME)
    shop.commit("Release")
    shop.git("checkout", "--quiet", "main")
    shop.git("merge", "--squash", "--quiet", "feature")
    shop.git("commit", "--quiet", "-m", "Five (#1)")
    shop.git("branch", "-D", "feature")
    changed = {"": "Say five.", "@git:main": "Say five.", "@git:HEAD": "Say five.", "@git:HEAD~1": THREE}
    changed |= {"@production": "Say five.", "@latest": "Say five.", "@production@git:main": "Say five."}
    assert_forms(shop, sha, {**changed, "@3": "Say five.", f"@git:{gone}": "Say five."})
    assert told_by(shop) == [("edited", "released 3", "production → 3"), *STORY]
    git(tmp_path, "clone", "--quiet", shop.top.as_uri(), "clone")
    clone = Repository(tmp_path / "clone")
    said = f"app.py:1: git knows no revision '{gone}'; git fetch origin {gone} brings it, unless it was squashed.*"
    assert_forms(clone, sha, {**changed, f"@git:{gone}": said})
    assert check_store(clone.prompts).problems == []


def test_a_rebase(shop: Repository) -> None:
    sha = shop.git("rev-parse", "HEAD~1")
    shop.git("checkout", "--quiet", "-b", "feature", "HEAD~1")
    shop.write(FILE, "Say two, twice.")
    shop.release(NAME)
    shop.promote(NAME)
    before = shop.commit("Twice")
    shop.git("checkout", "--quiet", "main")
    shop.write("docs/other.prompt.md", "Other.")
    shop.release("docs/other")
    shop.promote("docs/other")
    shop.write(FILE, TWO)
    shop.commit("Back to two, and another")
    shop.git("rebase", "--quiet", "main", "feature")
    assert shop.git("rev-parse", "HEAD") != before
    now = "Say two, twice."
    changed = {
        "": now,
        "@git:HEAD": now,
        "@production": now,
        "@latest": now,
        "@3": now,
        "@git:main": TWO,
        "@git:HEAD~1": TWO,
    }
    assert_forms(shop, sha, {**changed, "@production@git:HEAD": now, f"@git:{before}": now})
    assert told_by(shop)[:2] == [("edited", "released 3", "production → 3"), ("edited",)]
    assert shop.outcome("docs/other@production") == "Other."
    assert check_store(shop.prompts).problems == []


def test_a_shallow_clone_says_which_fetch_brings_what_and_that_fetch_does(shop: Repository, tmp_path: Path) -> None:
    sha = shop.git("rev-parse", "HEAD~1")
    shop.git("config", "uploadpack.allowAnySHA1InWant", "true")  # as GitHub and GitLab do
    shop.git("branch", "feature", "HEAD~1")
    missing = {
        "@git:HEAD~1": ("git fetch --depth=2", "@git:HEAD~1", TWO),
        "@git:main~2": ("git fetch --depth=3", "@git:main~2", ONE),
        "@git:HEAD^^": ("git fetch --depth=3", "@git:HEAD^^", ONE),
        "@git:v1": ("git fetch --depth=1 origin tag v1", "@git:v1", ONE),
        f"@git:{sha}": (f"git fetch --depth=1 origin {sha}", f"@git:{sha}", TWO),
        f"@git:{sha[:8]}": ("git fetch --unshallow", f"@git:{sha[:8]}", TWO),
        "@git:feature": ("git fetch --depth=1 origin feature:refs/remotes/origin/feature", "@git:origin/feature", TWO),
        "@git:origin/feature": (
            "git fetch --depth=1 origin feature:refs/remotes/origin/feature", "@git:origin/feature", TWO,
        ),
        "@git:origin/feature~1": (
            "git fetch --depth=2 origin feature:refs/remotes/origin/feature", "@git:origin/feature~1", ONE,
        ),
    }  # fmt: skip
    git(tmp_path, "clone", "--quiet", "--depth=1", shop.top.as_uri(), "template")
    present = [NAME, *(f"{NAME}@{version}" for version in ("1", "2", "production", "latest"))]
    present += [f"{NAME}@git:{revision}" for revision in ("main", "HEAD", "origin/main")]
    for number, (form, (command, then, text)) in enumerate(missing.items()):
        top = tmp_path / f"clone{number}"
        shutil.copytree(tmp_path / "template", top)
        clone = Repository(top)
        said = clone.outcome(NAME + form)
        assert said.startswith("app.py:1: git knows no revision"), said
        assert "this is a shallow clone" in said, said
        assert command in said, said
        git(top, *shlex.split(command)[1:], "--quiet")
        assert clone.outcome(NAME + then) == text, form
        assert {clone.outcome(reference) for reference in present} == {ONE, TWO, THREE}
    clone = Repository(tmp_path / "template")
    assert clone.outcome(f"{NAME}@production@git:main") == ONE
    found = history(clone.prompts, NAME)
    assert "git fetch --unshallow" in found.note
    assert [{*one} for one in events(found)] == [{"added", "production → 1", "released 1", "released 2"}]
    clone.git("fetch", "--quiet", "--unshallow")
    assert told_by(clone) == STORY
    assert history(clone.prompts, NAME).note == ""


def test_a_detached_head(shop: Repository) -> None:
    sha = shop.git("rev-parse", "HEAD~1")
    shop.git("checkout", "--quiet", "--detach", "HEAD~1")
    assert_forms(shop, sha, {"": TWO, "@git:HEAD": TWO, "@git:HEAD~1": ONE})
    assert told_by(shop) == STORY[1:]


def test_a_linked_work_tree_of_a_bare_repository_and_the_repository_itself(shop: Repository, tmp_path: Path) -> None:
    sha = shop.git("rev-parse", "HEAD~1")
    git(tmp_path, "clone", "--quiet", "--bare", str(shop.top), "shop.git")
    git(tmp_path / "shop.git", "worktree", "add", "--quiet", "-b", "mine", str(tmp_path / "linked"), "main")
    linked = Repository(tmp_path / "linked")
    with untouched(linked.top):
        assert_forms(linked, sha)
    assert told_by(linked) == STORY
    bare = Repository(tmp_path / "shop.git")
    on_disk = f"app.py:1: no prompt '{NAME}'; there is no folder {bare.prompts}"
    for reference, text in forms(linked, sha).items():
        assert bare.outcome(reference) == (text if "@git:" in reference else on_disk)
    git(tmp_path / "shop.git", "symbolic-ref", "HEAD", "refs/heads/none")
    assert bare.outcome(f"{NAME}@git:main") == THREE
    assert "git knows no revision 'HEAD'" in bare.outcome(f"{NAME}@git:HEAD")


def test_a_submodule_that_holds_the_prompts(tmp_path: Path) -> None:
    source = tell(Repository.new(tmp_path / "source", "."))
    sha = source.git("rev-parse", "HEAD~1")
    above = Repository.new(tmp_path / "app")
    above.git("submodule", "--quiet", "add", source.top.as_uri(), "prompts")
    commit = above.commit("Add the prompts")
    with untouched(above.prompts):
        assert_forms(above, sha, {f"@git:{commit}": ".*this is a submodule: name one of its own revisions"})
    assert told_by(above) == STORY
    assert check_store(above.prompts).problems == []

    git(tmp_path, "clone", "--quiet", above.top.as_uri(), "clone")
    clone = Repository(tmp_path / "clone")
    assert "there are no .prompt.md files in" in clone.outcome(NAME)
    assert clone.outcome(f"{NAME}@git:main") == (
        "app.py:1: prompts is a submodule at main; git submodule update --init, then name a revision of the submodule"
    )
    clone.git("submodule", "--quiet", "update", "--init")
    assert_forms(clone, sha)


@pytest.mark.parametrize("place", [".", "services/answer ünit/prompts"])
def test_a_prompts_folder_that_is_elsewhere_in_the_repository(tmp_path: Path, place: str) -> None:
    repository = tell(Repository.new(tmp_path / "shop", place))
    sha = repository.git("rev-parse", "HEAD~1")
    with untouched(repository.top):
        assert_forms(repository, sha)
    assert told_by(repository) == STORY
    (tmp_path / "link").symlink_to(repository.top)
    through = Repository(tmp_path / "link", place)
    assert_forms(through, sha)
    assert told_by(through) == STORY


def fallen_back(found: History) -> bool:
    return events(found) == [("production → 1",), ("released 2",), ("released 1",)]


@pytest.mark.parametrize("without", ["repository", "git"])
def test_no_repository_and_no_git(
    shop: Repository, tmp_path: Path, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = forms(shop, shop.git("rev-parse", "HEAD~1"))
    if without == "git":
        monkeypatch.setenv("PATH", str(tmp_path))
        said = "the program git isn't installed"
    else:
        shutil.rmtree(shop.top / ".git")
        said = f"{shop.prompts} is not in a git repository"
    for reference, text in expected.items():
        assert shop.outcome(reference) == (f"app.py:1: {said}" if "@git:" in reference else text)
    found = history(shop.prompts, NAME)
    assert found.note == f"no git history: {said}"
    assert fallen_back(found)
    assert found.entries[0].author == "Ann"
    assert check_store(shop.prompts).problems == []
    shop.write(FILE, "Say four.")
    shop.release(NAME)
    assert shop.promote(NAME).new == 3


def test_a_repository_without_commits(shop: Repository) -> None:
    expected = forms(shop, shop.git("rev-parse", "HEAD~1"))
    shutil.rmtree(shop.top / ".git")
    shop.git("init", "--quiet", "--initial-branch=main")
    for staged in (False, True):
        if staged:
            shop.git("add", "--all")
        for reference, text in expected.items():
            said = shop.outcome(reference)
            if "@git:" in reference:
                revision = reference.partition("@git:")[2]
                assert said == f"app.py:1: git knows no revision '{revision}'; this repository has no commits yet"
            else:
                assert said == text
        found = history(shop.prompts, NAME)
        assert fallen_back(found)
        assert found.note.startswith("no git history: ")
    shop.commit("All at once")
    assert told_by(shop) == [("added", "released 1", "released 2", "production → 1")]


def test_prompts_that_git_ignores_have_a_history_from_their_files(shop: Repository) -> None:
    shop.git("rm", "-r", "--cached", "--quiet", "prompts")
    shutil.rmtree(shop.top / ".git")
    shop.git("init", "--quiet", "--initial-branch=main")
    (shop.top / ".gitignore").write_text("prompts/\n")
    shop.commit("Without prompts")
    found = history(shop.prompts, NAME)
    assert fallen_back(found)
    assert found.note == f"no git history: no commit holds {NAME}"
    assert shop.outcome(f"{NAME}@git:main") == f"app.py:1: no prompt '{NAME}' at main"


def test_branches_named_like_labels_and_versions(shop: Repository) -> None:
    sha = shop.git("rev-parse", "HEAD~1")
    first = PromptStore(shop.prompts).load(f"{NAME}@1").content_id
    for name in ("production", "latest", "1", first[:12], "working", "git"):
        shop.git("branch", name, "HEAD~1")
    shop.git("tag", "main", "v1")  # a tag goes before a branch of the same name, as in git itself
    both = {f"@git:{name}": TWO for name in ("production", "latest", "1", first[:12], "working", "git")}
    assert_forms(shop, sha, {**both, "@git:main": ONE, "@git:refs/heads/main": THREE})
    assert shop.outcome(f"{NAME}@production@git:production") == ONE


NAMES = [
    "with space",
    "ünï çödé 文字 🙂",
    "it's 'quoted'",
    "back`tick$(dollar)",
    "star*[a-z]?",
    ":(top)colon",
    ":!not",
    "-dash",
    "a/b/c/deep",
    "#hash",
    "{curly: brackets}",
]


@pytest.mark.parametrize("place", ["prompts", "."])
def test_names_that_git_or_a_shell_could_take_for_something_else(tmp_path: Path, place: str) -> None:
    repository = Repository.new(tmp_path / "shop", place)
    for name in NAMES:
        repository.write(f"{name}.prompt.md", f"I am {name.split()[0]}.")
        repository.write(f"{name} too.prompt.md", "Not I.")
        repository.release(name)
        repository.promote(name)
    sha = repository.commit("All")
    for name in NAMES:
        for version in ("", "@1", "@production", "@latest"):
            for revision in ("", "@git:main", f"@git:{sha}", "@git:HEAD"):
                assert repository.outcome(name + version + revision) == f"I am {name.split()[0]}.", name
        found = history(repository.prompts, name)
        assert {*events(found)[0]} == {"added", "released 1", "production → 1"}, name
    assert check_store(repository.prompts).problems == []
    assert PromptStore(repository.prompts, "main").names() == PromptStore(repository.prompts).names()
    for name in ('say "please"', "new\nline"):  # no names for a release, and no trouble either
        repository.write(f"{name}.prompt.md", f"I am {name}.")
    repository.write("starring.prompt.md", "1")
    repository.write("stara.prompt.md", "1")
    repository.commit("Names that a pattern would match")
    assert len(history(repository.prompts, "star*[a-z]?").entries) == 1
    for name in ('say "please"', "new\nline"):
        assert repository.outcome(f"{name}@git:main") == repository.outcome(name) == f"I am {name}."
        assert len(history(repository.prompts, name).entries) == 1
        with pytest.raises(LlmopsError, match="can't be a prompt's name"):
            repository.release(name)


def test_links_in_git_lead_where_links_on_disk_do(shop: Repository) -> None:
    (shop.prompts / "docs" / "same.prompt.md").symlink_to("answer.prompt.md")
    (shop.prompts / "alias").symlink_to("docs")
    (shop.prompts / "docs" / "far.prompt.md").symlink_to("../alias/same.prompt.md")
    (shop.prompts / "gone.prompt.md").symlink_to("nothing.prompt.md")
    (shop.prompts / "circle.prompt.md").symlink_to("circle.prompt.md")
    shop.commit("Links")
    for name in ("docs/same", "alias/answer", "alias/same", "docs/far"):
        assert shop.outcome(name) == shop.outcome(f"{name}@git:HEAD") == THREE
    assert "no prompt 'gone'" in shop.outcome("gone@git:HEAD")
    assert "circle.prompt.md is a link that leads to itself" in shop.outcome("circle@git:HEAD")
    assert events(history(shop.prompts, "docs/same"))[0] == ("added",)


@pytest.mark.parametrize("setting", ["core.autocrlf", ".gitattributes"])
def test_windows_line_ends(tmp_path: Path, setting: str) -> None:
    text = "---\ndescription: Two lines.\n---\nsystem:\nOne.\n\nuser:\n{{ question }}\nTwo.\n"
    unix = Repository.new(tmp_path / "unix")
    if setting == ".gitattributes":
        (unix.top / ".gitattributes").write_text("* text=auto\n*.md text eol=crlf\n*.yaml text eol=crlf\n")
    unix.write(FILE, text)
    unix.release(NAME)
    unix.promote(NAME)
    unix.commit("One")
    config = ["-c", "core.autocrlf=true"] if setting == "core.autocrlf" else []
    git(tmp_path, *config, "clone", "--quiet", *config, unix.top.as_uri(), "windows")
    windows = Repository(tmp_path / "windows")
    assert b"\r\n" in (windows.prompts / FILE).read_bytes()
    release = f"releases/{NAME}/1.prompt.md"
    assert (windows.prompts / release).read_bytes() == (unix.prompts / release).read_bytes()
    assert [problem.rule for problem in check_store(windows.prompts).problems] == ["undeclared"]
    store, ids = PromptStore(windows.prompts), set()
    for version in ("", "@1", "@production", "@latest", "@git:main", "@production@git:HEAD"):
        prompt = store.load(NAME + version)
        assert prompt.texts == (("system", "One."), ("user", "{{ question }}\nTwo."))
        ids.add(prompt.content_id)
    assert len(ids) == 1
    windows.release(NAME)
    assert store.versions(NAME) == [1]
    assert windows.git("status", "--porcelain") == ""

    windows.write(FILE, text.replace("Two.", "Three.").replace("\n", "\r\n"))
    windows.release(NAME)
    windows.promote(NAME)
    windows.commit("Two")
    assert windows.git("show", "--numstat", "--format=").splitlines()[-1] == "1\t1\tprompts/releases/labels.yaml"
    unix.git("pull", "--quiet", windows.top.as_uri(), "main")
    for clone in (unix, windows):
        assert [problem.rule for problem in check_store(clone.prompts).problems] == ["undeclared"]
    assert PromptStore(unix.prompts).load(f"{NAME}@2").content_id == PromptStore(unix.prompts).load(NAME).content_id
    assert PromptStore(unix.prompts).load(f"{NAME}@production").version == 2


def test_releases_stay_sound_where_git_changed_their_line_ends(shop: Repository) -> None:
    for path in [*(shop.prompts / "releases").rglob("*.prompt.md"), shop.prompts / "releases" / "labels.yaml"]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert [problem for problem in check_store(shop.prompts).problems if problem.level == "error"] == []
    assert shop.outcome(f"{NAME}@production") == ONE


def test_a_skill_is_sound_in_every_clone_and_tells_its_history(tmp_path: Path) -> None:
    repository = Repository.new(tmp_path / "shop")
    text = "---\nname: reader\ndescription: Reads files when asked for what they say.\n---\n\nRead it.\n"
    repository.write("tools/reader/SKILL.md", text)
    repository.write("tools/reader/scripts/read.sh", "#!/bin/sh\ncat\n")
    (repository.prompts / "tools/reader/scripts/read.sh").chmod(0o755)
    repository.release("tools/reader")
    repository.promote("tools/reader")
    repository.commit("One")
    repository.write("tools/reader/SKILL.md", text + "Twice.\n")
    repository.release("tools/reader")
    repository.commit("Two")
    for setting in ("core.autocrlf=true", "core.autocrlf=input", "core.fileMode=false"):
        git(tmp_path, "clone", "--quiet", "-c", setting, repository.top.as_uri(), setting)
        clone = Repository(tmp_path / setting)
        assert check_store(clone.prompts).problems == []
        assert [{*one} for one in events(history(clone.prompts, "tools/reader"))] == [
            {"edited", "released 2"},
            {"added", "released 1", "production → 1"},
        ]
    clone.write("tools/reader/scripts/more.sh", "true\n")
    assert events(history(clone.prompts, "tools/reader"))[0] == ("edited",)


# What a hostile repository or environment could try


@pytest.mark.parametrize(
    "revision",
    ["-x", "--output=x", "--upload-pack=touch x", "^main", "main..HEAD", "main:prompts", ":/One..Two", "@{-1}",
     "refs/heads/-x^{tree}", "HEAD^{tree}", "v1 main", "a\0b", "\n", "x" * 5000, "main^{/" + "(" * 50 + "}", "\udcff"],
)  # fmt: skip
def test_a_revision_that_is_no_commit_is_one_line(shop: Repository, revision: str) -> None:
    with untouched(shop.top):
        said = shop.outcome(f"{NAME}@git:{revision}")
    assert "git knows no revision" in said, said
    assert said.isprintable() or "\udcff" in said


def test_a_branch_that_starts_with_a_dash_is_found_by_its_whole_name(shop: Repository) -> None:
    shop.git("update-ref", "refs/heads/-x", "HEAD~1")
    assert shop.outcome(f"{NAME}@git:refs/heads/-x") == TWO


def test_links_in_git_never_lead_outside_the_folder(shop: Repository, tmp_path: Path) -> None:
    (tmp_path / "secret.prompt.md").write_text("Secret on disk.")
    (shop.top / "secret.prompt.md").write_text("Secret in git.")
    targets = {
        "up": "../secret.prompt.md",
        "absolute": str(tmp_path / "secret.prompt.md"),
        "round": "docs/../../secret.prompt.md",
        "out": "../../secret.prompt.md",
    }
    for name, target in targets.items():
        (shop.prompts / f"{name}.prompt.md").symlink_to(target)
    (shop.prompts / "top").symlink_to("..")
    shop.write("include.prompt.md", '{% include "up.prompt.md" %}')
    shop.commit("Links")
    for name in targets:
        assert "Secret" not in shop.outcome(name)
        assert shop.outcome(f"{name}@git:HEAD").endswith("is a link that leads outside the folder")
    for name in ("top/secret", "../secret", "docs/../../secret", "/secret", "./../secret", "docs/..//../secret"):
        assert "Secret" not in shop.outcome(f"{name}@git:HEAD")
    assert "leads outside the folder" in shop.outcome("include@git:HEAD")


def test_a_blob_larger_than_any_prompt_is_refused_unread(shop: Repository) -> None:
    shop.write("big.prompt.md", "x" * 300_000)
    link = subprocess.run(
        ["git", "hash-object", "-w", "--stdin"], input=b"a" * 10_000, cwd=shop.top, env=ENVIRONMENT,
        capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip
    nul = subprocess.run(
        ["git", "hash-object", "-w", "--stdin"], input=b"a\0b", cwd=shop.top, env=ENVIRONMENT,
        capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip
    shop.git("add", "--all")
    for name, blob in (("long", link), ("nul", nul)):
        shop.git("update-index", "--add", "--cacheinfo", f"120000,{blob},prompts/{name}.prompt.md")
    shop.git("commit", "--quiet", "-m", "Big")
    assert shop.outcome("big@git:HEAD").endswith("big.prompt.md is larger than 200,000 bytes")
    assert shop.outcome("long@git:HEAD").endswith("is a link that leads nowhere")
    assert shop.outcome("nul@git:HEAD").endswith("is a link that leads outside the folder")


def test_variables_of_a_git_hook_do_not_lead_elsewhere(
    shop: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = shop.git("rev-parse", "HEAD~1")
    other = Repository.new(tmp_path / "other")
    other.write(FILE, "Another.")
    other.commit("Another")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(other.top / ".git"))
    for name in ("GIT_LITERAL_PATHSPECS", "GIT_ICASE_PATHSPECS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("GIT_NAMESPACE", "elsewhere")
    assert_forms(shop, sha)
    assert told_by(shop) == STORY


def test_settings_and_messages_do_not_garble_the_log(shop: Repository) -> None:
    shop.write(FILE, "Say four.")
    subject = "a\x02b\x1b[31m:100644 100644 0000000 0000000 M " + "0" * 40
    shop.commit(subject)
    shop.write(FILE, "Say five.")
    shop.git("add", "--all")
    shop.git("commit", "--quiet", "--allow-empty-message", "-m", "", "--author=Z\x02oë <z@example.com>")
    for key, value in {
        "log.showSignature": "true", "log.showRoot": "false", "log.follow": "true", "log.date": "relative",
        "color.ui": "always", "color.diff": "always", "diff.orderFile": "nothing", "diff.relative": "true",
        "diff.noprefix": "true", "diff.renames": "false", "format.pretty": "oneline", "core.pager": "false",
        "core.quotePath": "true", "i18n.logOutputEncoding": "latin1", "log.diffMerges": "separate",
    }.items():  # fmt: skip
        shop.git("config", key, value)
    found = history(shop.prompts, NAME).entries[:2]
    assert [(entry.events, entry.subject) for entry in found] == [(("edited",), ""), (("edited",), subject)]
    assert found[0].author == "Z\x02oë"
    assert told_by(shop)[2:] == STORY


def test_another_users_repository_says_what_to_set(shop: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    said = shop.outcome(f"{NAME}@git:main")
    assert said.endswith(f"git config --global --add safe.directory {shop.top}"), said
    assert "safe.directory" in history(shop.prompts, NAME).note
    assert shop.outcome(f"{NAME}@production") == ONE


def test_the_log_is_in_order_whatever_the_clocks_said(shop: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    dates = ["2031-05-05T10:00:00+09:00", "2031-05-05T02:00:00+00:00", "2001-01-01T00:00:00-05:00"]
    for number, date in enumerate(dates):
        shop.write(FILE, f"Edit {number}.")
        shop.git("add", "--all")
        shop.git("commit", "--quiet", "-m", f"Edit {number}", f"--date={date}")
        shop.release(NAME)
        shop.promote(NAME)
        shop.commit(f"Release {number}")
    found = history(shop.prompts, NAME)
    subjects = [f"{what} {number}" for number in (2, 1, 0) for what in ("Release", "Edit")]
    assert [entry.subject for entry in found.entries] == [*subjects, "Three", "Two", "One"]


def test_a_long_history_of_others_labels_is_read_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository.new(tmp_path / "shop")
    for name in ("mine", "others"):
        repository.write(f"{name}.prompt.md", name)
        repository.release(name)
    repository.promote("mine")
    repository.promote("others")
    repository.commit("First")
    text = (repository.prompts / "releases" / "labels.yaml").read_bytes()
    stream = b"reset refs/heads/main\nfrom refs/heads/main^0\n"
    for number in range(300):
        data = text + b"# %d\n" % number
        stream += b"commit refs/heads/main\ncommitter A <a@b> %d +0000\ndata 1\nx" % (4 * 10**9 + number)
        stream += b"M 100644 inline prompts/releases/labels.yaml\ndata %d\n%s\n" % (len(data), data)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=repository.top, env=ENVIRONMENT, input=stream, check=True)
    repository.git("reset", "--hard", "--quiet")
    calls: list[str] = []
    run = asking.run
    monkeypatch.setattr(
        asking, "run", lambda folder, *words, **more: calls.append(words[0]) or run(folder, *words, **more)
    )
    assert [{*one} for one in events(history(repository.prompts, "mine"))] == [
        {"added", "released 1", "production → 1"}
    ]
    assert len(calls) < 30


# Two branches


def merged(repository: Repository, branch: str) -> str:
    """Merge a branch; the files in conflict, empty when there are none."""
    command = ["git", "merge", "--quiet", "--no-edit", branch]
    subprocess.run(command, cwd=repository.top, env=ENVIRONMENT, capture_output=True, check=False)
    return repository.git("diff", "--name-only", "--diff-filter=U")


def test_two_branches_that_release_the_same_number_conflict(shop: Repository) -> None:
    for branch, text in (("left", "Left."), ("right", "Right.")):
        shop.git("checkout", "--quiet", "-b", branch, "main")
        shop.write(FILE, text)
        shop.release(NAME)
        shop.commit(branch)
    assert f"prompts/releases/{NAME}/3.prompt.md" in merged(shop, "left").splitlines()
    assert shop.git("status", "--porcelain", f"prompts/releases/{NAME}/3.prompt.md").startswith("AA ")
    # What git left in the file is no release, and says so
    problems = [problem for problem in check_store(shop.prompts).problems if problem.rule == "release"]
    assert [problem.where.rpartition("/")[2].partition(":")[0] for problem in problems] == ["3.prompt.md"]
    assert "a merge conflict is left in it" in shop.outcome(f"{NAME}@3")
    assert shop.outcome(f"{NAME}@production") == ONE


def test_two_branches_that_release_the_same_content_agree(shop: Repository) -> None:
    for branch in ("left", "right"):
        shop.git("checkout", "--quiet", "-b", branch, "main")
        shop.release(NAME)
        shop.commit(branch)
    assert merged(shop, "left") == ""
    assert PromptStore(shop.prompts).versions(NAME) == [1, 2, 3]


@pytest.fixture
def catalogue(tmp_path: Path) -> Repository:
    """Eight prompts, neighbours in the alphabet, with two releases each and no labels."""
    repository = Repository.new(tmp_path / "catalogue")
    for text in ("One.", "Two."):
        for letter in "abcdefgh":
            repository.write(f"p/{letter}.prompt.md", text)
            repository.release(f"p/{letter}")
    repository.commit("Two releases each")
    return repository


def assert_labels(repository: Repository, expected: Mapping[str, Mapping[str, int]]) -> None:
    assert [str(problem) for problem in check_store(repository.prompts).problems] == []
    labels = PromptStore(repository.prompts).labels()
    found = {name: {label.name: label.version for label in mine.values()} for name, mine in labels.items()}
    assert found == expected


Moves = list[tuple[str, str, int]]
DIFFERENT: dict[str, tuple[Moves, Moves, Moves]] = {
    "first, neighbours": ([], [("b", "production", 1)], [("c", "production", 2)]),
    "first, the same version": ([], [("b", "production", 1)], [("c", "production", 1)]),
    "first, the later one first": ([], [("c", "production", 1)], [("b", "production", 1)]),
    "first, several each": (
        [],
        [("a", "production", 1), ("c", "production", 1), ("e", "staging", 1)],
        [("b", "production", 1), ("d", "production", 1), ("f", "staging", 1)],
    ),
    "first, two labels each": (
        [],
        [("b", "production", 1), ("b", "staging", 2)],
        [("c", "staging", 2), ("c", "production", 1)],
    ),
    "between two that are there": (
        [("a", "production", 1), ("h", "production", 1)],
        [("b", "production", 1)],
        [("c", "production", 1)],
    ),
    "at the end": ([("a", "production", 1)], [("b", "production", 1)], [("c", "production", 1)]),
    "at the start": ([("h", "production", 1)], [("b", "production", 1)], [("c", "production", 1)]),
    "moves of neighbours": (
        [("a", "production", 1), ("b", "production", 1), ("c", "production", 1)],
        [("a", "production", 2), ("c", "production", 2)],
        [("b", "production", 2)],
    ),
    "moves and new neighbours on both sides": (
        [("e", "production", 1), ("a", "production", 1), ("c", "production", 1)],
        [("a", "production", 2), ("c", "production", 2), ("e", "production", 2)],
        [("b", "production", 1), ("d", "production", 1), ("f", "production", 1)],
    ),
    "a move and a new neighbour": (
        [("b", "production", 1)],
        [("b", "production", 2)],
        [("a", "production", 1), ("c", "production", 1)],
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_two_branches_that_promote_different_prompts_merge(catalogue: Repository, case: str) -> None:
    before, left, right = DIFFERENT[case]
    for letter, label, version in before:
        catalogue.promote(f"p/{letter}", label, version)
    if before:
        catalogue.commit("Before")
    for branch, moves in (("left", left), ("right", right)):
        catalogue.git("checkout", "--quiet", "-b", branch, "main")
        for letter, label, version in moves:
            catalogue.promote(f"p/{letter}", label, version)
        catalogue.commit(branch)
    assert merged(catalogue, "left") == ""
    expected: dict[str, dict[str, int]] = {}
    for letter, label, version in (*before, *left, *right):
        expected.setdefault(f"p/{letter}", {})[label] = version
    assert_labels(catalogue, expected)
    for letter, label, version in (*left, *right):
        assert catalogue.outcome(f"p/{letter}@{label}") == ("One.", "Two.")[version - 1]
    for letter, label, _ in (*left, *right):
        assert any(f"{label} →" in event for one in events(history(catalogue.prompts, f"p/{letter}")) for event in one)


@pytest.mark.parametrize("before", [0, 1])
def test_two_branches_that_promote_one_prompt_differently_leave_one_clear_line(shop: Repository, before: int) -> None:
    shop.write(FILE, "Say four.")
    shop.release(NAME)
    if not before:
        (shop.prompts / "releases" / "labels.yaml").unlink()
    shop.commit("Release 3")
    for branch, version in (("left", 2), ("right", 3)):
        shop.git("checkout", "--quiet", "-b", branch, "main")
        shop.promote(NAME, version=version)
        shop.commit(branch)
    assert merged(shop, "left") == ""
    lines = (shop.prompts / "releases" / "labels.yaml").read_text().splitlines()
    wrong = [number for number, line in enumerate(lines, 1) if line.lstrip().startswith("production:")]
    assert len(wrong) == 2
    problems = [str(problem) for problem in check_store(shop.prompts).problems if problem.level == "error"]
    assert len(problems) == 1
    says = f"labels.yaml:{wrong[1]}: 'production' is written twice; two branches moved it: keep the line that is right"
    assert problems[0].endswith(says)
    assert shop.outcome(f"{NAME}@production").endswith(says)
    with pytest.raises(LlmopsError, match="is written twice"):
        shop.promote(NAME, version=1)
    assert shop.outcome(f"{NAME}@2") == TWO
    (shop.prompts / "releases" / "labels.yaml").write_text("\n".join(lines[: wrong[1] - 1] + lines[wrong[1] :]))
    assert [problem for problem in check_store(shop.prompts).problems if problem.level == "error"] == []


def test_lines_that_are_the_same_by_hand_are_never_lost_in_silence(catalogue: Repository) -> None:
    """Git joins equal lines of both branches into one: the prompt that lost its line is named."""
    for branch, letter in (("left", "b"), ("right", "c")):
        catalogue.git("checkout", "--quiet", "-b", branch, "main")
        catalogue.write("releases/labels.yaml", f"p/{letter}:\n  production: 1\n")
        catalogue.commit(branch)
    assert merged(catalogue, "left") == ""
    lines = (catalogue.prompts / "releases" / "labels.yaml").read_text().splitlines()
    assert len(lines) == 3
    (problem,) = check_store(catalogue.prompts).problems
    assert problem.where.endswith("labels.yaml:1")
    assert re.fullmatch("p/[bc] has no labels", problem.message)


# The command line


def llmops(folder: Path, *words: str, exits: int = 0, **more: str) -> str:
    command = [sys.executable, "-m", "llmops", *words]
    environment = {**ENVIRONMENT, **more}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == exits, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr if exits else done.stdout + done.stderr


def test_the_command_line_in_a_shallow_clone_and_without_git(shop: Repository, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", shop.top.as_uri(), "clone")
    said = llmops(tmp_path / "clone", "prompt", "show", f"{NAME}@git:HEAD~1", exits=2)
    assert said == (
        "llmops: git knows no revision 'HEAD~1'; this is a shallow clone: it needs 2 commits "
        "(git fetch --depth=2, or fetch-depth: 2 in CI)\n"
    )
    assert "git fetch --unshallow" in llmops(tmp_path / "clone", "prompt", "log", NAME)
    said = llmops(shop.top, "prompt", "log", NAME, PATH=str(tmp_path))
    assert said.endswith("no git history: the program git isn't installed\n")
    assert said.startswith("production → 1\n")
    assert llmops(shop.top, "prompt", "show", f"{NAME}@git:v1", "--source") == ONE
