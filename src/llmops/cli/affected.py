"""Which suites `--changed REF` runs, and why."""

from __future__ import annotations

from pathlib import Path

from llmops.cli.terminal import say


def affected(suites: list[Path], reference: str, overrides: list[str]) -> list[Path]:
    """The suites with a changed part; says for each why it runs or is skipped."""
    from llmops.config import load_config
    from llmops.dependencies import changed_parts
    from llmops.evals.changed import why_run
    from llmops.evals.suite import load_suite
    from llmops.git import changed_files

    chosen = []
    for path in suites:
        suite = load_suite(path, overrides=overrides)
        config = load_config(suite.base)
        changed = changed_files(reference, suite.base)
        reasons = why_run(path, changed_parts(suite, config, changed), changed)
        if reasons:
            chosen.append(path)
            say(f"run   {path}: {'; '.join(reasons)}")
        else:
            say(f"skip  {path}: nothing it depends on changed since {reference}")
    return chosen
