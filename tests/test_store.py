"""The store in SQLite: all of `store_behaviours`, what is special to a file, and run files."""

from __future__ import annotations

import gzip
import io
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.register_assert_rewrite("store_behaviours")

from llmops.errors import InputError, NotFoundError, StoreError  # noqa: E402
from llmops.store import location as place  # noqa: E402
from llmops.store import schema, writer  # noqa: E402
from llmops.store.database import Store  # noqa: E402
from llmops.store.runfile import export_run, open_run_file  # noqa: E402
from llmops.types import Score  # noqa: E402
from store_behaviours import *  # noqa: E402, F403
from store_behaviours import RESULTS, new_run, result, save  # noqa: E402


@pytest.fixture
def location(tmp_path):
    return tmp_path / "folder" / "runs.db"


def run_python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_projects_own_folder_keeps_itself_out_of_git(tmp_path):
    Store.open(tmp_path / ".llmops" / "llmops.db").close()
    assert (tmp_path / ".llmops" / ".gitignore").read_text() == "*\n"
    Store.open(str(tmp_path / "plain" / "llmops.db")).close()
    assert not (tmp_path / "plain" / ".gitignore").exists()


def test_a_missing_file_is_not_made_by_reading(location):
    with pytest.raises(NotFoundError, match=r"no runs yet.*llmops eval"):
        Store.open(location, create=False)
    assert not location.parent.exists()


def test_an_up_to_date_store_opens_without_alembic(location):
    script = """
import sys
from llmops.store.database import Store
for _ in range(2):
    Store.open(sys.argv[1]).close()
sys.exit(any(name.split(".")[0] == "alembic" for name in sys.modules))
"""
    assert run_python(script, location).returncode == 0


def test_processes_open_a_new_store_at_once(location):
    script = "import sys; from store_behaviours import *; Store.open(sys.argv[1]).create_run(new_run()); print('ok')"
    outputs: list[str] = []
    threads = [threading.Thread(target=lambda: outputs.append(run_python(script, location).stdout)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == ["ok\n"] * 3


def test_kill_9_loses_nothing_that_was_committed(location):
    script = """
import os, signal, sys
from store_behaviours import *
store = Store.open(sys.argv[1])
record = new_run(id="0190aaaa-0000-7000-8000-000000000001")
store.create_run(record)
writer = store.writer(record.id)
for number in range(500):
    writer.put(result(str(number)), number)
writer.flush()
writer.put(result("in flight"), 500)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_python(script, location)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Store.open(location) as store:
        assert {r.case.id for r in store.results(store.find().id)} >= {str(n) for n in range(500)}
    assert is_sound(location)


FULL_DISK = """
import resource, sqlite3, sys
from store_behaviours import *
import llmops.store.location as place
store = Store.open(sys.argv[1])
record = new_run()
store.create_run(record)
save(store, record, result("kept"))
if sys.argv[2] == "pages":
    store.close()
    begin = place._set_up
    place._set_up = lambda c, r: (begin(c, r), c.execute("PRAGMA max_page_count=60"))
    store = Store.open(sys.argv[1])
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
writer = store.writer(record.id)
try:
    for number in range(10_000):
        writer.put(result(str(number), text="x" * 50_000), number + 1)
except StoreError as error:
    print(error)
try:
    writer.close()
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", ["pages", "bytes"])
def test_a_full_disk_is_said_and_what_was_done_is_intact(location, limit):
    pytest.importorskip("resource", reason="file size limits are POSIX")
    done = run_python(FULL_DISK, location, limit)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for line in lines:
        assert "runs.db: the disk is full" in line
        assert "intact" in line
    with Store.open(location) as store:
        assert "kept" in {r.case.id for r in store.results(store.find().id)}
    assert is_sound(location)


def test_a_disk_that_fills_up_within_one_batch_takes_what_fits(location, monkeypatch):
    begin = place._set_up
    monkeypatch.setattr(place, "_set_up", lambda c, r: (begin(c, r), c.execute("PRAGMA max_page_count=300")))
    monkeypatch.setattr(writer, "GATHER_S", 30)
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        with pytest.raises(StoreError, match="the disk is full"), store.writer(record.id) as open_writer:
            for number in range(60):
                open_writer.put(result(str(number), text="x" * 60_000), number)
        assert len(store.finished(record.id)) >= 8


def test_a_lock_is_waited_for_and_then_named(location, monkeypatch):
    monkeypatch.setenv("LLMOPS_STORE_TIMEOUT_S", "0.05")
    record = new_run()
    with Store.open(location) as store, closing(sqlite3.connect(location, isolation_level=None)) as holder:
        store.create_run(record)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"runs\.db: another process .* 0\.05 s"):
            save(store, record, result())
        with pytest.raises(StoreError, match="locked"):
            store.update_run(record.id, note="x")
        assert store.find() == record  # reading goes on
        holder.execute("ROLLBACK")
        save(store, record, result())
        assert len(store.finished(record.id)) == 1


def test_a_lock_that_is_let_go_loses_nothing(location):
    record = new_run()
    with Store.open(location) as store, closing(sqlite3.connect(location, isolation_level=None)) as holder:
        store.create_run(record)
        holder.execute("BEGIN IMMEDIATE")
        writer = store.writer(record.id)
        writer.put(result(), 0)
        with pytest.raises(StoreError, match="not written after"):
            writer.flush(0.05)
        holder.execute("ROLLBACK")
        writer.close()
        assert list(store.results(record.id)) == [result()]


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "1e99"])
def test_a_timeout_is_a_number_of_seconds(location, monkeypatch, value):
    monkeypatch.setenv("LLMOPS_STORE_TIMEOUT_S", value)
    with pytest.raises(InputError, match="LLMOPS_STORE_TIMEOUT_S"):
        Store.open(location)


@pytest.mark.parametrize(
    "content",
    [
        *(b"x" * size for size in (1, 2, 15, 99, 100, 511, 512, 4096)),
        b"\x00",
        b"\n" * 512,
        b"SQLite format 3\x00",
        b"not a database" * 100,
        b"SQLite format 3\x00" + b"\xff" * 4000,
    ],
)
def test_a_file_that_is_no_database_is_left_alone(tmp_path, content):
    path = tmp_path / "runs.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"runs\.db: .*; .+"):
        Store.open(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
@pytest.mark.parametrize("create", [True, False])
def test_what_is_not_a_file_is_refused_at_once(tmp_path, create):
    os.mkfifo(tmp_path / "runs.db")
    with pytest.raises(StoreError, match="is not a file"):
        Store.open(tmp_path / "runs.db", create=create)


DAMAGES = [
    *(("runs", "document", value) for value in ("{", "", "[" * 100_000, '{"a":' * 50_000, "9" * 9_000)),
    *(("cases", "body", value) for value in ("{", "[" * 100_000, '{"id": ')),
    *(("outputs", "body", value) for value in ("{", "[" * 100_000, "nothing")),
    ("cases", "case_id", b"one"),
    ("cases", "case_id", '"\\q"'),
    ("cases", "group_name", b"one"),
    ("outputs", "repeat", "first"),
    ("outputs", "variant", b"new"),
    ("scores", "reason", '"\\q"'),
    ("scores", "reason", b"one"),
    ("scores", "metric", b"zeta"),
]


@pytest.mark.parametrize(("table", "column", "value"), DAMAGES)
def test_text_that_was_damaged_is_said_of_its_run(location, table, column, value):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result())
        with closing(sqlite3.connect(location)) as connection, connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
        with pytest.raises(StoreError) as caught:
            list(store.results(record.id))
        assert str(caught.value).startswith(str(location))
        assert record.id in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(caught.value.message) < 300
        store.delete(record.id)
        assert store.runs() == []


@pytest.mark.parametrize(("table", "column"), [("runs", "document"), ("cases", "body"), ("outputs", "body")])
def test_bytes_that_are_no_text_are_said(location, table, column):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result())
        with closing(sqlite3.connect(location)) as connection, connection:
            connection.execute(f"UPDATE {table} SET {column} = x'ff'")
        with pytest.raises(StoreError, match=r"the file is damaged; .*restore a copy"):
            list(store.results(record.id))


def test_a_score_that_was_damaged_is_unscored(location):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result())
        with closing(sqlite3.connect(location)) as connection, connection:
            connection.execute("UPDATE scores SET value = 'much'")
        [found] = store.results(record.id)
        assert found.scores == {"zeta": Score(None, "the metric gave 'much'")}


def test_a_damaged_store_is_said(location):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, *(result(str(n), text="x" * 500) for n in range(500)))
    with closing(sqlite3.connect(location)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(location.read_bytes())
    data[8192 : len(data)] = b"\xaa" * (len(data) - 8192)
    location.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="damaged"), Store.open(location) as store:
        list(store.results(record.id))


def test_an_empty_file_is_an_empty_store(tmp_path):
    (tmp_path / "runs.db").touch()
    with Store.open(tmp_path / "runs.db") as store:
        assert store.runs() == []


@pytest.mark.parametrize("name", ["", "file/runs.db", "a\x00b", "a\ud800b"])
def test_places_where_no_file_can_be(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises((StoreError, InputError)) as caught:
        Store.open(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="permissions"):
            Store.open(tmp_path / "runs.db")
    finally:
        tmp_path.chmod(0o700)


def test_an_older_file_is_migrated_when_opened_with_all_it_holds(location, next_version):
    record = new_run()
    with Store.open(location) as store:
        store.create_run(record)
        save(store, record, result())
    next_version()
    with Store.open(location) as store:
        assert list(store.results(record.id)) == [result()]
        assert Store.migrate_at(location) == ("9000", "9000")
    with closing(sqlite3.connect(location)) as connection:
        assert connection.execute("SELECT data FROM runs").fetchone() == ("questions",)


def test_a_migration_that_fails_changes_nothing(location, next_version, tmp_path):
    Store.open(location).close()
    before = schema.head()
    next_version()
    script = tmp_path / "versions" / "9000_next.py"
    script.write_text(script.read_text() + "    op.execute('SELECT no_such_thing')\n")
    with pytest.raises(StoreError, match="no_such_thing"):
        Store.open(location)
    with closing(sqlite3.connect(location)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (before,)
        assert connection.execute("SELECT dataset FROM runs").fetchall() == []


def test_tables_do_not_mix_with_a_users_own(location):
    script = """
import sys
from sqlmodel import Field, SQLModel
class Theirs(SQLModel, table=True):
    __tablename__ = "runs"
    id: int = Field(primary_key=True)
from store_behaviours import *
with Store.open(sys.argv[1]) as store:
    store.create_run(new_run())
    print(len(store.runs()))
"""
    done = run_python(script, location)
    assert done.stdout == "1\n", done.stderr


# Run files


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(results=st.lists(RESULTS, max_size=3), suffix=st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_a_run_file_gives_back_what_it_was_given(tmp_path, results, suffix):
    record = new_run(note=results[0].output.text if results else "")
    path = tmp_path / f"run{suffix}"
    assert export_run(record, results, path) == len(results) + 1
    found, read = open_run_file(path)
    assert found == record
    assert list(read) == list(read) == results
    assert [r.case.where for r in read] == [r.case.where for r in results]


def test_a_run_file_is_the_same_on_a_stream_and_packed(tmp_path):
    record, results = new_run(), [result("one"), result("two")]
    stream = io.StringIO()
    assert export_run(record, results, stream) == 3
    export_run(record, results, tmp_path / "run.jsonl")
    export_run(record, results, tmp_path / "run.jsonl.gz")
    assert (tmp_path / "run.jsonl").read_text("ascii") == stream.getvalue()
    assert gzip.decompress((tmp_path / "run.jsonl.gz").read_bytes()).decode("ascii") == stream.getvalue()


def test_an_export_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "run.jsonl").write_text("old")

    def broken():
        yield result()
        raise StoreError("gone")

    with pytest.raises(StoreError, match="gone"):
        export_run(new_run(), broken(), tmp_path / "run.jsonl")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("run.jsonl", "old")]


@pytest.mark.parametrize(
    ("name", "said"), [("run.jsonl/below", "no folder"), ("absent/run.jsonl", "absent"), ("", "folder")]
)
def test_an_export_makes_no_folders(tmp_path, name, said):
    (tmp_path / "run.jsonl").write_text("old")
    with pytest.raises(InputError, match=said):
        export_run(new_run(), [], tmp_path / name)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("run.jsonl", "old")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1), ("\n", 1), ("{}", 1), ("[]", 1), ("not json", 1), ('{"llmops_run": 2}', 1), ('{"llmops_run": 1}', 1),
        ('{"llmops_run": 1, "id": 5}', 1), ("HEAD\n{", 2), ("HEAD\n\n{}", 3), ('HEAD\n{"variant": "b"}', 2),
        ("HEAD\n[]", 2), ("HEAD\n" + "[" * 100_000, 2), ("HEAD\n" + '{"a":' * 5_000, 2), ("HEAD\n" + "9" * 9_000, 2),
        ('HEAD\n{"variant": "b", "case": {"id": "1"}, "output": {"text": 5}}', 2),
        ('HEAD\n{"variant": "b", "case": {"id": "1"}, "output": {"latency_s": "fast"}}', 2),
        ('HEAD\n{"variant": "b", "case": {"id": "1"}, "output": {"usage": {"certainty": []}}}', 2),
        ('HEAD\n{"variant": "b", "case": {"id": "1", "tags": [1]}, "output": {}}', 2),
        ('HEAD\n{"variant": "b", "case": {"id": "1"}, "output": {}, "scores": {"m": 1}}', 2),
        ('HEAD\n{"variant": "b", "case": {"id": "1"}, "output": {}, "repeat": true}', 2),
        ('HEAD\n{"variant": "b", "case": {"id": "1"}, "output": {"metadata": {"x": {"$float": 5}}}}', 2),
        ('HEAD\n{"variant": "b", "case": {"id": "1"}, "output": {"metadata": {"x": {"$float": "z"}}}}', 2),
    ],
)  # fmt: skip
def test_a_broken_run_file_names_the_line(tmp_path, text, line):
    path = tmp_path / "run.jsonl"
    export_run(new_run(), [], path)
    path.write_text(text.replace("HEAD", path.read_text().strip()))
    with pytest.raises(InputError) as caught:
        list(open_run_file(path)[1])
    assert f"run.jsonl:{line}: " in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_a_newer_run_files_extra_fields_are_passed_over(tmp_path):
    path = tmp_path / "run.jsonl"
    export_run(new_run(), [result()], path)
    path.write_text(path.read_text().replace('"variant":', '"invented":1,"variant":'))
    assert list(open_run_file(path)[1]) == [result()]


@pytest.mark.parametrize("cut", [1, 50, 2_000])
def test_a_packed_file_that_is_cut_or_damaged_is_one_line(tmp_path, cut):
    path = tmp_path / "run.jsonl.gz"
    export_run(new_run(), [result(str(n), text=os.urandom(30).hex()) for n in range(500)], path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match=r"run\.jsonl\.gz:\d+: can't be unpacked"):
        list(open_run_file(path)[1])
    path.write_bytes(b"plain text")
    with pytest.raises(InputError, match="can't be unpacked"):
        open_run_file(path)


@pytest.mark.parametrize("name", ["absent.jsonl", "", "a\x00b.jsonl", "a\ud800.jsonl"])
def test_a_run_file_that_can_not_be_read(tmp_path, name):
    with pytest.raises(InputError):
        open_run_file(tmp_path / name)
