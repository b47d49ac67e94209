"""Finding prompts by reference. A reference names a working file."""

from __future__ import annotations

from pathlib import Path

from llmops.errors import InputError, NotFoundError, did_you_mean
from llmops.prompts.template import SUFFIX, FilePrompt, is_file, is_inside, load_prompt_file

Stamp = tuple[int, int] | None


class PromptStore:
    """The prompts under a folder, each read and compiled once until one of its files changes."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._loaded: dict[Path, tuple[dict[Path, Stamp], FilePrompt]] = {}

    def load(self, reference: str, *, where: str = "") -> FilePrompt:
        """The prompt `docs/answer` (file `docs/answer.prompt.md`), or the one at a path ending in `.prompt.md`.

        `where` is the `file:line` of the reference, for errors. Raises `NotFoundError` when there is no such file,
        `InputError` for a reference that can't be one, and `PromptError` when the file is wrong.
        """
        name, version = split_reference(reference, where)
        if version:
            hint = f"write {name} for the file as it is now"
            raise InputError(f"{reference!r}: prompt versions aren't supported yet", where=where, hint=hint)
        path = self._path(name, where)
        known = self._loaded.get(path)
        if known and all(_stamp(file) == stamp for file, stamp in known[0].items()):
            return known[1]
        before = _stamp(path)
        prompt = load_prompt_file(path, self.root)
        stamps = {file: _stamp(file) for file in (*prompt.files, *prompt.absent)} | {path: before}
        self._loaded[path] = (stamps, prompt)
        return prompt

    def files(self, reference: str) -> list[Path]:
        """The prompt's file and every partial it includes, as absolute paths."""
        return list(self.load(reference).files)

    def names(self) -> list[str]:
        """All working prompts, sorted; releases are not among them."""
        if not self.root.is_dir():
            return []
        found = (p.relative_to(self.root).as_posix() for p in self.root.rglob("*" + SUFFIX) if p.is_file())
        return sorted(n.removesuffix(SUFFIX) for n in found if not n.startswith("releases/"))

    def _path(self, name: str, where: str) -> Path:
        if "\0" in name or "\\" in name:
            raise InputError(f"{name!r:.80} isn't a prompt", where=where, hint="write folder/name")
        given = Path(name if name.endswith(SUFFIX) else name + SUFFIX)
        places = [self.root / given]
        if name.endswith(SUFFIX):
            places.append(given.absolute())
        for path in places:
            if ".." in given.parts or not is_inside(path, self.root):
                continue
            if is_file(path):
                return path
        if ".." in given.parts or not any(is_inside(path, self.root) for path in places):
            raise InputError(f"{name!r:.80} is outside the prompts folder {self.root.name}/", where=where)
        short = name.removesuffix(SUFFIX)
        raise NotFoundError(f"no prompt {short!r:.80}", where=where, hint=self._hint(short))

    def _hint(self, name: str) -> str:
        known = self.names()
        if not known:
            return f"there are no {SUFFIX} files in {self.root.name}/"
        close = did_you_mean(name, known)
        if close.startswith("did"):
            return close
        same_end = [k for k in known if k.rsplit("/", 1)[-1] == name.rsplit("/", 1)[-1]]
        return f"did you mean {same_end[0]!r}?" if same_end else did_you_mean(name, known[:20])


def split_reference(reference: str, where: str = "") -> tuple[str, str]:
    """A reference's name and version: `docs/answer@2` is `("docs/answer", "2")`."""
    name, _, version = reference.partition("@")
    if not name.strip() or (name.startswith("/") and not name.endswith(SUFFIX)):
        raise InputError(f"{reference!r:.80} doesn't name a prompt", where=where, hint="write folder/name")
    if "@" in reference and not version:
        raise InputError(f"{reference!r:.80} has nothing after @", where=where)
    return name, version


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size
