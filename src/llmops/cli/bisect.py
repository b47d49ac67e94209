"""`llmops bisect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops.cli.terminal import AsJson, out, print_json, say
from llmops.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmops.bisecting import Bisection
    from llmops.bisecting.search import Tested
    from llmops.prompts.lineage import Version

SHORT = 10  # digits of a commit
ANSWER = 400  # characters of an answer that are shown


def bisect(
    suite: Annotated[Path, typer.Argument(help="The suite file.", metavar="SUITE")],
    case: Annotated[str, typer.Option(help="The case that broke.", metavar="ID")],
    metric: Annotated[str, typer.Option(help="The metric that says so.", metavar="NAME")],
    variant: Annotated[
        str, typer.Option(help="Which variant, where several of the suite are prompts.", metavar="NAME")
    ] = "",
    good: Annotated[
        str | None,
        typer.Option(
            help="A git revision where it was right; without it, the newest known one, else the oldest commit.",
            metavar="REV",
        ),
    ] = None,
    bad: Annotated[
        str | None, typer.Option(help="A git revision where it is broken; without it, the work tree.", metavar="REV")
    ] = None,
    store: Annotated[
        str, typer.Option(help="Where past runs are: a SQLite file or a PostgreSQL URL.", metavar="PATH|URL")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Find the commit of a prompt that broke a case, asking only for answers that aren't in the response cache.

    Exit codes: 0 found, or nothing broke; 2 bad input, 3 can't tell, 4 a backend or the store failed.
    """
    from llmops.bisecting import bisect as find
    from llmops.cli.finishing import prints_on_stderr

    for flag, revision in (("--good", good), ("--bad", bad)):
        if revision is not None and not revision.strip():
            raise InputError(f"{flag} names nothing", hint="is the variable that holds it empty?")
    with prints_on_stderr():
        made = find(
            suite, case, metric, variant=variant, good=good or "", bad=bad or "", store=store,
            progress=None if as_json else _say_progress,
        )  # fmt: skip
    if as_json:
        print_json(_machine(made))
    else:
        _show(made)
    raise typer.Exit(made.exit_code)


def _say_progress(version: Version, left: int) -> None:
    more = f", at most {left - 1} more after it" if left > 1 else ""
    say(f"asking with {_named(version)}{more}")


def _show(made: Bisection) -> None:
    from rich.text import Text

    from llmops.cli.prompt_diff import print_diff

    console = out()
    for number, line in enumerate(_findings(made)):
        console.print(Text(line, style="" if number else "bold"), soft_wrap=True)
    if made.diff is not None and made.before is not None and made.after is not None:
        console.print()
        print_diff(made.diff, _short(made.before.version), _short(made.after.version))
    console.print()
    for line in _footer(made):
        console.print(Text(line), soft_wrap=True)


def _findings(made: Bisection) -> Iterator[str]:
    prompt, case = _line(made.prompt), _line(made.case, 80)
    if made.before is None or made.after is None:
        yield from _no_break(made, prompt, case)
        return
    if made.outcome == "found":
        yield f"Case {case} broke at {_named(made.suspects[0])}"
    else:
        yield f"Case {case} broke at one of these; all but the last can't be tested:"
        yield from (f"  {_named(version)}" for version in made.suspects)
    yield ""
    yield f"{_line(made.metric.name, 60)} of {prompt}: {_scored(made.before)} → {_scored(made.after)}"
    for what, tested in (("before", made.before), ("after", made.after)):
        for answer in dict.fromkeys(tested.answered.answers):
            yield f"  {what:<6}  {_line(answer, ANSWER) or '(no text)'}"
    for broke, fixed in made.earlier:
        yield f"It wasn't the first time: broken at {_named(broke)}, right again at {_named(fixed)}."


def _no_break(made: Bisection, prompt: str, case: str) -> Iterator[str]:
    metric = _line(made.metric.name, 60)
    alone = made.good.version == made.bad.version
    if made.outcome == "nothing broke" and alone and made.versions < 2:
        yield f"Nothing broke: {prompt} has had one text only, with {metric} {_scored(made.bad)} for case {case}"
        yield "What changed is the model, its parameters, the case, or the metric."
        return
    if alone and made.outcome == "undecided":
        yield f"Can't tell: no other version of {prompt} could be tested on case {case}"
    else:
        verdict = "Nothing broke" if made.outcome == "nothing broke" else "Can't tell"
        yield f"{verdict}: case {case} is no worse with the newest {prompt} than with the oldest one looked at"
    yield ""
    for tested in (made.good,) if alone else (made.good, made.bad):
        yield f"{metric} {_scored(tested)}  {_named(tested.version)}"
    yield "If it was right at another commit, name that one: --good REV."


def _footer(made: Bisection) -> Iterator[str]:
    from llmops.reports.figures import plural

    asked = f"{plural(made.asked, 'request')} asked, {made.cached:,} from the cache"
    yield f"{plural(made.versions, 'version')} of {_line(made.prompt)}; {asked}"
    for one in made.skipped:
        yield f"Skipped {_named(one.version)}: {_line(str(one.answered.problem), 300)}"
    for note in made.notes:
        yield _line(note, 300)


def _scored(tested: Tested) -> str:
    from llmops.reports.figures import number

    answered = tested.answered
    each = "" if len(answered.scores) < 2 else f" ({', '.join(map(number, answered.scores))})"
    return number(answered.score) + each


def _named(version: Version) -> str:
    if not version.commit:
        return "the work tree (not committed yet)"
    parts = (version.commit[:SHORT], version.date[:10], _line(version.author, 60), _line(version.subject, 120))
    return "  ".join(part for part in parts if part)


def _short(version: Version) -> str:
    from dataclasses import replace

    return str(replace(version.reference, revision=version.reference.revision[:SHORT]))


def _line(text: str, limit: int = 200) -> str:
    from llmops.reports.plain import printable

    return printable(text, limit, one_line=True)


def _machine(made: Bisection) -> dict[str, Any]:
    return {
        "suite": made.suite,
        "variant": made.variant,
        "prompt": made.prompt,
        "case": made.case,
        "metric": made.metric.name,
        "outcome": made.outcome,
        "good": _tested(made.good),
        "bad": _tested(made.bad),
        "threshold": made.threshold if made.before is not None else None,
        "cause": _version(made.suspects[0]) if made.outcome == "found" else None,
        "suspects": [_version(version) for version in made.suspects],
        "before": _tested(made.before) if made.before is not None else None,
        "after": _tested(made.after) if made.after is not None else None,
        "diff": made.diff.to_json() if made.diff is not None else None,
        "earlier": [{"broke": _version(broke), "fixed": _version(fixed)} for broke, fixed in made.earlier],
        "skipped": [{**_version(one.version), "problem": str(one.answered.problem)} for one in made.skipped],
        "versions": made.versions,
        "requests": {"asked": made.asked, "cached": made.cached},
        "notes": list(made.notes),
        "exit_code": made.exit_code,
    }


def _version(version: Version) -> dict[str, Any]:
    return {
        "commit": version.commit or None,
        "date": version.date,
        "author": version.author,
        "subject": version.subject,
        "prompt": str(version.reference),
        "content_id": version.content_id,
    }


def _tested(tested: Tested) -> dict[str, Any]:
    answered = tested.answered
    scores = {"score": answered.score, "scores": list(answered.scores), "answers": list(answered.answers)}
    return {**_version(tested.version), **scores}
