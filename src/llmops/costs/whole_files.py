"""Files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from llmops.errors import InputError


class WholeFile:
    """A file beside `path` to fill; it takes `path`'s place when all went well.

    Raises `InputError` for a place that can't be written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        try:
            handle, name = tempfile.mkstemp(prefix=".llmops-", suffix=".part", dir=self._path.resolve().parent)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            hint = "name a file in a folder you may write to"
            raise InputError(f"can't write {self._path}: {reason}", hint=hint) from None
        os.close(handle)
        self._part = Path(name)
        return self._part

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None:
            self._part.unlink(missing_ok=True)
            return
        mask = os.umask(0)
        os.umask(mask)
        self._part.chmod(0o666 & ~mask)
        try:
            self._part.replace(self._path.resolve())
        except OSError as failed:
            self._part.unlink(missing_ok=True)
            raise InputError(f"can't write {self._path}: {(failed.strerror or '').lower()}") from None
