"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path

from llmops.errors import InputError, LlmopsError, StoreError

STDOUT = Path("-")


def check_place(path: Path) -> None:
    """Raises `InputError` for a file that could not be written. Folders that are missing are made when it is."""
    try:
        folder = next(parent for parent in path.resolve().parents if parent.exists())
        wrong = path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK)
    except OSError as error:
        raise _unwritable(path, error) from None
    if wrong and not _is_device(path):
        raise InputError(f"can't write {path}", hint=f"look at the folder {folder}")


def make_folder(path: Path) -> None:
    """Make the folders of a file that are missing. Raises `InputError`, `StoreError` when the disk is full."""
    try:
        path.resolve().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


class WholeFile:
    """A file beside `path` to fill; it takes `path`'s place when all went well. Folders that are missing are made.

    `-` is stdout; to it and to a device or pipe, such as /dev/stdout, the whole is written at the end. Raises
    `InputError` for a place that can't be written to, `StoreError` when the disk is full or fails.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams = path == STDOUT or _is_device(path)

    def __enter__(self) -> Path:
        try:
            if not self._streams:
                make_folder(self._path)
            folder = None if self._streams else self._path.resolve().parent
            handle, name = tempfile.mkstemp(prefix=".llmops-", suffix=".part", dir=folder)
        except OSError as error:
            raise _unwritable(self._path, error) from None
        os.close(handle)
        self._part = Path(name)
        return self._part

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._send() if self._streams else self._replace()
        except BrokenPipeError:
            raise
        except OSError as failed:
            raise _unwritable(self._path, failed) from None
        finally:
            self._part.unlink(missing_ok=True)

    def _send(self) -> None:
        with self._part.open("rb") as made:
            if self._path == STDOUT:
                shutil.copyfileobj(made, sys.stdout.buffer)
                sys.stdout.buffer.flush()
                return
            with self._path.open("wb") as device:
                shutil.copyfileobj(made, device)

    def _replace(self) -> None:
        mask = os.umask(0)
        os.umask(mask)
        self._part.chmod(0o666 & ~mask)
        self._part.replace(self._path.resolve())


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _unwritable(path: Path, error: OSError) -> LlmopsError:
    reason = (error.strerror or type(error).__name__).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return StoreError(f"can't write {path}: {reason}", hint="make room, or choose another disk")
    return InputError(f"can't write {path}: {reason}", hint="name a file in a folder you may write to")
