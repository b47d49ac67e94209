"""Secrets left in text: keys of known providers, private keys, tokens, passwords.

Only values that look real are found; placeholders and the examples of documentation are not. Nothing here returns
the secret itself.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field

from llmops.prompts.plausible import MIN_BITS, bits, random_looking, real_password, real_token

_LONG_DASH = re.compile(rb"-(?:[A-Za-z0-9_-]{15}|----BEGIN )").search
_LONG_UNDERSCORE = re.compile(rb"_[A-Za-z0-9_-]{15}").search
_CAPITAL_A = re.compile(rb"A(?:KIA|SIA|Iza)").search
_COLON_VALUE = re.compile(rb":[ \t]{0,3}[\"'`]?[^\s\"'`0-9:=]{0,250}+[0-9]").search
_EQUAL_VALUE = re.compile(rb"=>?[ \t]{0,3}[\"'`]?[^\s\"'`0-9:=]{0,250}+[0-9]").search
_KEYWORD_MARKS = (b"passw", b"passphrase", b"pwd", b"secret", b"token", b"key", b"credential")


def has_marks(data: bytes) -> bool:
    """Whether UTF-8 text could hold a secret: false means `find_secrets` finds none. Takes microseconds per page.

    Each test costs one pass over the bytes, so the ones for single characters come first.
    """
    if b"-" in data and _LONG_DASH(data):
        return True
    if b"_" in data and _LONG_UNDERSCORE(data):
        return True
    if b"J" in data and b"eyJ" in data:
        return True
    if b"@" in data and b"://" in data:
        return True
    if b"earer" in data:
        return True
    return bool(_CAPITAL_A(data)) or _may_assign(data)


def _may_assign(data: bytes) -> bool:
    if not ((b":" in data and _COLON_VALUE(data)) or (b"=" in data and _EQUAL_VALUE(data))):
        return False
    lowered = data.lower()
    return any(mark in lowered for mark in _KEYWORD_MARKS)


def find_secrets(text: str) -> list[tuple[int, str]]:
    """Line (from 1) and kind of each secret, in the order of the text; kinds read like `an OpenAI API key`."""
    if not has_marks(text.encode("utf-8", "replace")):
        return []
    found = _Found()
    for start, end, kind in _everything(text):
        found.add(start, end, kind)
    return found.by_line(text)


@dataclass
class _Found:
    """Findings that don't overlap; the first to claim a place names it."""

    starts: list[int] = field(default_factory=list)
    spans: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, start: int, end: int, kind: str) -> None:
        at = bisect(self.starts, start)
        before = self.spans[at - 1][1] if at else 0
        after = self.starts[at] if at < len(self.starts) else end
        if before <= start and end <= after:
            self.starts.insert(at, start)
            self.spans.insert(at, (start, end, kind))

    def by_line(self, text: str) -> list[tuple[int, str]]:
        line, position = 1, 0
        lines: list[tuple[int, str]] = []
        for start, _, kind in self.spans:
            line += text.count("\n", position, start)
            position = start
            lines.append((line, kind))
        return lines


def _everything(text: str) -> Iterator[tuple[int, int, str]]:
    yield from _private_keys(text)
    for pattern, kind in _PROVIDERS:
        for match in pattern.finditer(text):
            if _starts_word(text, match.start()) and random_looking(match[1]):
                yield match.start(), match.end(), kind
    yield from _web_tokens(text)
    yield from _addresses(text)
    yield from _assignments(text)


def _starts_word(text: str, start: int) -> bool:
    """Whether a word starts here; `\\n`, `\\r` and `\\t`, as strings are written in code, end the one before."""
    before = text[max(0, start - 2) : start]
    if before in ("\\n", "\\r", "\\t"):
        return True
    last = before[-1:]
    return not (last == "_" or (last.isascii() and last.isalnum()))


# Every repetition is bounded: a hostile text must not make a pattern scan it again from each position.
_PROVIDERS = [
    (re.compile(pattern, re.ASCII), kind)
    for pattern, kind in (
        (r"sk-ant-[a-z0-9]{2,12}-([A-Za-z0-9_-]{24,250})", "an Anthropic API key"),
        (r"sk-or-v\d-([A-Za-z0-9]{32,100})", "an OpenRouter API key"),
        (r"sk-lf-([0-9a-f-]{30,40})", "a Langfuse secret key"),
        (r"sk-(?:proj|svcacct|admin|None)-([A-Za-z0-9_-]{24,250})", "an OpenAI API key"),
        (r"sk-([A-Za-z0-9]{32,100})(?![A-Za-z0-9_-])", "an OpenAI API key"),
        (r"A(?:KIA|SIA)([A-Z2-7]{16})(?![A-Za-z0-9])", "an AWS access key id"),
        (r"AIza([A-Za-z0-9_-]{35})(?![A-Za-z0-9_-])", "a Google API key"),
        (r"gh[pousr]_([A-Za-z0-9]{36,255})", "a GitHub token"),
        (r"github_pat_([A-Za-z0-9_]{50,255})", "a GitHub token"),
        (r"glpat-([A-Za-z0-9_-]{20,100})", "a GitLab token"),
        (r"xox[abeoprs]-([A-Za-z0-9-]{20,250})", "a Slack token"),
        (r"xapp-\d-([A-Za-z0-9-]{20,250})", "a Slack token"),
        (r"[sr]k_live_([A-Za-z0-9]{16,250})", "a Stripe live key"),
        (r"hf_([A-Za-z0-9]{30,100})(?![A-Za-z0-9_])", "a Hugging Face token"),
        (r"gsk_([A-Za-z0-9]{40,100})", "a Groq API key"),
        (r"xai-([A-Za-z0-9]{40,200})", "an xAI API key"),
        (r"pplx-([A-Za-z0-9]{40,100})", "a Perplexity API key"),
        (r"nvapi-([A-Za-z0-9_-]{40,200})", "an NVIDIA API key"),
        (r"lsv2_[a-z]{2}_([A-Za-z0-9_]{32,100})", "a LangSmith API key"),
        (r"tvly-(?:dev-|prod-)?([A-Za-z0-9]{24,100})", "a Tavily API key"),
        (r"npm_([A-Za-z0-9]{36,100})", "an npm token"),
        (r"pypi-AgEI([A-Za-z0-9_-]{50,250})", "a PyPI token"),
        (r"[Bb]earer[ \t]{1,3}([A-Za-z0-9_~+/-]{24,250})(?![A-Za-z0-9._~+/-])", "a bearer token"),
    )
]
_KEY_BLOCK = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BYTES = re.compile(r"[A-Za-z0-9+/]{40,200}")
_WEB_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,2000}+\.(eyJ[A-Za-z0-9_-]{8,4000}+)\.([A-Za-z0-9_-]{16,2000})"
)
_EXAMPLE_CLAIMS = "eyJzdWIiOiIxMjM0NTY3ODkw"  # {"sub":"1234567890…: the example every JWT page shows
_ADDRESS = re.compile(r"://([^\s/:@,\"'<>`]{0,100}):([^\s/@\"'<>`]{6,200})@([\w.\[-]{1,200})")
_EXAMPLE_HOST = re.compile(r"(?:^|\.)(?:example|test|invalid)(?:\.(?:com|org|net))?$", re.IGNORECASE)
_VALUE = re.compile(
    r"(?::=|=>|[:=])[ \t]{0,3}(?:([\"'`])([^\s\"'`]{8,250}+)\1|([^\s\"'`,;()\[\]{}<>$:=]{12,250}+={0,2})(?=[\s,;]|\Z))"
)
_NAME = re.compile(
    r"(?i:(passw(?:or)?d|passphrase|pwd)|secret|token|credentials?|(?:api|access|auth|account|secret|private|encryption|"
    r"signing|service|master|license|deploy|client|subscription)[_ .-]?key)[\"'`\]]{0,2}[ \t]{0,3}\Z"
)
_NAME_LENGTH = 40


def _private_keys(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _KEY_BLOCK.finditer(text):
        inside = text[match.end() : match.end() + 600].replace("\\n", "\n").partition("-----")[0]
        key = _KEY_BYTES.search(inside)
        if key and "..." not in inside and "…" not in inside and bits(key[0]) > MIN_BITS:
            yield match.start(), match.end(), "a private key"


def _web_tokens(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _WEB_TOKEN.finditer(text):
        if not match[1].startswith(_EXAMPLE_CLAIMS) and random_looking(match[2]):
            yield match.start(), match.end(), "a JSON Web Token"


def _addresses(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _ADDRESS.finditer(text):
        user, password, host = match.groups()
        digest = host.startswith("sha256")  # image:tag@sha256 is no address
        if password != user and not digest and not _EXAMPLE_HOST.search(host) and real_password(password, digits=0):
            yield match.start(), match.end(), "a password in a URL"


def _assignments(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _VALUE.finditer(text):
        before = text[max(0, match.start() - _NAME_LENGTH) : match.start()]
        name = _NAME.search(before)
        if name is None or "public" in before.lower():
            continue
        value, quoted = match[2] or match[3], match[2] is not None
        if real_password(value, digits=1 if quoted else 2) if name[1] else real_token(value):
            yield match.start(), match.end(), "a password" if name[1] else "a secret value"
