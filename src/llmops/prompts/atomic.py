"""Files that are there whole or not at all, and changes that wait for each other."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from llmops.errors import StoreError

TEMPORARY = ".llmops-tmp-"


def create(path: Path, data: bytes) -> bool:
    """Write a new file; false when there is one already. Raises `StoreError`."""
    return _written(path, data, replace=False)


def replace(path: Path, data: bytes) -> None:
    """Write a file, in place of the one that may be there. Raises `StoreError`."""
    _written(path, data, replace=True)


def _written(path: Path, data: bytes, *, replace: bool) -> bool:
    draft = path.with_name(f"{TEMPORARY}{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise StoreError(f"{path} can't be written: a file is where a folder of it should be") from None
    except OSError as problem:
        raise _unwritten(path, problem) from None
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            _link(draft, path)
        _sync_folder(path.parent)
    except FileExistsError:
        return False
    except OSError as problem:
        raise _unwritten(path, problem) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return True


def _unwritten(path: Path, problem: OSError) -> StoreError:
    return StoreError(f"{path} can't be written: {problem.strerror or problem}")


def _link(draft: Path, path: Path) -> None:
    """Give the draft its name unless that is taken; file systems without hard links get a check and a rename."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError from None
        draft.replace(path)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system lets a folder be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; a process that is killed gives it back. Without locks on this system, do nothing."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as problem:
        raise StoreError(f"{folder} can't be opened: {problem.strerror or problem}") from None
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
