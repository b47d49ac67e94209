"""`llmops ci comment|check|annotate`: a run's report where a change is reviewed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops.cli.terminal import AsJson, harmless, out, print_json, say
from llmops.errors import InputError

if TYPE_CHECKING:
    from llmops.ci.comments import Posted, Report
    from llmops.ci.github import GitHub
    from llmops.ci.gitlab import GitLab

app = typer.Typer(no_args_is_help=True, help="In CI: a run's report on the pull request, a check, annotations.")
Number = Annotated[
    int, typer.Option("--pull-request", help="Which pull or merge request, when CI doesn't say.", metavar="N", min=0)
]


@app.command()
def comment(
    reports: Annotated[list[Path], typer.Argument(help="Reports written with -o report.md.", metavar="REPORT...")],
    pull_request: Number = 0,
    as_json: AsJson = False,
) -> None:
    """Post Markdown reports to the pull request (GitHub) or merge request (GitLab), one comment a suite.

    The earlier comment about a suite is updated. Where there is no pull request, or a fork's token may only read,
    that is said and nothing else is done.
    """
    from llmops.ci.comments import read_reports

    found = read_reports(reports)
    forge = _forge(pull_request)
    posted = []
    if not forge.pull_request:
        say("no pull request here, so no comment")
    else:
        posted = [(report, done) for report in found if (done := _post(forge, report)) is not None]
    if as_json:
        comments = [{"report": str(report.path), "action": done.action, "url": done.url} for report, done in posted]
        print_json({"comments": comments})
        return
    for _, done in posted:
        out().print(harmless(f"{done.action} {done.url or 'the comment'}"), markup=False, soft_wrap=True)


@app.command()
def check(
    reports: Annotated[
        list[Path] | None,
        typer.Argument(help="Reports written with -o report.json.", metavar="REPORT...", show_default=False),
    ] = None,
    exit_code: Annotated[
        int | None, typer.Option(help="What llmops eval exited with. Default: what the reports say.", metavar="N")
    ] = None,
    fail_on_inconclusive: Annotated[
        bool, typer.Option("--fail-on-inconclusive", help="Exit code 3 fails the check instead of leaving it neutral.")
    ] = False,
    name: Annotated[str, typer.Option(help="The check's name.")] = "llmops",
    commit: Annotated[
        str, typer.Option(help="The commit to check. Default: the pull request's newest.", metavar="SHA")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Set a check of the commit on GitHub: success, failure, or neutral when the runs can't tell.

    Prints the outcome once the check is set. Where a fork's token may only read, that is said and nothing is printed.
    """
    if _on_gitlab():
        hint = "allow_failure: {exit_codes: [3]} makes it a warning when the run can't tell"
        raise InputError("on GitLab the job's own exit code is the check", hint=hint)
    from llmops.ci.api import ForbiddenError
    from llmops.ci.github import GitHub
    from llmops.ci.runs import read_runs
    from llmops.ci.verdict import conclude

    if not reports and exit_code is None:
        raise InputError("a check of what?", hint="name reports, or give --exit-code")
    conclusion = conclude(read_runs(reports or []), exit_code, fail_on_inconclusive=fail_on_inconclusive)
    github = GitHub(os.environ, sha=commit)
    is_set = True
    try:
        github.set_check(name, conclusion)
    except ForbiddenError:
        if not github.powerless:
            raise
        is_set = False
        say(f"the check isn't set: {github.powerless}; the outcome is {conclusion.outcome}: {conclusion.title}")
    if as_json:
        print_json({"outcome": conclusion.outcome, "title": conclusion.title, "is_set": is_set})
    elif is_set:
        out().print(conclusion.outcome, markup=False)


@app.command()
def annotate(
    reports: Annotated[list[Path], typer.Argument(help="Reports written with -o report.json.", metavar="REPORT...")],
) -> None:
    """Print failed and undecided gates as GitHub's annotations, at their lines in the suites. Needs no token."""
    from llmops.ci.annotations import workflow_commands
    from llmops.ci.runs import read_runs
    from llmops.config import project_root

    top = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    for line in workflow_commands(read_runs(reports), project_root(), top):
        typer.echo(line)


def _on_gitlab() -> bool:
    on_github = os.environ.get("GITHUB_ACTIONS") or os.environ.get("GITHUB_REPOSITORY")
    return not on_github and bool(os.environ.get("GITLAB_CI") or os.environ.get("CI_API_V4_URL"))


def _forge(pull_request: int) -> GitHub | GitLab:
    if _on_gitlab():
        from llmops.ci.gitlab import GitLab

        return GitLab(os.environ, merge_request=pull_request)
    if not (os.environ.get("GITHUB_ACTIONS") or os.environ.get("GITHUB_REPOSITORY")):
        hint = "elsewhere export GITHUB_REPOSITORY and GITHUB_TOKEN, or CI_API_V4_URL, CI_PROJECT_ID and GITLAB_TOKEN"
        raise InputError("this is neither GitHub Actions nor GitLab CI", hint=hint)
    from llmops.ci.github import GitHub

    return GitHub(os.environ, pull_request=pull_request)


def _post(forge: GitHub | GitLab, report: Report) -> Posted | None:
    from llmops.ci.api import ForbiddenError
    from llmops.ci.comments import post

    try:
        return post(forge, report)
    except ForbiddenError:
        if not forge.powerless:
            raise
        say(f"{report.path} isn't posted: {forge.powerless}; the report is in the job's summary and files")
        return None
