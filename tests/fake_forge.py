"""Loopback stand-ins for the parts of GitHub's and GitLab's REST APIs that `llmops ci` uses.

    with FakeGitHub("secret") as forge:
        forge.comments.append(forge.comment("hello", "ann", "User"))
        ...
    assert forge.calls == [("GET", "/repos/o/r/issues/7/comments"), …]

`forge.troubles` is a list of `(method, part of the path, Trouble)`: the first that fits is used up and answered
instead.
What a test doesn't expect (another path, a wrong token, a body that isn't JSON) is answered as the real API would.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

READ_ONLY = {"message": "Resource not accessible by integration"}


@dataclass(frozen=True)
class Trouble:
    """An answer out of the ordinary. `done` carries the request out all the same; `status` 0 hangs up."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    done: bool = False


@dataclass
class Call:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: Any


class FakeForge:
    """A server in a thread. `page_size` is the most that a page holds."""

    def __init__(self, token: str, *, page_size: int = 100) -> None:
        self.token = token
        self.page_size = page_size
        self.requests: list[Call] = []
        self.troubles: list[tuple[str, str, Trouble]] = []
        self.read_only = False
        self.serial = 1000
        forge = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                data = self.rfile.read(length)
                forge.serve(self, data)

            do_GET = do_POST = do_PATCH = do_PUT = _serve

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def calls(self) -> list[tuple[str, str]]:
        return [(call.method, call.path) for call in self.requests]

    def sent(self, method: str) -> list[Any]:
        """The bodies of requests of a method, in order."""
        return [call.body for call in self.requests if call.method == method]

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        parts = urlsplit(handler.path)
        body = json.loads(data) if data else None
        call = Call(handler.command, parts.path, parse_qs(parts.query), dict(handler.headers.items()), body)
        self.requests.append(call)
        for trouble in self.troubles:
            method, part, what = trouble
            if method == call.method and part in call.path:
                self.troubles.remove(trouble)
                if what.done:
                    self.answer(call)
                if not what.status:
                    handler.close_connection = True
                    handler.connection.close()
                    return
                self._reply(handler, what.status, what.body, what.headers)
                return
        if not self.authorized(call):
            self._reply(handler, 401, {"message": "Bad credentials"}, {})
            return
        self._reply(handler, *self.answer(call))

    def _reply(self, handler: BaseHTTPRequestHandler, status: int, body: Any, headers: Mapping[str, str]) -> None:
        data = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def authorized(self, call: Call) -> bool:
        raise NotImplementedError

    def answer(self, call: Call) -> tuple[int, Any, dict[str, str]]:
        raise NotImplementedError

    def page(self, call: Call, rows: list[Any]) -> tuple[list[Any], int, bool]:
        """A page of rows, its number, and whether there are more."""
        number = int(call.query.get("page", ["1"])[0])
        size = min(int(call.query.get("per_page", ["30"])[0]), self.page_size)
        return rows[(number - 1) * size : number * size], number, number * size < len(rows)

    def next_id(self) -> int:
        self.serial += 1
        return self.serial


class FakeGitHub(FakeForge):
    """Pull request 7 of ann/shop. `user` is the token's person; None is a workflow's token, which may not ask."""

    repository = "ann/shop"

    def __init__(self, token: str, *, user: str | None = None, page_size: int = 100) -> None:
        super().__init__(token, page_size=page_size)
        self.user = user
        self.comments: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []

    def comment(self, body: str, login: str, kind: str) -> dict[str, Any]:
        number = self.next_id()
        address = f"https://github.example/{self.repository}/pull/7#issuecomment-{number}"
        return {"id": number, "body": body, "html_url": address, "user": {"login": login, "type": kind}}

    def authorized(self, call: Call) -> bool:
        return call.headers.get("Authorization") == f"Bearer {self.token}"

    def answer(self, call: Call) -> tuple[int, Any, dict[str, str]]:
        here = f"/repos/{self.repository}"
        if call.path == "/user" and call.method == "GET":
            return (200, {"login": self.user}, {}) if self.user else (403, READ_ONLY, {})
        if call.path == f"{here}/issues/7/comments" and call.method == "GET":
            rows, number, more = self.page(call, self.comments)
            following = f"{self.url}{call.path}?per_page={self.page_size}&page={number + 1}"
            return 200, rows, {"Link": f'<{self.url}>; rel="first", <{following}>; rel="next"'} if more else {}
        if self.read_only and call.method != "GET":
            return 403, READ_ONLY, {}
        if call.path == f"{here}/issues/7/comments" and call.method == "POST":
            made = self.comment(call.body["body"], self.user or "github-actions[bot]", "User" if self.user else "Bot")
            self.comments.append(made)
            return 201, made, {}
        if call.path.startswith(f"{here}/issues/comments/") and call.method == "PATCH":
            number = int(call.path.rpartition("/")[2])
            found = next((row for row in self.comments if row["id"] == number), None)
            if found is None:
                return 404, {"message": "Not Found"}, {}
            if found["user"]["login"] not in (self.user, "github-actions[bot]"):
                return 403, {"message": "Must have admin rights to Repository."}, {}
            found["body"] = call.body["body"]
            return 200, found, {}
        if call.path == f"{here}/check-runs" and call.method == "POST":
            assert {"name", "head_sha", "status", "conclusion", "output"} <= set(call.body)
            self.checks.append(call.body)
            return 201, {"id": self.next_id()}, {}
        return 404, {"message": "Not Found"}, {}


class FakeGitLab(FakeForge):
    """Merge request 7 of project 42; the token's user has the id 5."""

    def __init__(self, token: str, *, page_size: int = 100) -> None:
        super().__init__(token, page_size=page_size)
        self.notes: list[dict[str, Any]] = []

    def note(self, body: str, author: int) -> dict[str, Any]:
        return {"id": self.next_id(), "body": body, "author": {"id": author}, "system": False}

    def authorized(self, call: Call) -> bool:
        return call.headers.get("Private-Token") == self.token

    def answer(self, call: Call) -> tuple[int, Any, dict[str, str]]:
        notes = "/api/v4/projects/42/merge_requests/7/notes"
        if call.path == "/api/v4/user":
            return 200, {"id": 5, "username": "project_42_bot"}, {}
        if call.path == notes and call.method == "GET":
            rows, number, more = self.page(call, self.notes)
            return 200, rows, {"X-Next-Page": str(number + 1) if more else ""}
        if self.read_only and call.method != "GET":
            return 403, {"message": "403 Forbidden"}, {}
        if call.path == notes and call.method == "POST":
            made = self.note(call.body["body"], 5)
            self.notes.append(made)
            return 201, made, {}
        if call.path.startswith(f"{notes}/") and call.method == "PUT":
            found = next((row for row in self.notes if str(row["id"]) == call.path.rpartition("/")[2]), None)
            if found is None or found["author"]["id"] != 5:
                return 404, {"message": "404 Not Found"}, {}
            found["body"] = call.body["body"]
            return 200, found, {}
        return 404, {"error": "404 Not Found"}, {}
