"""Whom a call of litellm is for, by litellm's own ways to say it: `metadata`, `litellm_metadata`, `tags`, `user`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from llmops.integrations.open_calls import OWN_NAMES, labelled

WORDS = "litellm_tags"
"""The tag that holds those of litellm's tags that are no `name:value`."""
_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,63}):\s*(?!//)(\S.*)", re.ASCII)
_LISTS = ("tags", "request_tags")
_OF_A_CALL = frozenset({"backend", "fallback_from", "model", "prompt_id", "provider", "purpose", "run", "suite", "tags",
                        "variant", "version"})  # fmt: skip
"""What a call knows by itself, and no tag may be named."""
_MOST = 50
_LONGEST = 200


@contextlib.contextmanager
def attributed_as(arguments: Any, user: Any, names: Collection[str]) -> Iterator[None]:
    """Attribute what is begun inside by the `metadata` and `litellm_metadata` in a call's arguments, and its `user`.

    What `metadata` names itself comes first (team, feature, user, prompt, and the names in `names`), then what its list
    of `tags` says as `name:value`. Tags of any other form are one tag, `litellm_tags`, joined by commas. Never raises
    for what is in there: what can't be read is left out.
    """
    try:
        given, tags = _labels(arguments, user, names)
    except Exception:  # anything may stand in metadata, with methods of its own
        given, tags = {}, ()
    with labelled(given, tags):
        yield


def _labels(arguments: Any, user: Any, names: Collection[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """What a call is labelled with, by name; and which of the names are of tags."""
    sources = [_readable(arguments.get(name)) for name in ("metadata", "litellm_metadata")]
    pairs, words = _split([tag for source in sources for name in _LISTS for tag in _listed(source.get(name))])
    wanted = (*OWN_NAMES, "run", *names)
    given = {name: text for source in reversed(sources) for name in wanted if (text := _text(source.get(name)))}
    made = {"user": _text(user), WORDS: _joined(words), **pairs, **given}
    return made, tuple(name for name in made if name not in (*OWN_NAMES, "run"))


def _readable(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    """A text or number as text that can be shown, without spaces around it; empty for all else."""
    try:
        made = str(value).strip()[:_LONGEST] if isinstance(value, (str, int, float)) else ""
    except Exception:  # a class of the caller's own
        return ""
    return made if made.isprintable() else ""


def _listed(value: Any) -> list[str]:
    """Tags of a list of them, or of one alone."""
    listed = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple, set, frozenset)) else ()
    return [tag for item in islice(listed, _MOST) if (tag := _text(item))]


def _split(tags: list[str]) -> tuple[dict[str, str], list[str]]:
    """Tags of the form `name:value` by their names, the first of each name; and the others, once each."""
    pairs: dict[str, str] = {}
    words: list[str] = []
    for tag in tags:
        found = _PAIR.fullmatch(tag)
        if found is None or found[1] in _OF_A_CALL:
            words.append(tag)
        else:
            pairs.setdefault(found[1], found[2])
    return pairs, list(dict.fromkeys(words))


def _joined(words: list[str]) -> str:
    """As many whole words as fit into a tag, in the order of the alphabet: the same ones are the same tag."""
    text = ""
    for word in sorted(words):
        longer = f"{text},{word}" if text else word
        if len(longer) > _LONGEST:
            break
        text = longer
    return text
