"""Finding prompts by reference: working files, releases by number, label or content, and any git revision."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from llmops.errors import InputError, NotFoundError, did_you_mean
from llmops.prompts.labels import FILE as LABELS
from llmops.prompts.labels import Label, Labels, read_labels
from llmops.prompts.parsing import SUFFIX
from llmops.prompts.reading import Reading, Stamp, stamp_of
from llmops.prompts.references import LATEST, Reference, check_name, parse_reference
from llmops.prompts.release_files import release_file, versions
from llmops.prompts.releases import find_content, read_release
from llmops.prompts.template import FilePrompt, compiled_prompt
from llmops.prompts.trees import RevisionTree, Tree, WorkTree, is_file, is_inside, working_names

MAX_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Found:
    """Where a reference leads: a file and its version (None for a working file), by which label and route."""

    file: str
    version: int | None = None
    label: str = ""
    route: str = ""


class PromptStore:
    """The prompts under a folder, each read and compiled once: until one of its files changes, or for good.

    With `watch`, files are looked at again on each load; without, what was loaded once stays. `revision` reads all
    as it was at a git revision. Threads may share a store.
    """

    def __init__(self, root: Path, revision: str = "", *, watch: bool = True) -> None:
        self.root = root.absolute()
        self.revision = revision
        self.watch = watch
        self.tree: Tree = RevisionTree(self.root, revision) if revision else WorkTree(self.root)
        self._loaded: dict[Found, tuple[dict[Path, Stamp], FilePrompt]] = {}
        self._revisions: dict[str, PromptStore] = {}
        self._labels: tuple[Stamp, Labels] | None = None
        self._kept: dict[str, FilePrompt] = {}
        self._lock = threading.RLock()

    def load(self, reference: str, *, where: str = "", key: str | None = None, again: bool = False) -> FilePrompt:
        """The prompt that a reference names; `key` (a user's id, say) decides where a label is a route.

        `again` looks at the files even in a store that doesn't watch, and keeps what it finds.

        A reference may also be a path ending in `.prompt.md`. `where` is the `file:line` of the reference, for
        errors. Raises `NotFoundError` when there is no such prompt, version, label or revision, `InputError` for a
        reference that can't be one, and `PromptError` when a file is wrong.
        """
        kept = self._kept.get(reference)
        if kept is not None and not again:
            return kept
        with self._lock:
            watch, self.watch = self.watch, self.watch or again
            try:
                prompt = self._load(parse_reference(reference, where), where, key)
            finally:
                self.watch = watch
            if not self.watch and not prompt.route:
                if len(self._kept) >= MAX_KEPT:
                    self._kept.clear()
                self._kept[reference] = prompt
            return prompt

    def _load(self, wanted: Reference, where: str, key: str | None) -> FilePrompt:
        if wanted.revision:
            at = self._at(wanted.revision, where)
            return at._load(Reference(wanted.name, wanted.version), where, key)
        found = self.resolve(wanted, where, key)
        known = self._loaded.get(found)
        if known and (not self.watch or all(stamp_of(path) == stamp for path, stamp in known[0].items())):
            return known[1]
        path = self.tree.path(found.file)
        before = {path: stamp_of(path)} if path else {}
        read = self._read(found, wanted.name, where)
        how = {"version": found.version, "label": found.label, "route": found.route}
        prompt = compiled_prompt(read, **how, revision=self.revision)
        stamps = {path: self._seen(path, read) for path in (*prompt.files, *prompt.absent)} | before
        self._loaded[found] = (stamps, prompt)
        return prompt

    def _seen(self, path: Path, read: Reading) -> Stamp:
        """A file's stamp from before it was read; a change while it was being read shows the next time."""
        return read.stamps.get(path) or stamp_of(path)

    def _read(self, found: Found, name: str, where: str) -> Reading:
        if found.version is None:
            return Reading(self.tree, found.file, found.file.removesuffix(SUFFIX))
        try:
            return read_release(self.tree, name, found.version, where)
        except NotFoundError:
            if not versions(self.tree, name):
                raise self._unknown(name, where) from None
            raise

    def resolve(self, wanted: Reference, where: str = "", key: str | None = None) -> Found:
        """What a reference (without revision) names. Raises as `load` does, but reads no prompt."""
        name = wanted.name
        if not wanted.version:
            return Found(self._working_file(name, where))
        check_name(name, where)
        if wanted.is_content_id:
            return self._by_content(wanted, where)
        version, label, route = wanted.number, "", ""
        if wanted.version == LATEST:
            known = versions(self.tree, name)
            if not known:
                raise self._unknown(name, where)
            version = known[-1]
        elif version is None:
            label = wanted.version
            found = self.label(name, label, where)
            if found.route:
                route, found, label = label, *self._routed(found, name, where, key)
            version = found.version
        assert version is not None
        return Found(release_file(name, version), version, label, route)

    def label(self, name: str, label: str, where: str = "") -> Label:
        """A prompt's label. Raises `NotFoundError` when it has none of that name."""
        mine = self.labels().get(name, {})
        if label in mine:
            return mine[label]
        if not versions(self.tree, name):
            raise self._unknown(name, where)
        hint = did_you_mean(label, mine) if mine else f"llmops prompt promote {name} --to {label} sets it"
        raise NotFoundError(f"{name} has no label {label!r:.70}", where=where, hint=hint)

    def labels(self) -> Labels:
        """All labels by prompt and name, read again when the file has changed. Raises `PromptError`."""
        if self._labels is not None and not self.watch:
            return self._labels[1]
        path = self.tree.path(LABELS)
        stamp = stamp_of(path) if path else None
        if self._labels is None or self._labels[0] != stamp:
            self._labels = (stamp, read_labels(self.tree))
        return self._labels[1]

    def _routed(self, route: Label, name: str, where: str, key: str | None) -> tuple[Label, str]:
        if key is None:
            hint = f'load_prompt("{name}@{route.name}", key=user_id): one key always gets one version'
            raise InputError(f"{name}@{route.name} is a route and needs a key", where=where, hint=hint)
        target = route.choose(name, key)
        if target.isdigit():
            return Label(target, int(target)), ""
        return self.label(name, target, where), target

    def _by_content(self, wanted: Reference, where: str) -> Found:
        found = find_content(self.tree, wanted.name, wanted.version)
        if found is not None:
            return Found(found.file, found.version)
        file = wanted.name + SUFFIX
        if self.tree.read(file) is not None and self._content(file).startswith(wanted.version):
            return Found(file)
        if self.tree.read(file) is None and not versions(self.tree, wanted.name):
            raise self._unknown(wanted.name, where)
        hint = "the file has changed since, or was never released"
        raise NotFoundError(f"{wanted.name} has no content {wanted.version[:12]}", where=where, hint=hint)

    def _content(self, file: str) -> str:
        return Reading(self.tree, file, file.removesuffix(SUFFIX)).content_id

    def _at(self, revision: str, where: str) -> PromptStore:
        known = self._revisions.get(revision)
        if known is None or self.watch:  # a branch may have moved
            try:
                known = PromptStore(self.root, revision, watch=False)
            except InputError as problem:
                problem.where = problem.where or where
                raise
            self._revisions[revision] = known
        return known

    def files(self, reference: str) -> list[Path]:
        """All files that decide what a reference gives, as absolute paths: prompt, partials, labels."""
        wanted = parse_reference(reference)
        prompt = self.load(reference, key="")
        moved = [self.root / LABELS] if wanted.is_movable and not wanted.revision else []
        return [*prompt.files, *moved]

    def names(self) -> list[str]:
        """All working prompts, sorted; releases are not among them."""
        return working_names(self.tree)

    def versions(self, name: str) -> list[int]:
        """Numbers of a prompt's releases, sorted."""
        return versions(self.tree, name)

    def _working_file(self, name: str, where: str) -> str:
        """The file of a working prompt, from the prompts folder."""
        if "\0" in name or "\\" in name:
            raise InputError(f"{name!r:.80} isn't a prompt", where=where, hint="write folder/name")
        given = Path(name if name.endswith(SUFFIX) else name + SUFFIX)
        if self.revision:
            if self.tree.read(given.as_posix(), where=where) is not None:
                return given.as_posix()
            raise NotFoundError(f"no prompt {name!r:.80} at {self.revision}", where=where)
        places = [self.root / given]
        if name.endswith(SUFFIX):
            places.append(given.absolute())
        for path in places:
            if ".." in given.parts or not is_inside(path, self.root):
                continue
            if is_file(path):
                return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else given.as_posix()
        if ".." in given.parts or not any(is_inside(path, self.root) for path in places):
            raise InputError(f"{name!r:.80} is outside the prompts folder {self.root.name}/", where=where)
        raise self._unknown(name.removesuffix(SUFFIX), where)

    def _unknown(self, name: str, where: str) -> NotFoundError:
        if not self.revision and is_file(self.root / name / "SKILL.md"):
            hint = f"llmops prompt show {name} shows its folder"
            return NotFoundError(f"{name} is a skill, not a prompt", where=where, hint=hint)
        at = f" at {self.revision}" if self.revision else ""
        known = versions(self.tree, name)
        if known:
            hint = f"{name}@latest is release {known[-1]}"
            return NotFoundError(f"{name} has releases but no working file{at}", where=where, hint=hint)
        if not self.revision and is_file(self.root / (name + SUFFIX)):
            hint = f"llmops prompt release {name} makes version 1"
            return NotFoundError(f"{name} was never released", where=where, hint=hint)
        return NotFoundError(f"no prompt {name!r:.80}{at}", where=where, hint=self._hint(name))

    def _hint(self, name: str) -> str:
        known = self.names()
        if not self.revision and not self.root.is_dir():
            return f"there is no folder {self.root}"
        if not self.revision and is_file(self.root / "prompts" / (name + SUFFIX)):
            return f"the folder of prompts is {self.root / 'prompts'}"
        if not known:
            return f"there are no {SUFFIX} files in {self.tree.shown('') or self.root}"
        close = did_you_mean(name, known)
        if close.startswith("did"):
            return close
        same_end = [k for k in known if k.rsplit("/", 1)[-1] == name.rsplit("/", 1)[-1]]
        return f"did you mean {same_end[0]!r}?" if same_end else did_you_mean(name, known[:20])
