"""The search: a line of versions, the ends, and halving what lies between a good and a broken one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from llmops import git
from llmops.bisecting.probing import Answered, Probe
from llmops.errors import EXIT_INCONCLUSIVE, EXIT_PASS, LlmopsError
from llmops.prompts.comparison.diffing import PromptDiff, diff_prompts
from llmops.prompts.lineage import Version, lineage
from llmops.prompts.references import Reference
from llmops.types import MetricInfo

Outcome = Literal["found", "nothing broke", "undecided"]
Progress = Callable[[Version, int], None]


@dataclass(frozen=True)
class Tested:
    """A version with what it answered."""

    version: Version
    answered: Answered


@dataclass(frozen=True)
class Bisection:
    """What a search found. `before` and `after` are the last good and the first broken version that were tested.

    `suspects` are the versions after `before` up to `after`: one when it is found. `skipped` couldn't be tested.
    `earlier` are times before that the case was broken (first) and right again (second). `versions` counts the
    distinct contents looked at, `asked` the requests that went to a backend, `cached` those that didn't need to.
    """

    suite: str
    variant: str
    prompt: str
    case: str
    metric: MetricInfo
    outcome: Outcome
    good: Tested
    bad: Tested
    threshold: float
    before: Tested | None = None
    after: Tested | None = None
    suspects: tuple[Version, ...] = ()
    skipped: tuple[Tested, ...] = ()
    earlier: tuple[tuple[Version, Version], ...] = ()
    versions: int = 0
    asked: int = 0
    cached: int = 0
    diff: PromptDiff | None = None
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when the commit was found or nothing broke, 3 when it can't be told."""
        return EXIT_INCONCLUSIVE if self.outcome == "undecided" else EXIT_PASS


@dataclass
class Stretch:
    """Versions in order, oldest first, with the answers known so far."""

    versions: Sequence[Version]
    tested: dict[int, Answered] = field(default_factory=dict)

    def at(self, place: int) -> Tested:
        return Tested(self.versions[place], self.tested[place])

    def scored(self) -> list[tuple[int, float]]:
        """Places with a score, in order."""
        return [(place, one.score) for place, one in sorted(self.tested.items()) if one.score is not None]


class Search:
    """The search in one line of versions, and in the branch that a merge brought in."""

    def __init__(
        self, line: Sequence[Version], probe: Probe, info: MetricInfo, progress: Progress | None = None
    ) -> None:
        self.main = Stretch(line)
        self.probe = probe
        self.info = info
        self.progress = progress
        self.sign = -1.0 if info.direction == "lower" else 1.0
        self.threshold = 0.0
        self.skipped: dict[str, Tested] = {}

    def run(self, good: str, bad: str, saved: Callable[[], Mapping[str, float]]) -> Bisection:
        """Test the ends, then what halves the rest. `good` and `bad` are what the user named, or empty.

        `saved` gives scores by content id from saved runs: a hint where to begin without `good`.
        """
        low, high = self._ends(good, bad, saved)
        ends = self.main.at(low), self.main.at(high)
        if self._fell(low, high) <= 0:
            alone = low == high and bool(self.skipped)
            return self._made("undecided" if alone else "nothing broke", *ends)
        scores = dict(self.main.scored())
        self.threshold = (scores[low] + scores[high]) / 2
        right = [place for place, score in scores.items() if low <= place < high and not self.is_broken(score)]
        low = max(right)
        high = min(place for place, score in scores.items() if low < place <= high and self.is_broken(score))
        stretch, low, high = self._into_branches(self.main, *self._narrow(self.main, low, high))
        made = self._made("found" if high == low + 1 else "undecided", *ends)
        before, after = stretch.at(low), stretch.at(high)
        assert before.version.prompt is not None and after.version.prompt is not None
        diff = diff_prompts(before.version.prompt, after.version.prompt)
        suspects = tuple(stretch.versions[low + 1 : high + 1])
        return replace(made, before=before, after=after, suspects=suspects, diff=diff, earlier=self._earlier())

    def _ends(self, good: str, bad: str, saved: Callable[[], Mapping[str, float]]) -> tuple[int, int]:
        last = len(self.main.versions) - 1
        high = self._end(range(last, -1, -1), f"--bad {bad}" if bad else "")
        self._look_up(self.main)
        if good:
            return self._end([0], f"--good {good}"), high
        low = self._end(range(self._passed(high, saved), high + 1), "")
        if low and self._fell(low, high) <= 0:  # what was said to be right isn't
            low = self._end(range(high + 1), "")
        return low, high

    def is_broken(self, score: float) -> bool:
        return self.sign * (self.threshold - score) > 0

    def _made(self, outcome: Outcome, good: Tested, bad: Tested) -> Bisection:
        contents = {version.content_id for version in self.main.versions} - {""}
        name = bad.version.reference.name
        skipped = tuple(self.skipped.values())
        return Bisection(
            "", "", name, "", self.info, outcome, good, bad, self.threshold, skipped=skipped, versions=len(contents)
        )

    def _end(self, places: Iterable[int], asked_for: str) -> int:
        """The first of these places that can be tested; the very first, or an error, when the user named it."""
        first: LlmopsError | None = None
        for place in places:
            answered = self._test(self.main, place)
            if answered.problem is None:
                return place
            first = first or answered.problem
            if asked_for:
                break
        assert first is not None
        first.message = f"{asked_for or 'no version can be tested'}: {first.message}"
        raise first

    def _fell(self, low: int, high: int) -> float:
        scores = dict(self.main.scored())
        fell = self.sign * (scores[low] - scores[high])
        return fell if fell > 1e-9 else 0.0  # means of the same scores may differ by a rounding

    def _passed(self, high: int, saved: Callable[[], Mapping[str, float]]) -> int:
        """The newest place that scored better than the bad end by more than half of the metric's range, else 0."""
        info, scores = self.info, dict(self.main.scored())
        if info.low is None or info.high is None:
            return 0
        known = saved() if high else {}
        for place in range(high - 1, 0, -1):
            score = scores.get(place, known.get(self.main.versions[place].content_id))
            if score is not None and self.sign * (score - scores[high]) > (info.high - info.low) / 2:
                return place
        return 0

    def _test(self, stretch: Stretch, place: int, left: int = 0) -> Answered:
        if place in stretch.tested:
            return stretch.tested[place]
        version = stretch.versions[place]
        answered = self.probe.known(version)
        if answered is None:
            if self.progress is not None:
                self.progress(version, left)
            answered = self.probe.ask(version)
        stretch.tested[place] = answered
        if answered.problem is not None:
            self.skipped.setdefault(version.commit, Tested(version, answered))
        return answered

    def _look_up(self, stretch: Stretch) -> None:
        """What is known of versions without asking."""
        for place, version in enumerate(stretch.versions):
            if place not in stretch.tested and version.problem is None:
                answered = self.probe.known(version)
                if answered is not None and answered.problem is None:
                    stretch.tested[place] = answered

    def _narrow(self, stretch: Stretch, low: int, high: int) -> tuple[int, int]:
        """The last good and the first broken place that can be told between a good and a broken one."""
        while left := [place for place in range(low + 1, high) if place not in stretch.tested]:
            place = min(left, key=lambda place: abs(2 * place - low - high))
            answered = self._test(stretch, place, len(left).bit_length())
            if answered.score is None:
                continue
            if self.is_broken(answered.score):
                high = place
            else:
                low = place
        return low, high

    def _into_branches(self, stretch: Stretch, low: int, high: int) -> tuple[Stretch, int, int]:
        """When a merge broke it: the commit of the branch that it merged, when that was broken and hadn't begun so."""
        while high == low + 1 and (version := stretch.versions[high]).commit:
            for line in _branches(self.probe.config.prompts_dir, version):
                branch = Stretch(line)
                ends = [self._test(branch, place).score for place in (len(line) - 1, 0)]
                if None not in ends and self.is_broken(ends[0] or 0.0) and not self.is_broken(ends[1] or 0.0):
                    self._look_up(branch)
                    stretch, (low, high) = branch, self._narrow(branch, 0, len(line) - 1)
                    break
            else:
                break
        return stretch, low, high

    def _earlier(self) -> tuple[tuple[Version, Version], ...]:
        """Places where the main line was broken and then right, as far as it was tested."""
        found: list[tuple[Version, Version]] = []
        broke: int | None = None
        for place, score in self.main.scored():
            if self.is_broken(score):
                broke = place if broke is None else broke
            elif broke is not None:
                found.append((self.main.versions[broke], self.main.versions[place]))
                broke = None
        return tuple(found)


def _branches(root: Path, version: Version) -> Iterator[list[Version]]:
    """What a merge brought in: for each further parent, its line since it parted from the first parent's."""
    at = git.existing(root)
    parents = git.text(at, "rev-list", "--parents", "--max-count=1", version.commit).split()[1:]
    reference = Reference(version.reference.name, version.reference.version)
    for parent in parents[1:]:
        try:
            base = git.text(at, "merge-base", parents[0], parent).strip()
            yield lineage(root, reference, parent, base)
        except LlmopsError:  # histories with nothing in common, or the prompt has another name there
            continue
