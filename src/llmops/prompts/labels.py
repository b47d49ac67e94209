"""`releases/labels.yaml`: which release each label of each prompt points at, read, checked and edited in place.

    docs/answer:
      production: {version: 2, at: "2026-11-24T19:30:00Z", by: Ann, before: [1]}
      staging: 3
      live: {route: {production: 90, staging: 10}}

One line a label, so that a move is one changed line. An edit replaces that line and leaves the rest of the file alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops.errors import PromptError, did_you_mean
from llmops.prompts import atomic
from llmops.prompts.label_edits import FOOTER, is_whole, with_label
from llmops.prompts.references import LATEST, is_label, parse_reference
from llmops.prompts.trees import RELEASES, Tree, WorkTree
from llmops.prompts.writing import flow, scalar
from llmops.yamlfile import Document, load_yaml

FILE = f"{RELEASES}/labels.yaml"
MAX_BEFORE = 20
MAX_BYTES = 20_000_000
_MARK = "\ufeff"
_KEYS = ("at", "before", "by", "content", "dataset", "reason", "rolled_back", "route", "run", "verdict", "version")


@dataclass(frozen=True, slots=True)
class Label:
    """A label of one prompt: the version it points at, or the shares of a route, in percent.

    `before` are the versions it pointed at earlier, oldest first. `facts` are who moved it, when (UTC), why, and the
    evidence: run id, dataset fingerprint and verdict.
    """

    name: str
    version: int | None = None
    route: Mapping[str, float] = field(default_factory=dict)
    before: tuple[int, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    where: str = field(default="", compare=False)

    def written(self) -> str:
        """The label's line, without its indent."""
        if self.route:
            value: Any = {"route": dict(self.route), **self.facts}
        else:
            before = {"before": list(self.before)} if self.before else {}
            value = {"version": self.version, **self.facts, **before}
            value = self.version if len(value) == 1 else value
        return f"{scalar(self.name)}: {flow(value)}"

    def choose(self, prompt: str, key: str) -> str:
        """Which of a route's targets a key falls to: always the same one, whatever the process or machine.

        The key's place in [0, 100) is 64 bits of a hash over prompt, label and key; the targets share that stretch in
        the order they are written.
        """
        text = f"{prompt}\0{self.name}\0{key}".encode("utf-8", "surrogatepass")
        place = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64 * 100
        for target, share in self.route.items():
            place -= share
            if place < 0:
                return target
        return list(self.route)[-1]


Labels = Mapping[str, Mapping[str, Label]]
"""Labels by prompt and name."""


def read_labels(tree: Tree) -> Labels:
    """All labels; none when there is no file. Raises `PromptError` with `file:line`."""
    return _checked(_document(_text(tree), tree.shown(FILE)))


def without_labels(tree: Tree) -> list[tuple[str, str]]:
    """Prompts that are in the file with no label below them, and where (`file:line`). Raises `PromptError`."""
    document = _document(_text(tree), tree.shown(FILE))
    return [(name, document.where((name,))) for name, mine in _checked(document).items() if not mine]


def _text(tree: Tree) -> str:
    data = tree.read(FILE, limit=MAX_BYTES)
    if data is None:
        return ""
    where = f"{tree.shown(FILE)}:1"
    if len(data) > MAX_BYTES:
        raise PromptError(f"larger than {MAX_BYTES:,} bytes", where=where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise PromptError("not UTF-8 text", where=where) from None
    if not is_whole(text.removeprefix(_MARK)):
        where = f"{tree.shown(FILE)}:{len(text.splitlines()) or 1}"
        hint = f"restore it; if nothing is missing, make this the last line: {FOOTER}"
        raise PromptError("cut off: labels may be missing", where=where, hint=hint)
    return text


def _document(text: str, shown: str) -> Document:
    try:
        return load_yaml(text.removeprefix(_MARK), name=shown, error=PromptError)
    except PromptError as problem:
        if "written twice" in problem.message:
            problem.hint = "two branches moved it: keep the line that is right"
        raise


def _checked(document: Document) -> Labels:
    data = {} if document.data is None else document.data
    if not isinstance(data, Mapping):
        hint = "write docs/answer: on a line, and below it, indented, production: 1"
        raise PromptError("labels are a mapping of prompts", where=document.where(), hint=hint)
    found: dict[str, dict[str, Label]] = {}
    for name, labels in data.items():
        if not isinstance(labels, Mapping) and labels is not None:
            hint = f"write {name}: on a line, and below it, indented, production: 1"
            raise PromptError("a prompt has a mapping of labels", where=document.where((name,)), hint=hint)
        parse_reference(name, document.where((name,)))
        found[name] = {label: _label(name, label, value, document) for label, value in (labels or {}).items()}
        for label in found[name].values():
            _check_route(label, found[name])
    return found


def _label(name: str, label: str, value: Any, document: Document) -> Label:
    where = document.where((name, label))
    if not is_label(label):
        hint = f"a letter, then letters, digits, - and _; not {LATEST}, not like a content id"
        raise PromptError(f"{label!r:.70} can't be a label", where=where, hint=hint)
    form = value if isinstance(value, Mapping) else {"version": value}
    for key in form:
        if key not in _KEYS:
            raise PromptError(f"label {label} has no {key!r:.60}", where=where, hint=did_you_mean(key, _KEYS))
    if ("route" in form) == ("version" in form):
        raise PromptError(f"label {label} has a version or a route", where=where, hint=f"{label}: 1")
    facts = {key: item for key, item in form.items() if key not in ("version", "route", "before")}
    if "route" in form:
        return Label(label, route=_route(label, form["route"], where), facts=facts, where=where)
    before = form.get("before", [])
    if not _is_version(form["version"]):
        raise PromptError(f"label {label} points at a number", where=where, hint=f"{label}: 1")
    if not isinstance(before, list) or not all(map(_is_version, before)):
        raise PromptError(f"label {label}: before is a list of versions", where=where, hint="before: [1, 2]")
    return Label(label, form["version"], before=tuple(before), facts=facts, where=where)


def _is_version(value: Any) -> bool:
    return type(value) is int and 0 < value < 10**9


def _route(label: str, shares: Any, where: str) -> Mapping[str, float]:
    hint = f"{label}: {{route: {{production: 90, staging: 10}}}}"
    if not isinstance(shares, Mapping) or not shares:
        raise PromptError(f"label {label}: a route gives labels or versions their share", where=where, hint=hint)
    for target, share in shares.items():
        if type(share) not in (int, float) or not 0 <= share <= 100:
            raise PromptError(f"label {label}: {share!r:.20} is no percentage", where=where, hint=hint)
        if not is_label(target) and not (target.isdigit() and _is_version(int(target))):
            raise PromptError(f"label {label}: {target!r:.70} is no label or version", where=where, hint=hint)
    if abs(sum(shares.values()) - 100) > 1e-6:
        raise PromptError(f"label {label}: its shares add up to {sum(shares.values()):g}, not 100", where=where)
    return dict(shares)


def _check_route(label: Label, others: Mapping[str, Label]) -> None:
    for target in label.route:
        if target.isdigit():
            continue
        if target not in others:
            raise PromptError(
                f"label {label.name}: no label is called {target}", where=label.where, hint=did_you_mean(target, others)
            )
        if others[target].route:
            raise PromptError(f"label {label.name}: {target} is a route itself", where=label.where)


def set_label(tree: WorkTree, name: str, label: Label) -> None:
    """Write a label into the file, its line replaced or added and all else left as it is.

    Raises `PromptError` when the file is wrong or laid out so that this can't be done, `StoreError` when it can't be
    written. Hold `atomic.one_at_a_time` around reading and setting.
    """
    text, shown = _text(tree), tree.shown(FILE)
    document = _document(text, shown)
    before = _checked(document)
    mark = _MARK if text.startswith(_MARK) else ""
    made = with_label(text.removeprefix(mark), document, name, label.name, label.written())
    try:
        after = _checked(_document(made, shown)) if made is not None else {}
    except PromptError as problem:
        if problem.message.startswith((f"label {label.name} ", f"label {label.name}:", f"{label.name!r:.70} can't")):
            raise
        after = {}
    if made is None or after != {**before, name: {**before.get(name, {}), label.name: label}}:
        where = document.where((name, label.name))
        hint = "write the prompt's name on one line and each label on its own line below it"
        raise PromptError("laid out so that a label can't be changed", where=where, hint=hint)
    atomic.replace(tree.root / FILE, (mark + made).encode())
