"""References to environment variables in text: `${NAME}`, `${NAME:-default}`, and `$${` for a literal `${`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

_NAME = r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>((?!\$\{)[^}])*))?"
_VARIABLE = re.compile(rf"\$(\$\{{|\{{{_NAME}\}}|(?P<malformed>\{{[^}}]{{0,40}}\}}?))")


def fill_in(
    text: str, *, missing: Callable[[str], Exception], malformed: Callable[[str], Exception], needs_text: bool = False
) -> tuple[str, dict[str, str]]:
    """`text` with its references replaced, and the values that came from the environment, by variable.

    Raises `missing(name)` for a variable that isn't set and has no default, and `malformed(reference)` for any other
    `${`. With `needs_text`, a variable that is set but empty counts as not set.
    """
    taken: dict[str, str] = {}

    def replacement(match: re.Match[str]) -> str:
        if match.group(1) == "${":
            return "${"
        if match["malformed"]:
            raise malformed(match[0])
        name, default = match["name"], match["default"]
        found = os.environ.get(name)
        if found or (found is not None and default is None and not needs_text):
            taken[name] = found
            return found
        if default is None:
            raise missing(name)
        return str(default)

    return _VARIABLE.sub(replacement, text), taken
