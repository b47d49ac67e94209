"""GitLab: notes on a merge request, with the token of a project, a group or a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from llmops.ci.api import Api, ForbiddenError, Reply
from llmops.ci.comments import begins_with
from llmops.ci.environment import commit, inside, link, number, token
from llmops.errors import InputError

_HOW_TO_GET_ONE = (
    "make a project access token with the scope api and keep it as the masked CI/CD variable GITLAB_TOKEN"
    " (CI_JOB_TOKEN can't write notes)"
)
_HINTS = {
    401: "GITLAB_TOKEN is wrong or has expired",
    403: "GITLAB_TOKEN needs the scope api and the role Reporter or higher",
    404: "GITLAB_TOKEN must be able to see the project, and the merge request must exist",
}


class GitLab:
    """A project and the merge request that a pipeline runs for.

    Reads `CI_API_V4_URL`, the ids of project and merge request, and `GITLAB_TOKEN`; `merge_request` goes over the
    variable. Raises `InputError` when something is missing.
    """

    name = "GitLab"
    limit = 1_000_000  # characters in a note

    def __init__(self, environment: Mapping[str, str], *, merge_request: int = 0) -> None:
        project = environment.get("CI_MERGE_REQUEST_PROJECT_ID") or environment.get("CI_PROJECT_ID", "")
        base = environment.get("CI_API_V4_URL", "")
        if not project or not base:
            raise InputError(
                "CI_PROJECT_ID and CI_API_V4_URL aren't set", hint="GitLab sets them; elsewhere export them"
            )
        self.pull_request = merge_request or number(environment.get("CI_MERGE_REQUEST_IID", ""))
        self._notes = f"/projects/{quote(project, safe='')}/merge_requests/{self.pull_request}/notes"
        source = environment.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID") or project
        fork = source != project and not environment.get("GITLAB_TOKEN")
        self.powerless = "a pipeline of a fork has no GITLAB_TOKEN" if fork else ""
        self._commit = commit(environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or environment.get("CI_COMMIT_SHA"))
        self._job = environment.get("CI_JOB_URL", "")
        secret = "" if self.powerless else token(environment, "GITLAB_TOKEN", _HOW_TO_GET_ONE)
        self._api = Api(base, {"PRIVATE-TOKEN": secret} if secret else {}, secret, hints=_HINTS)

    @property
    def footer(self) -> str:
        """The commit that was evaluated, and a link to the job with the whole report."""
        parts = [f"commit {self._commit[:10]}" if self._commit else "", link("job", self._job) if self._job else ""]
        return f"<sub>{' · '.join(part for part in parts if part)}</sub>" if any(parts) else ""

    def earlier(self, marker: str) -> Iterator[str]:
        """Notes with the marker that the token's own user wrote, the oldest first."""
        if self.powerless:
            raise ForbiddenError(self.powerless)
        mine = inside(self._api.call("GET", "/user").data, "id")
        rows = list(self._api.rows(f"{self._notes}?sort=asc&order_by=created_at"))
        for row in rows:
            own = mine is not None and inside(row, "author", "id") == mine
            if own and begins_with(row.get("body"), marker) and (found := number(row.get("id"))):
                yield f"{self._notes}/{found}"

    def update(self, path: str, body: str) -> Reply:
        return self._api.call("PUT", path, {"body": body})

    def create(self, body: str) -> Reply:
        return self._api.call("POST", self._notes, {"body": body}, once=True)
