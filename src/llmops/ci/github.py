"""GitHub: comments on a pull request, and check runs. With the token of a workflow, of an app, or of a person."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmops.ci.api import Api, ForbiddenError, Reply
from llmops.ci.comments import begins_with
from llmops.ci.environment import commit, event, inside, link, number, token
from llmops.ci.verdict import Conclusion
from llmops.errors import InputError

API = "https://api.github.com"
VERSION = "2022-11-28"
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_HOW_TO_GET_ONE = "give the step env: {GITHUB_TOKEN: '${{ github.token }}'}"
_HINTS = {
    401: "the token is wrong or has expired",
    403: "the job needs permissions: {pull-requests: write, checks: write}",
    404: "the job needs permissions: {pull-requests: write, checks: write}, and the pull request must exist",
    422: "is that commit in this repository?",
}


class GitHub:
    """A repository and, when there is one, the pull request that a workflow runs for.

    Reads `GITHUB_REPOSITORY`, `GITHUB_TOKEN`, `GITHUB_API_URL` and the event that started the workflow; `pull_request`
    and `sha` go over the event. `sha` is the head of the pull request, not the commit that merges it for the test.
    Raises `InputError` when something is missing.
    """

    name = "GitHub"
    limit = 65_536  # characters in a comment

    def __init__(self, environment: Mapping[str, str], *, pull_request: int = 0, sha: str = "") -> None:
        self._repository = environment.get("GITHUB_REPOSITORY", "")
        if not _REPOSITORY.fullmatch(self._repository) or {".", ".."} & set(self._repository.split("/")):
            raise InputError("GITHUB_REPOSITORY isn't OWNER/NAME", hint="GitHub Actions sets it; elsewhere export it")
        happened = event(environment)
        if sha and not commit(sha):
            raise InputError(f"--commit {sha!r} isn't a whole commit id")
        self.pull_request = pull_request or _pull_request(happened)
        self.commit = commit(sha) or _commit(happened, environment)
        self.powerless = _powerless(happened, environment)
        self._run = _run_url(environment, self._repository)
        secret = token(environment, "GITHUB_TOKEN", _HOW_TO_GET_ONE)
        headers = {
            "Authorization": f"Bearer {secret}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": VERSION,
        }
        self._api = Api(environment.get("GITHUB_API_URL") or API, headers, secret, hints=_HINTS)

    @property
    def footer(self) -> str:
        """The commit that was evaluated, and a link to the job with the whole report."""
        parts = [f"commit {self.commit[:10]}" if self.commit else "", link("job", self._run) if self._run else ""]
        return f"<sub>{' · '.join(part for part in parts if part)}</sub>" if any(parts) else ""

    def earlier(self, marker: str) -> Iterator[str]:
        """Bots' comments with the marker, the workflow's own bot first; a person's only when the token is theirs.

        Somebody else could put the marker into a comment of theirs and edit the report afterwards.
        """
        rows = [row for row in self._api.rows(self._comments) if begins_with(row.get("body"), marker)]
        bots = [row for row in rows if inside(row, "user", "type") == "Bot"]
        bots.sort(key=lambda row: inside(row, "user", "login") != "github-actions[bot]")
        people = [row for row in rows if row not in bots]
        mine = self._login() if people else ""
        for row in [row for row in people if mine and inside(row, "user", "login") == mine] + bots:
            if found := number(row.get("id")):
                yield f"/repos/{self._repository}/issues/comments/{found}"

    def update(self, path: str, body: str) -> Reply:
        return self._api.call("PATCH", path, {"body": body})

    def create(self, body: str) -> Reply:
        return self._api.call("POST", self._comments, {"body": body}, once=True)

    def set_check(self, name: str, conclusion: Conclusion) -> Reply:
        """A finished check of the commit. Of several with one name GitHub shows the newest. Raises `InputError`."""
        if not self.commit:
            raise InputError("no commit to set the check of", hint="add --commit SHA")
        body: dict[str, Any] = {
            "name": name,
            "head_sha": self.commit,
            "status": "completed",
            "conclusion": conclusion.outcome,
            "output": {"title": conclusion.title, "summary": conclusion.summary},
        }
        if self._run:
            body["details_url"] = self._run
        return self._api.call("POST", f"/repos/{self._repository}/check-runs", body)

    @property
    def _comments(self) -> str:
        return f"/repos/{self._repository}/issues/{self.pull_request}/comments"

    def _login(self) -> str:
        """Whose token this is: a person's name, or nothing for a workflow's or an app's, which may not ask."""
        try:
            login = inside(self._api.call("GET", "/user").data, "login")
        except ForbiddenError:
            return ""
        return login if isinstance(login, str) else ""


def _pull_request(happened: Mapping[str, Any]) -> int:
    if found := number(inside(happened, "pull_request", "number")):
        return found
    if inside(happened, "issue", "pull_request"):  # a comment that starts the workflow
        return number(inside(happened, "issue", "number"))
    of_run = inside(happened, "workflow_run", "pull_requests")
    return number(inside(of_run[0], "number")) if isinstance(of_run, list) and of_run else 0


def _commit(happened: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """The head of the pull request; without one, the commit the workflow runs for."""
    heads = (inside(happened, "pull_request", "head", "sha"), inside(happened, "workflow_run", "head_sha"))
    if found := next((commit(head) for head in heads if head), ""):
        return found
    return "" if "issue" in happened else commit(environment.get("GITHUB_SHA"))


def _powerless(happened: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Why a workflow's token may only read: GitHub takes the rest away from forks and from Dependabot."""
    if environment.get("GITHUB_EVENT_NAME", "") == "pull_request_target":
        return ""
    head = inside(happened, "pull_request", "head", "repo", "full_name")
    base = inside(happened, "pull_request", "base", "repo", "full_name") or environment.get("GITHUB_REPOSITORY")
    if inside(happened, "pull_request") and head != base:  # None when the fork was deleted
        return "a pull request from a fork has a token that may only read"
    if environment.get("GITHUB_ACTOR") == "dependabot[bot]":
        return "a pull request from Dependabot has a token that may only read"
    return ""


def _run_url(environment: Mapping[str, str], repository: str) -> str:
    run = number(environment.get("GITHUB_RUN_ID", ""))
    server = environment.get("GITHUB_SERVER_URL", "")
    return f"{server}/{repository}/actions/runs/{run}" if run and server.startswith(("https://", "http://")) else ""
