"""The files `llmops init` writes: two prompts, ten cases, one suite on the built-in extractive backend."""

from __future__ import annotations

import json
from pathlib import Path

from llmops.errors import InputError

PROMPT = """\
---
description: {description}
inputs:
  question: string
  context: string
parameters: {parameters}
---
system:
{style}

user:
Context:
{{{{ context }}}}

Question: {{{{ question }}}}
"""

HOURS = (
    "On Saturday the library opens at 10:00, from Monday to Friday at 9:00. It stays closed on Sunday. "
    "The reading room closes half an hour before the library does. The library closes at 20:00 on every day it opens."
)
LOANS = (
    "Books may be kept for 28 days. A loan of books may be renewed twice unless others wait for them. "
    "Films may be kept for 7 days. A loan of films can't be renewed. A late book costs 20 cents a day, up to 8 euros."
)
CARDS = (
    "A library card costs 15 euros a year. Children and students pay nothing for a library card. "
    "A lost card is replaced for 5 euros within two days. "
    "To get a card, bring a photo identification and a letter that shows your address."
)
CASES = [
    ("opening-saturday", "When does the library open on Saturday?", HOURS, "10:00", "hours", "fact"),
    ("opening-sunday", "Is the library open on Sunday?", HOURS, "closed on Sunday", "hours", "fact"),
    ("reading-room", "When does the reading room close?", HOURS, "half an hour before the library", "hours", "terms"),
    ("loan-films", "How long may films be kept?", LOANS, "7 days", "loans", "fact"),
    ("renew-books", "When may a loan of books be renewed?", LOANS, "unless others wait for them", "loans", "terms"),
    ("late-book", "What does a late book cost?", LOANS, "20 cents a day, up to 8 euros", "loans", "terms"),
    ("card-price", "What does a library card cost a year?", CARDS, "15 euros", "cards", "fact"),
    ("card-students", "What do students pay for a library card?", CARDS, "nothing", "cards", "fact"),
    ("card-lost", "What does it cost to replace a lost card?", CARDS, "5 euros", "cards", "fact"),
    ("card-papers", "What must I bring to get a card?", CARDS, "a letter that shows your address", "cards", "terms"),
]

SUITE = """\
description: Answers come from the context, are complete and stay short
dataset:
  path: data/first.jsonl
  fields: {id: id, inputs.question: question, inputs.context: context, expected: answer, tags: tags, group: topic}
variants:
  full: {prompt: answer, backend: extractive}
  brief: {prompt: answer-brief, backend: extractive}
  # with a model server:
  # served: {prompt: answer, backend: {openai_http: {base_url: "http://localhost:8000/v1", model: NAME}}}
baseline: full
metrics: [contains, token_f1, {length: words}]
gates: # each holds for every variant, unless it names one
  - contains >= 0.9 for variant:full
  - contains >= 0.9 for tag:fact
  - errors <= 1%
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
        {"id": name, "question": question, "context": context, "answer": answer, "topic": topic, "tags": [tag]}
        for name, question, context, answer, topic, tag in CASES
    ]
    full = PROMPT.format(
        description="Answers a question from the given context only",
        parameters="{max_sentences: 2}",
        style="Answer from the context only, and completely.",
    )
    brief = PROMPT.format(
        description="The same, as short as it can be",
        parameters="{max_sentences: 1, max_tokens: 12}",
        style="Answer from the context only, in a dozen words at most.",
    )
    return {
        "llmops.yaml": "# Settings of this project; every key is optional.\nprompts: prompts\n",
        "prompts/answer.prompt.md": full,
        "prompts/answer-brief.prompt.md": brief,
        "evals/first.yaml": SUITE,
        "evals/data/first.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        ".gitignore": ".llmops/\n",
    }
