"""Telling whether the process that wrote something is still there."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """A mark of this process: host, pid, and when it started, so that a reused pid isn't taken for it.

    `pids` is whose pids those are: containers may share a host's name.
    """
    pid = os.getpid()
    return {"host": platform.node(), "pids": _pids(), "pid": pid, "started": _started(pid)}


def is_alive(mark: Mapping[str, Any] | None) -> bool:
    """True when the marked process certainly runs on this host; false when it ended or nobody can tell."""
    if not mark or not _is_here(mark):
        return False
    pid = int(mark["pid"])
    return pid != os.getpid() and _started(pid) == mark["started"]


def has_ended(mark: Mapping[str, Any] | None) -> bool:
    """True when the marked process certainly ran on this host and ended; false when nobody can tell from here."""
    if not mark or not _is_here(mark):
        return False
    return bool(_started(int(mark["pid"])) != mark["started"])


def _is_here(mark: Mapping[str, Any]) -> bool:
    """Whether /proc says what became of the marked process."""
    is_host = mark.get("host") == platform.node() and mark.get("pids", _pids()) == _pids()
    return is_host and mark.get("started") is not None


def _pids() -> str:
    """The namespace of this process's pids (pid_namespaces(7)), empty where there is no /proc."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Start time in clock ticks since boot (field 22 of proc(5)'s stat), where there is /proc."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return None if words[0] in ("Z", "X") else words[19]  # a child that has ended and nobody waited for
    except (OSError, IndexError):
        return None
