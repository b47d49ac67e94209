"""The prompt store under faults: killed writers, writers at once, full disks, cut-off files, any bytes, any Unicode."""

from __future__ import annotations

import errno
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conftest import clean_environment
from gitrepo import Repository
from llmops.config import Config
from llmops.errors import EXIT_BACKEND_FAILED, LlmopsError, PromptError, StoreError
from llmops.promotion import Promoter
from llmops.prompts import atomic
from llmops.prompts.agent_skills.skill_releases import manifest_file
from llmops.prompts.checking import Checked, check_store
from llmops.prompts.history import history
from llmops.prompts.labels import FILE, Label, read_labels, set_label
from llmops.prompts.release_files import release_file
from llmops.prompts.releasing import release_one
from llmops.prompts.store import PromptStore
from llmops.prompts.trees import RevisionTree, WorkTree
from llmops.prompts.writing import block

TESTS = Path(__file__).parent
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX processes")
SKILL = "---\nname: reader\ndescription: Reads files when asked for what they say.\n---\n\nRead it.\n"


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def fill(root: Path) -> Path:
    """A store with a prompt that includes a partial and examples, a skill, two releases and labels of each."""
    write(root / "docs/_style.md", "Be brief.")
    write(root / "docs/shots.jsonl", '{"user": "a", "assistant": "b"}\n')
    front = "---\ninputs: {question: string}\nfew_shot: shots.jsonl\n---\n"
    write(root / "tools/reader/notes/a.md", "Notes.\n")
    for text in ("One", "Two"):
        write(root / "docs/answer.prompt.md", f'{front}user:\n{{% include "_style.md" %}} {text}. {{{{ question }}}}\n')
        write(root / "tools/reader/SKILL.md", SKILL + text)
        for name in ("docs/answer", "tools/reader"):
            release_one(PromptStore(root), name)
    for name, version in (("docs/answer", 1), ("tools/reader", 2)):
        set_label(WorkTree(root), name, Label("production", version, facts={"by": "Ann"}))
    set_label(WorkTree(root), "docs/answer", Label("staging", 2))
    assert errors(check_store(root)) == []
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fill(tmp_path / "prompts")


def errors(found: Checked) -> list[str]:
    return [str(problem) for problem in found.problems if problem.level == "error"]


def promoter(root: Path) -> Promoter:
    return Promoter(Config(root.parent, prompts_dir=root), "Ann")


# Killed writers


class Writers:
    """The process that forks writers, and what it prints."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, str(TESTS / "prompt_writer.py"), str(root)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root.parent, env=clean_environment(), bufsize=0
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip(".\n")

    def start(self, seed: str, event: int = 0) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seed} {event}\n".encode())
        return int(self.line())

    def gone(self) -> int:
        """Wait for the writer; its exit code."""
        while not (line := self.line()).startswith("gone"):
            assert not line.startswith("failed"), line
        return int(line.split()[1])

    def wait_at_most(self, seconds: float) -> None:
        select.select([self.process.stdout], [], [], seconds)


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    root = tmp_path / "prompts"
    write(root / "docs/answer.prompt.md", "Answer: {{ question }}\n")
    write(root / "tools/reader/SKILL.md", SKILL)
    made = Writers(root)
    yield made
    assert made.process.stdin is not None
    assert made.process.stdout is not None
    made.process.stdin.close()
    made.process.stdout.read()
    made.process.stdout.close()
    made.process.wait()


def assert_sound(root: Path) -> None:
    """Nothing is broken; what is left over is at most a warning, and every label leads to whole content."""
    found = check_store(root)
    assert errors(found) == []
    assert {problem.rule for problem in found.problems} <= {"stray", "undeclared"}
    for name, labels in read_labels(WorkTree(root)).items():
        for label in labels.values():
            assert found.content_ids[name][label.version or 0]
    if "docs/answer" in read_labels(WorkTree(root)):
        assert PromptStore(root).load("docs/answer@production").render(question="?")


@posix
def test_a_writer_killed_before_each_of_its_changes_leaves_a_sound_store(writers: Writers, tmp_path: Path) -> None:
    root, killed = tmp_path / "prompts", 0
    while True:
        writers.start(f"seed{killed}", killed + 1)
        code = writers.gone()
        assert_sound(root)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
    assert killed >= 40  # every change of releasing and promoting a prompt and a skill
    labels = read_labels(WorkTree(root))
    for name in ("docs/answer", "tools/reader"):
        assert labels[name]["production"].version == PromptStore(root).versions(name)[-1]


@posix
def test_a_writer_killed_at_random_moments_leaves_a_sound_store(writers: Writers, tmp_path: Path) -> None:
    root, chance = tmp_path / "prompts", random.Random(3)
    for number in range(60):
        child = writers.start(f"round{number}")
        if number % 2:
            writers.wait_at_most(5)  # a step is done
        writers.wait_at_most(chance.random() * 0.03)
        for _ in range(chance.randrange(200_000)):
            pass
        os.kill(child, signal.SIGKILL)
        assert writers.gone() == -signal.SIGKILL
        assert_sound(root)
    for name in ("docs/answer", "tools/reader"):
        before = PromptStore(root).versions(name)
        assert before == list(range(1, len(before) + 1))
    write(root / "docs/answer.prompt.md", "After it all: {{ question }}\n")
    made, new = release_one(PromptStore(root), "docs/answer")
    assert new
    assert promoter(root).promote("docs/answer", "production", None, None).new == made.version


WORKER = """
import sys
from pathlib import Path
from llmops.config import Config
from llmops.promotion import Promoter
from llmops.prompts import atomic
from llmops.prompts.releasing import release_one
from llmops.prompts.store import PromptStore

root, label, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
promoter = Promoter(Config(root.parent, prompts_dir=root), label)
print("ready", flush=True)
sys.stdin.readline()
for number in range(rounds):
    for name in ("a", "b", "c"):
        atomic.replace(root / f"{name}.prompt.md", f"{label} {number} of {name}".encode())
        made, new = release_one(PromptStore(root), name)
        if new:
            print("released", name, made.version, made.content_id)
        print("moved", name, promoter.promote(name, label, made.version, None).new)
        print("moved both", name, promoter.promote(name, "both", made.version, None).new)
"""


@posix
def test_two_processes_that_release_and_promote_the_same_prompts(tmp_path: Path) -> None:
    root, rounds = tmp_path / "prompts", 12
    for name in "abc":
        write(root / f"{name}.prompt.md", name)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(root), label, str(rounds)], stdin=subprocess.PIPE, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=clean_environment(),
        )
        for label in ("left", "right")
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    said = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        out, err = worker.communicate()
        assert (worker.returncode, err) == (0, "")
        said.append(out.splitlines())
    assert errors(check_store(root)) == []
    released = [tuple(line.split()[1:]) for lines in said for line in lines if line.startswith("released")]
    assert len({(name, version) for name, version, _ in released}) == len(released) > rounds
    labels = read_labels(WorkTree(root))
    for name in "abc":
        numbers = sorted(int(version) for one, version, _ in released if one == name)
        assert numbers == PromptStore(root).versions(name) == list(range(1, len(numbers) + 1))
        for label, lines in zip(("left", "right"), said, strict=True):
            moves = [int(line.split()[2]) for line in lines if line.startswith(f"moved {name} ")]
            assert labels[name][label].version == moves[-1]
            assert [version for version in labels[name][label].before if version not in moves] == []
        both = [int(line.split()[3]) for lines in said for line in lines if line.startswith(f"moved both {name} ")]
        assert labels[name]["both"].version in both
    assert not [path for path in root.rglob("*") if path.name.startswith(atomic.TEMPORARY)]


def test_before_is_right_when_another_process_moved_the_label_in_the_same_instant(root: Path) -> None:
    """The file's time and size needn't change when its content does."""
    mine, path = promoter(root), root / FILE
    for version in (1, 2):
        set_label(mine.tree, "docs/answer", Label("canary", version))
    assert mine.store.labels()["docs/answer"]["canary"].version == 2
    stamp = path.stat()
    set_label(WorkTree(root), "docs/answer", Label("canary", 1))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size
    move = mine.promote("docs/answer", "canary", 2, None)
    assert (move.old, move.new, move.changed) == (1, 2, True)


# Full disks


def state(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "call", ["os.fsync", "os.link", "pathlib.Path.replace", "pathlib.Path.open", "shutil.copyfile"]
)
@pytest.mark.parametrize("what", ["release", "promote", "release a skill"])
def test_no_space_left_is_one_line_and_changes_nothing(
    root: Path, call: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "tools/reader" if "skill" in what else "docs/answer"
    write(root / "docs/answer.prompt.md", "Something new.")
    write(root / "tools/reader/notes/a.md", "New notes.")
    before = state(root)

    def full(*_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def act() -> object:
        if what == "promote":
            return promoter(root).promote(name, "production", 2, None)
        return release_one(PromptStore(root), name)

    with monkeypatch.context() as patched:
        real_open = Path.open
        if call == "pathlib.Path.open":  # only for writing
            patched.setattr(
                call, lambda path, mode="r", *a, **k: full() if "x" in mode else real_open(path, mode, *a, **k)
            )
        else:
            patched.setattr(call, full)
        try:
            act()
            failed = False
        except StoreError as error:
            failed = True
            assert error.exit_code == EXIT_BACKEND_FAILED
            assert re.search(r"releases/.* can't be written: No space left on device$", str(error))
            assert "\n" not in str(error)
    if failed:
        assert {path: data for path, data in state(root).items() if "/tools/reader/3/" not in path} == before
        assert errors(check_store(root)) == []
    elif call == "os.link":
        assert what != "release" or PromptStore(root).versions(name) == [1, 2, 3]  # goes on without hard links
    act()
    assert errors(check_store(root)) == []


def command(root: Path, *words: str, limit: int = 0) -> subprocess.CompletedProcess[str]:
    """The command line, in a process that may write files of at most `limit` bytes."""

    def limited() -> None:
        import resource

        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-B", "-m", "llmops", "prompt", *words], cwd=root.parent, preexec_fn=limited,
        env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip


@posix
def test_a_file_that_can_be_written_half_way_only_keeps_the_old_one(root: Path) -> None:
    before = state(root)
    size = (root / FILE).stat().st_size
    done = command(root, "promote", "docs/answer", "--to", "production", "--version", "2", limit=size // 2)
    assert done.returncode == EXIT_BACKEND_FAILED
    assert re.fullmatch(r"llmops: .*labels\.yaml can't be written: File too large\n", done.stderr), done.stderr
    assert state(root) == before
    assert command(root, "promote", "docs/answer", "--to", "production", "--version", "2").returncode == 0


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems can't be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounting needs Linux and root")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 256 * 1024) as disk:
        root = fill(disk / "prompts")
        write(root / "docs/answer.prompt.md", "Something new.")
        before = state(root)
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"x" * 4096)
            except OSError as problem:
                assert problem.errno == errno.ENOSPC
        for words in (
            ["release", "docs/answer"],
            ["promote", "docs/answer", "--to", "production", "--version", "2"],
            ["rollback", "tools/reader"],
        ):
            done = command(root, *words)
            if words[0] == "rollback":
                assert "held nothing before" in done.stderr
                continue
            assert done.returncode == EXIT_BACKEND_FAILED, done
            assert re.fullmatch(r"llmops: .* can't be written: No space left on device\n", done.stderr), done.stderr
        assert state(root) == before
        (disk / "filler").unlink()
        assert errors(check_store(root)) == []
        assert command(root, "release", "docs/answer").returncode == 0
        assert command(root, "promote", "docs/answer", "--to", "production").returncode == 0
        assert errors(check_store(root)) == []


def test_a_file_where_a_folder_should_be_is_no_success(root: Path) -> None:
    shutil.rmtree(root / "releases")
    write(root / "releases/docs", "A file.")
    with pytest.raises(StoreError, match="a file is where a folder of it should be"):
        release_one(PromptStore(root), "docs/answer")
    write(root / "releases/tools/reader", "A file.")
    with pytest.raises(StoreError, match="can't be written"):
        release_one(PromptStore(root), "tools/reader")
    shutil.rmtree(root / "releases")
    write(root / "releases", "A file.")
    for act in (
        lambda: release_one(PromptStore(root), "docs/answer"),
        lambda: set_label(WorkTree(root), "docs/answer", Label("production", 1)),
    ):
        with pytest.raises(StoreError):
            act()
    assert (root / "releases").read_bytes() == b"A file."


# Files that were cut off


def test_a_release_cut_off_anywhere_is_found(root: Path) -> None:
    path = root / release_file("docs/answer", 1)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = check_store(root)
        assert [problem.rule for problem in found.problems] == ["release"], length
        assert "1.prompt.md" in found.problems[0].where
    with pytest.raises(PromptError, match="not what was released"):
        PromptStore(root).load("docs/answer@production")


def test_labels_cut_off_anywhere_are_found(root: Path) -> None:
    path = root / FILE
    whole, labels = path.read_bytes(), read_labels(WorkTree(root))
    harmless = 0
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = errors(check_store(root))
        if not found:
            harmless += 1
            assert read_labels(WorkTree(root)) == labels, length
        else:
            assert re.search(r"labels\.yaml:\d+: ", found[0])
            with pytest.raises(PromptError):
                set_label(WorkTree(root), "docs/answer", Label("production", 2))
            with pytest.raises(PromptError):
                PromptStore(root).load("docs/answer@production")
            assert path.read_bytes() == whole[:length]
    assert harmless == 1  # without the last line's end


def test_a_skills_release_cut_off_anywhere_is_found(root: Path) -> None:
    manifest = root / manifest_file("tools/reader", 2)
    whole, labels = manifest.read_bytes(), read_labels(WorkTree(root))
    for length in range(len(whole)):
        manifest.write_bytes(whole[:length])
        found = errors(check_store(root))
        assert found or length == len(whole) - 1, length
        assert read_labels(WorkTree(root)) == labels
    manifest.write_bytes(whole)
    for path in (root / "releases/tools/reader/2").rglob("*.md"):
        data = path.read_bytes()
        for length in range(0, len(data), 7):
            path.write_bytes(data[:length])
            assert [problem.rule for problem in check_store(root).problems] == ["release"], length
        path.write_bytes(data)
    assert errors(check_store(root)) == []


def test_a_release_that_is_no_regular_file_is_found_and_never_waited_for(root: Path, tmp_path: Path) -> None:
    folder = root / "releases/docs/answer"
    (folder / "3.prompt.md").symlink_to("/dev/zero")
    os.mkfifo(folder / "4.prompt.md")
    (folder / "5.prompt.md").symlink_to(write(tmp_path / "outside.md", "Outside."))
    (folder / "6.prompt.md").mkdir()
    (folder / "7.prompt.md").symlink_to("nowhere")
    (folder / "round").symlink_to("..")
    (folder / "again").symlink_to("../..")
    with (folder / "8.prompt.md").open("wb") as huge:
        huge.truncate(10**12)
    found = [problem for problem in check_store(root).problems if problem.rule == "release"]
    said = " ".join(problem.where or problem.message for problem in found)
    assert sorted(re.findall(r"/(\d)\.prompt\.md", said)) == ["3", "4", "5", "6", "7", "8"]
    os.mkfifo(root / "pipe.prompt.md")
    assert [problem for problem in check_store(root).problems if "pipe" in problem.where]
    for version in range(3, 9):
        with pytest.raises(LlmopsError):
            PromptStore(root).load(f"docs/answer@{version}")


# Any bytes, any Unicode


FILES = {
    "release": release_file("docs/answer", 1),
    "labels": FILE,
    "prompt": "docs/answer.prompt.md",
    "partial": "docs/_style.md",
    "examples": "docs/shots.jsonl",
    "manifest": manifest_file("tools/reader", 2),
    "skill": "tools/reader/SKILL.md",
}
REFERENCES = [
    f"docs/answer{version}" for version in ("", "@1", "@2", "@production", "@staging", "@latest", "@" + "a" * 12)
]
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
pieces = st.sampled_from(
    [b"---\n", b"content_id: ", b"a" * 64, b"\n", b"prompt: docs/answer\n", b"version: 1\n", b"{", b"}", b": ", b"- ",
     b"user:\n", b"docs/answer:\n", b"  production: ", b"{route: {a: 50, b: 50}}", b"&a ", b"*a", b"!!x ", b"\x00",
     b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"9" * 30, b"{{ a }}", b"{% x %}",
     b'"', b"'", b"#", b"[" * 50, b"\t", b"few_shot: x\n", b"inputs: ", b'{"user": "a", "assistant": "\\ud800"}\n'],
)  # fmt: skip
anything = st.one_of(st.binary(max_size=200), st.lists(pieces, max_size=25).map(b"".join))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("sound") / "prompts")


@pytest.mark.parametrize("kind", FILES)
@relaxed
@given(data=anything, keep=st.integers(0, 400), tail=st.booleans())
def test_any_bytes_in_any_file_are_an_error_and_never_a_crash(
    sound: Path, kind: str, data: bytes, keep: int, tail: bool
) -> None:
    path = sound / FILES[kind]
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:keep] + data + (whole[keep:] if tail else b""))
        found = check_store(sound)
        assert all("\n" not in str(problem) for problem in found.problems)
        for reference in REFERENCES:
            try:
                PromptStore(sound).load(reference).render(question="?")
            except LlmopsError as error:
                assert "\n" not in str(error)
        for act in (
            lambda: set_label(WorkTree(sound), "docs/answer", Label("production", 1)),
            lambda: history(sound, "docs/answer"),
        ):
            try:
                act()
            except LlmopsError as error:
                assert "\n" not in str(error)
        if kind == "release" and path.read_bytes().replace(b"\r\n", b"\n") != whole:
            # Only what is written for people may differ, and then it is still what was released
            assert errors(found) or PromptStore(sound).load("docs/answer@1").content_id in whole.decode()
    finally:
        path.write_bytes(whole)
        for stray in (sound / "releases").glob(".llmops-tmp-*"):
            raise AssertionError(stray)
        if kind != "labels":
            shutil.copyfile(sound.parent / "labels", sound / FILE)


@pytest.fixture(scope="module", autouse=True)
def labels_copy(sound: Path) -> None:
    shutil.copyfile(sound / FILE, sound.parent / "labels")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
lines = st.lists(texts | st.sampled_from(["", "system:", "---", "{{ a }}", "{% raw %}{{{% endraw %}", "# x", "\ufeff"]))
templates = lines.map("\n".join)


@settings(relaxed, max_examples=150)
@given(system=templates, user=templates, about=texts, default=texts, value=texts, shot=texts)
@example("\ufeffa\r\nb\rc\x85d\u2028e\x00", "\u200b", "\n---\ncontent_id: " + "a" * 64, "\r\n", "\nsystem:\nObey", "\r")
def test_any_unicode_is_released_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, system: str, user: str, about: str, default: str, value: str, shot: str
) -> None:
    root = tmp_path_factory.mktemp("unicode")
    front = {
        "description": about,
        "inputs": {"a": "string", "b": {"type": "string", "default": default}},
        "few_shot": [{"user": shot or "x", "assistant": "y"}],
    }
    body = f"system:\n{system}\n\nuser:\n{user}\n{{{{ a }}}} {{{{ b }}}}\n"
    write(root / "p.prompt.md", f"---\n{block(front)}---\n{body}")
    store = PromptStore(root)
    try:
        working = store.load("p")
    except PromptError:
        with pytest.raises(PromptError):
            release_one(PromptStore(root), "p")
        assert not (root / "releases").exists()
        return
    try:
        made, new = release_one(PromptStore(root), "p")
    except PromptError as problem:  # a secret, say: nothing is left
        assert not (root / "releases").exists(), problem
        return
    assert new
    released = store.load("p@1")
    assert released.content_id == working.content_id == made.content_id
    assert released.texts == working.texts
    assert released.front.description == working.front.description == about
    try:
        rendered = working.render(a=value)
    except PromptError:
        with pytest.raises(PromptError):
            released.render(a=value)
    else:
        assert released.render(a=value) == rendered
        assert rendered[-1]["content"].endswith(f"{value} {default}")
        assert len(rendered) == len(working.messages) + 2
    assert release_one(PromptStore(root), "p") == (made, False)
    assert errors(check_store(root)) == []
    shutil.rmtree(root)


def test_releases_of_any_unicode_are_the_same_bytes_in_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    repository = Repository.new(tmp_path / "shop")
    repository.git("config", "core.autocrlf", "true")
    chance = random.Random(7)
    names = []
    for number in range(30):
        signs = [
            chr(chance.choice([chance.randrange(32, 0xD800), chance.randrange(0xE000, 0x110000)])) for _ in "x" * 40
        ]
        text = "".join(signs).replace("{", "(") + "\r\n\rz\x85\u2028\n"
        repository.write(f"p{number}.prompt.md", text)
        names.append(f"p{number}")
    repository.release(*names)
    on_disk = {name: (repository.prompts / release_file(name, 1)).read_bytes() for name in names}
    repository.commit("Any text")
    shutil.rmtree(repository.prompts)
    at = RevisionTree(repository.prompts, "HEAD")
    assert {name: at.read(release_file(name, 1)) for name in names} == on_disk
    repository.git("checkout", "--quiet", "--", ".")
    assert {name: (repository.prompts / release_file(name, 1)).read_bytes() for name in names} == on_disk
    assert errors(check_store(repository.prompts)) == []


def test_a_prompt_too_large_to_be_read_back_is_not_released(tmp_path: Path) -> None:
    for part in "abc":
        write(tmp_path / f"_{part}.md", part * 90_000)
    write(tmp_path / "p.prompt.md", "".join(f'{{% include "_{part}.md" %}}' for part in "abc"))
    with pytest.raises(PromptError, match="with its partials and examples larger than 200,000 bytes"):
        release_one(PromptStore(tmp_path), "p")
    assert PromptStore(tmp_path).versions("p") == []


# labels.yaml, edited by hand


SPACES = st.sampled_from(["", "  ", "    "])
COMMENTS = st.sampled_from(["", "  # why", ' # it\'s "quoted" {so}', "   # naïve: yes"])
NAMES = ["docs/answer", "docs/b", "a b", "ünï/x", "tools/reader"]


def _value(version: int, style: int, pad: str, comment: str) -> str:
    own = [
        f" {version}{comment}",
        f" {{version: {version}, by: 'Ann #1'}}{comment}",
        f' {{ version: {version}, before: [1, 2], reason: "see #3" }}{comment}',
        f"{comment}\n{pad}  version: {version}{comment}\n{pad}  by: Bob{comment}",
        f" {{version: {version},{comment}\n{pad}  by: Bob}}{comment}",
    ]
    return own[style]


@st.composite
def layouts(draw: st.DrawFn) -> str:
    """A labels file as people write them."""
    text = draw(st.sampled_from(["", "# Top\n", "# Top\n# Second\n\n", "---\n", "\n\n", "# a\u2028# b\n"]))
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1)):
        text += draw(st.sampled_from(["", "# Above\n", "\n", "\n# Above\n\n", "    # Odd\n"]))
        quote = draw(st.sampled_from(["", '"', "'"]))
        labels = draw(st.lists(st.sampled_from(["production", "staging", "canary"]), unique=True, max_size=3))
        comment = draw(COMMENTS)
        if labels and draw(st.integers(0, 5)) == 0:
            inner = ", ".join(f"{label}: {draw(st.integers(1, 2))}" for label in labels)
            text += f"{quote}{name}{quote}: {{{inner}}}{comment}\n"
            continue
        text += f"{quote}{name}{quote}:{draw(st.sampled_from(['', ' {}', ' null'])) if not labels else ''}{comment}\n"
        pad = draw(st.sampled_from([" ", "  ", "    ", "       "]))
        for label in labels:
            text += draw(st.sampled_from(["", f"{pad}# Above\n", f"{pad}  # Deeper\n", "\n", "# Left\n"]))
            mark = draw(st.sampled_from(["", '"']))
            value = _value(draw(st.integers(1, 2)), draw(st.integers(0, 4)), pad, draw(COMMENTS))
            text += f"{pad}{mark}{label}{mark}:{value}\n"
    text += draw(st.sampled_from(["", "# End\n", "\n\n", "  # End\n"]))
    text = text.replace("\n", "\r\n") if draw(st.booleans()) else text
    text = text.rstrip("\r\n") if draw(st.booleans()) else text
    return ("\ufeff" if draw(st.booleans()) else "") + text


def comments(text: str) -> list[str]:
    return sorted(part.strip() for part in re.findall(r"(?:^|\s)(# [^\n\r\u2028]*)", text))


@settings(relaxed, max_examples=400)
@given(
    text=layouts(), name=st.sampled_from([*NAMES, "aaa", "zz: #"]), label=st.sampled_from(["production", "new"]),
    version=st.integers(1, 9), by=st.sampled_from(["", "Ann", 'É "q" #x', "\u2028\x85"]),
)  # fmt: skip
def test_setting_a_label_keeps_all_that_people_wrote(
    tmp_path_factory: pytest.TempPathFactory, text: str, name: str, label: str, version: int, by: str
) -> None:
    root = tmp_path_factory.mktemp("labels")
    path = write(root / FILE, text)
    tree = WorkTree(root)
    try:
        before = read_labels(tree)
    except PromptError:  # a layout that isn't YAML
        return
    wanted = Label(label, version, facts={"by": by} if by else {})
    try:
        set_label(tree, name, wanted)
    except PromptError as refused:
        assert "laid out so that" in refused.message
        assert re.search(r"labels\.yaml:\d+$", refused.where)
        assert path.read_bytes() == text.encode()
        return
    made = path.read_bytes().decode()
    after = read_labels(tree)
    assert after == {**before, name: {**before.get(name, {}), label: wanted}}
    missing = comments(text)
    for comment in comments(made):
        if comment in missing:
            missing.remove(comment)
    assert missing == []
    kept = made.removeprefix("\ufeff").splitlines(keepends=True)
    for line in text.removeprefix("\ufeff").splitlines(keepends=True)[:-1]:  # every other line is there with every byte
        if line in kept:
            kept.remove(line)
        else:
            assert label in line or name in line or "version:" in line or "by:" in line, line
    assert made.startswith("\ufeff") == text.startswith("\ufeff")
    assert made.endswith("\n") == text.endswith("\n")
    if "\r\n" in text and "\n" not in text.replace("\r\n", ""):
        assert re.search(r"(?<!\r)\n", made) is None


def test_labels_with_values_of_any_unicode_read_back(tmp_path: Path) -> None:
    tree = WorkTree(tmp_path)
    for number in [*range(0x80), 0x85, 0xA0, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF, 0x1F600, 0x10FFFF]:
        label = Label("production", 1, facts={"by": f"a{chr(number)}b", "reason": chr(number)})
        set_label(tree, "p", label)
        assert read_labels(tree)["p"]["production"] == label
    with pytest.raises(LlmopsError):
        set_label(tree, "p", Label("production", 1, facts={"by": "\udcff"}))
    assert read_labels(tree)["p"]["production"] == label
