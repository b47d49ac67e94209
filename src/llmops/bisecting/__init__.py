"""`llmops bisect`: which commit of a prompt broke a case, by a binary search that pays only for unknown answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmops import git
from llmops.bisecting.probing import CountingCache, Probe
from llmops.bisecting.search import Bisection, Progress, Search
from llmops.bisecting.subject import Subject, find_subject, saved_scores
from llmops.config import store_location
from llmops.evals.suite import load_suite
from llmops.evaluation import cache_path

__all__ = ["Bisection", "bisect"]


def bisect(
    path: Path,
    case_id: str,
    metric: str,
    *,
    variant: str = "",
    good: str = "",
    bad: str = "",
    store: str = "",
    progress: Progress | None = None,
) -> Bisection:
    """Find the commit of a variant's prompt that broke a case.

    A version is broken when its score fell, from that of the good end, by more than half of the difference between
    the ends. `good` and `bad` are git revisions; the bad end is by default the work tree, the good one the newest
    version that a saved run or the response cache says was right, else the oldest. Ends given by default move on when
    they can't be tested. `progress` is called before each version that is asked for, with how many more at most.

    Raises `InputError` for what isn't there (case, metric, variant, git, revisions) and for what a backend lacks,
    `UnscoredError` when an end has no score, and `BackendError` when the backend fails. Saves no run; answers stay in
    the response cache.
    """
    from llmops.backends.cache import SqliteCache

    subject = find_subject(load_suite(path), case_id, metric, variant, good, bad)
    root = subject.config.root
    cache = CountingCache(SqliteCache(cache_path(root)))
    try:
        probe = Probe(subject.suite, subject.config, subject.variant, subject.case, cache)
        search = Search(subject.line, probe, subject.info, progress)
        location = store_location(store or None, subject.suite.base)
        made = search.run(good, bad, lambda: saved_scores(subject, location, named=bool(store)))
    finally:
        cache.close()
    return replace(
        _named(made, subject, shallow=not good and git.is_shallow(subject.config.prompts_dir)),
        asked=cache.asked,
        cached=cache.found,
    )


def _named(made: Bisection, subject: Subject, *, shallow: bool) -> Bisection:
    """With what was looked for. Where older commits weren't fetched, nothing is known of them."""
    made = replace(made, suite=subject.suite.name, variant=subject.variant.name, case=subject.case.id)
    if shallow and made.outcome == "nothing broke":
        note = "this is a shallow clone: git fetch --unshallow brings the older commits"
        return replace(made, outcome="undecided", notes=(*made.notes, note))
    return made
