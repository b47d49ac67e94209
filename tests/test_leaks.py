"""Secrets are found, placeholders aren't, and looking costs next to nothing. No literal here has a secret's shape."""

from __future__ import annotations

import base64
import json
import random
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.prompts.leaks import find_secrets, has_marks

ALNUM = string.ascii_letters + string.digits
URL_SAFE = ALNUM + "_-"
BASE32 = string.ascii_uppercase + "234567"


def made(length: int, letters: str = ALNUM, seed: int = 7) -> str:
    """A random text, the same each time."""
    return "".join(random.Random(f"{seed}{length}").choices(letters, k=length))


def web_token(claims: dict) -> str:
    parts = [json.dumps(part, separators=(",", ":")) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    coded = [base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts]
    return ".".join([*coded, made(43, URL_SAFE)])


def block(kind: str, body: str) -> str:
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


SECRETS = {
    "openai": ("sk-" + made(48), "an OpenAI API key"),
    "openai project": ("sk-proj-" + made(120, URL_SAFE), "an OpenAI API key"),
    "openai service": ("sk-svcacct-" + made(80, URL_SAFE), "an OpenAI API key"),
    "anthropic": ("sk-ant-" + "api03-" + made(93, URL_SAFE) + "AA", "an Anthropic API key"),
    "openrouter": ("sk-or-" + "v1-" + made(64, "0123456789abcdef"), "an OpenRouter API key"),
    "aws": ("AK" + "IA" + made(16, BASE32), "an AWS access key id"),
    "aws session": ("AS" + "IA" + made(16, BASE32), "an AWS access key id"),
    "google": ("AI" + "za" + made(35, URL_SAFE), "a Google API key"),
    "github": ("ghp_" + made(36), "a GitHub token"),
    "github server": ("ghs_" + made(36), "a GitHub token"),
    "github fine": ("github_pat_" + made(22) + "_" + made(59), "a GitHub token"),
    "gitlab": ("glpat-" + made(20, URL_SAFE), "a GitLab token"),
    "slack": ("xoxb-" + "2093847561-" + made(24), "a Slack token"),
    "stripe": ("sk_" + "live_" + made(24), "a Stripe live key"),
    "stripe restricted": ("rk_" + "live_" + made(99), "a Stripe live key"),
    "hugging face": ("hf_" + made(34, string.ascii_letters), "a Hugging Face token"),
    "groq": ("gsk_" + made(52), "a Groq API key"),
    "langsmith": ("lsv2_" + "pt_" + made(32, "0123456789abcdef") + "_" + made(10, "0123456789abcdef"),
                  "a LangSmith API key"),
    "npm": ("npm_" + made(36), "an npm token"),
    "pem": (block("RSA ", made(64, ALNUM + "+/")), "a private key"),
    "pem in a string": (block("", made(64)).replace("\n", "\\n"), "a private key"),
    "openssh": (block("OPENSSH ", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAB" + made(14)),
    "a private key"),
    "jwt": (web_token({"sub": "u-8812", "role": "service"}), "a JSON Web Token"),
    "url": ("postgresql://app:" + made(18) + "@db.internal.net:5432/x", "a password in a URL"),
    "url of words": ("https://deploy:correct" + "horsebattery@git.corp.io/x.git", "a password in a URL"),
    "password": ('password = "' + "Tr0ub4dor&" + '3x"', "a password"),
    "password in JSON": ('{"db_password": "' + "k9#Lm2" + 'qZ!"}', "a password"),
    "password in YAML": ("passwd: " + "Kx92mQp" + "L07vz", "a password"),
    "api key": ("OPENAI_API_KEY=" + made(40), "a secret value"),
    "api key quoted": ("api_key: '" + made(32, "0123456789abcdef") + "'", "a secret value"),
    "ruby": (":secret_token => '" + made(40) + "'", "a secret value"),
    "aws secret": ("aws_secret_access_key = " + made(38, ALNUM + "/+") + "Q7", "a secret value"),
    "token of a UUID": ('"authToken": "' + "7c9e6679-7425-40de-944b-" + 'e07fc1f90ae7"', "a secret value"),
}  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("around", ["{}", "line\n\nuse {} here", "x: '{}'", "数字{}。", '{{"a": "b\\n{}"}}'])
def test_secrets_are_found_with_their_line(name, around):
    secret, kind = SECRETS[name]
    if name in ("jwt", "password", "password in JSON", "password in YAML") and around.startswith("{{"):
        around = "{}"
    if (
        secret[-1].isalnum()
        and ("=" in secret[:40] or ": " in secret[:20])
        and around not in ("{}", "line\n\nuse {} here")
    ):
        around = "{}"  # a value without quotes ends at a blank
    text = around.format(secret)
    assert has_marks(text.encode())
    assert find_secrets(text) == [(3 if around.startswith("line") else 1, kind)]


NOT_SECRETS = [
    "sk-...", "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "sk-<your key>", "sk-your-api-key-here", "sk-1234",
    "sk-proj-your-openai-api-key-goes-right-here", "sk-ant-api03-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "sk-ant-...",
    "sk-ant-api03-...", "sk-fading-circle-with-long-class-name-container", "sk_live_...",
    "sk_live_xxxxxxxxxxxxxxxxxxxxxxxx",
    "risk-" + made(40), "task-based-learning-for-language-models", "AKIAIOSFODNN7EXAMPLE", "AKIAXXXXXXXXXXXXXXXX",
    "ASIAN-PACIFIC", "AIzaSy...", "AIza" + "x" * 35, "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "ghp_your_token",
    "ghp_" + "a" * 36, "github_pat_...", "glpat-xxxxxxxxxxxxxxxxxxxx", "xoxb-your-token-goes-right-here", "hf_...",
    "hf_hub_download_and_load_the_model_from_there", "from huggingface_hub import hf_hub_download", "hf_" + "x" * 34,
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----\n" + made(64),
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEA...\n-----END PRIVATE KEY-----",
    "look for '-----BEGIN RSA PRIVATE KEY-----' in files", "eyJhbGciOiJIUzI1NiJ9", "eyJ...",
    web_token({"sub": "1234567890", "name": "John Doe"}),
    'password = "..."', 'password = "your-password-1"', 'password = "password123"',
    "password = os.environ['DB_PASSWORD_1']",
    'password: "{{ db_password1 }}"', "password: ${DB_PASSWORD1}", "password=<your password 1>",
    'password = "********1"',
    'PASSWORD="$DB_PASS_1"', 'password = "hunter"', "password: string", "the password: it has 12 characters or more",
    'api_key = "YOUR_API_KEY_1234"', 'api_key="${API_KEY}"', "api_key=settings.openai_key_v2",
    'token = "<|endoftext|>"',
    'api_key = "sk-1234567890abcdef"', 'token: "cl100k_base"', "max_tokens: 123456789012345678",
    'token="gpt-4o-mini-2024-07-18"',
    "token: claude-3-5-sonnet-20241022", "API_KEY=$(cat /run/api_key_1)", "token = get_token_from_header2048(x)",
    'secret: "projects/42/secrets/name-7/versions/1"', "key: 0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "public_key = '" + made(40) + "'",
    "postgres://user:password@localhost/db", "postgresql://postgres:postgres@localhost:5432/db",
    "https://user:pass@host/x",
    "redis://:$REDIS_PASSWORD@redis:6379", "https://${USER}:${TOKEN}@github.com/x", "https://<user>:<pass>@host.net",
    "https://user:s3cretw0rd9@example.com/x", "http://localhost:8080/@scope/pkg",
    "docker://python:3.11-slim@sha256:" + made(64),
    "https://x.org/a:b@c", "mail a@b.org or https://b.org", "git@github.com:a/b.git",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_SECRETS)
def test_placeholders_and_ordinary_text_are_no_findings(text):
    assert find_secrets(text) == []
    assert find_secrets(f"a: b\n- `{text}` \n") == []


def test_one_finding_per_secret_in_the_order_of_the_text():
    key, other = "sk-proj-" + made(64, URL_SAFE), "ghp_" + made(36)
    text = f'first\n\napi_key = "{key}"\nurl: https://x:{other}@github.com/a/b\n{other}'
    assert find_secrets(text) == [(3, "an OpenAI API key"), (4, "a GitHub token"), (5, "a GitHub token")]


@given(st.lists(st.one_of(st.text(max_size=30), st.sampled_from([
    "sk-", "api_key", "password", "=", ": ", '"', "'", "ghp_", "eyJ", ".", "://", "@", "-----BEGIN ",
    "PRIVATE KEY-----",
    "AKIA", "AIza", "\n", "A1b2C3d4E5f6G7h8", "x" * 40, made(40), "\ud800", "\x00",
])), max_size=12).map("".join))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_text_is_looked_through(text):
    found = find_secrets(text)
    assert all(1 <= line <= text.count("\n") + 1 for line, _ in found)
    assert found == sorted(found, key=lambda one: one[0])
    assert not found or has_marks(text.encode("utf-8", "replace"))


@pytest.mark.parametrize("unit", [
    "=", ":", "-", "_", "a=", "=a", "eyJ", "eyJ.", "sk-", "sk-proj-", "://a:", "password=", "-----BEGIN ", "AKIA",
    "token: a1",
    "='", '="a1', "hf_a", "@://", " \t=", "ghp_aB1",
])  # fmt: skip
def test_hostile_repetitions_take_linear_time(unit):
    text = "eyJ://@ api_key=1 " + unit * (1_000_000 // len(unit))
    start = time.process_time()
    find_secrets(text)
    assert time.process_time() - start < 3


def test_plain_text_costs_microseconds():
    text = (
        "Nobody believed it, but everyone said so: a well-known trick. Answer shortly (see page 4), and cite it. " * 20
    )[:2048]
    data = text.encode()
    assert not has_marks(data)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        has_marks(data)
        times.append(time.perf_counter() - start)
    assert min(times) < 20e-6
