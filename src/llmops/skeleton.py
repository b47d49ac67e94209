"""The files `llmops init` writes: one prompt, six cases, one suite on the built-in extractive backend."""

from __future__ import annotations

import json
from pathlib import Path

from llmops.errors import InputError

PROMPT = """\
---
description: Answers a question from the given context only
inputs:
  question: string
  context: string
parameters:
  max_sentences: {sentences}
---
system:
{style}

user:
Context:
{{{{ context }}}}

Question: {{{{ question }}}}
"""

OPENING = (
    "The library opens at 9:00 from Monday to Friday and at 10:00 on Saturday. It stays closed on Sunday. "
    "The reading room closes half an hour before the library does."
)
LOANS = (
    "Books may be kept for 28 days and renewed twice. Films may be kept for 7 days and not renewed. "
    "A late book costs 20 cents a day, up to 8 euros."
)
CASES = [
    ("opening-saturday", "When does the library open on Saturday?", OPENING, "10:00", "opening"),
    ("opening-sunday", "Is the library open on Sunday?", OPENING, "It stays closed on Sunday.", "opening"),
    (
        "reading-room",
        "When does the reading room close?",
        OPENING,
        "half an hour before the library does",
        "opening",
    ),
    ("loan-books", "How long may books be kept?", LOANS, "28 days", "loans"),
    ("loan-films", "How long may films be kept?", LOANS, "7 days", "loans"),
    ("late-fee", "What does a late book cost a day?", LOANS, "20 cents a day", "loans"),
]

SUITE = """\
description: Answers come from the context and stay short
dataset:
  path: data/first.jsonl
  fields: {id: id, inputs.question: question, inputs.context: context, expected: answer, tags: tags}
variants:
  one-sentence: {prompt: answer, backend: extractive}
  two-sentences: {prompt: answer-longer, backend: extractive}
  # with a model server:
  # served: {prompt: answer, backend: {openai_http: {base_url: "http://localhost:8000/v1", model: NAME}}}
baseline: one-sentence
metrics: [token_f1, contains, {length: words}]
gates: ["contains >= 0.6", "errors <= 1%"]
"""


def write_skeleton(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write the skeleton into `folder`; returns the paths written and those left alone because they existed."""
    written, kept = [], []
    for name, text in _files().items():
        path = folder / name
        if path.exists():
            kept.append(path)
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            raise InputError(f"can't write {path}: {error.strerror}") from None
        written.append(path)
    return written, kept


def _files() -> dict[str, str]:
    rows = [
        {"id": name, "question": question, "context": context, "answer": answer, "tags": [tag]}
        for name, question, context, answer, tag in CASES
    ]
    return {
        "llmops.yaml": "# Settings of this project; every key is optional.\nprompts: prompts\n",
        "prompts/answer.prompt.md": PROMPT.format(sentences=1, style="Answer in one sentence, from the context only."),
        "prompts/answer-longer.prompt.md": PROMPT.format(sentences=2, style="Answer from the context only."),
        "evals/first.yaml": SUITE,
        "evals/data/first.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        ".gitignore": ".llmops/\n",
    }
