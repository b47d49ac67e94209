"""Tells answers from texts that decline to give one. English only, by phrases."""

from __future__ import annotations

import re

MAX_READ = 20_000
MAX_HEAD = 2_000

_NEGATED = (
    r"(?:(?:do|does|did|could|can|was|were|is|are|would|will)(?:n't| not)|can't|won't|cannot|unable to|not able to|"
    r"(?:won't|will not) be able to)"
)
_VERB = r"(?:find|locate|see|identify|determine|answer|provide|give|tell|say|confirm|verify|offer|share)"
_SOURCE = (
    r"(?:(?:given|provided|supplied|retrieved|available|above|following|current|these|this|those|relevant|search) )*"
    r"(?:contexts?|documents?|documentation|docs|passages?|texts?|articles?|sources?|information|excerpts?|materials?|"
    r"references?|knowledge base|results?|snippets?|sections?|paragraphs?|content|data|conversation|statements?)"
)
_SAYS = (
    r"(?:(?:explicitly|directly|specifically|clearly|actually|seem to|appear to) )*"
    r"(?:contain|mention|provide|include|say|state|specify|answer|give|offer|address|cover|have|discuss|indicate|"
    r"describe|list|tell|show|explain|detail|disclose|reveal|support)"
)
_SAID = (
    r"(?:(?:explicitly|directly|specifically|clearly) )*"
    r"(?:mentioned|provided|specified|stated|given|included|available|found|answered|contained|discussed|"
    r"described|covered|addressed)"
)
_KNOWN = (
    r"(?:know(?! more\b| of an? (?:better|other|faster|simpler))|"
    r"have (?:(?:any|enough|sufficient|specific|the|that|this|an?|access|more|"
    r"information|details|data|knowledge) ?)+)"
)

_UNKNOWN = (
    # I don't know; I do not have enough information
    rf"\b(?:i|we)(?: really| simply| honestly| currently)? (?:do(?:n't| not)) {_KNOWN}",
    r"\b(?:i|we)(?:'m|'re| am| are) (?:afraid|sorry,?) (?:that )?(?:i|we) (?:do(?:n't| not)) (?:know|have)",
    r"\b(?:i|we)(?:'m| am|'re| are)(?: really| honestly)? not (?:sure|certain|aware of|familiar with)",
    r"\b(?:i|we) have no (?:idea|information|knowledge|data|answer)",
    # I could not find; I was unable to determine
    rf"\b(?:i|we)(?:'m|'re| am| are| was| were)? (?:{_NEGATED})(?: currently)? {_VERB}\b",
    # the context does not say; the passages don't contain
    rf"\b{_SOURCE}(?: \w+){{0,6}}? (?:do|does|did)(?:n't| not) {_SAYS}\b",
    r"\b(?:there (?:is|was|are|were)|(?:i|we) (?:see|find|found|have)) (?:no|not any|not enough|insufficient) "
    r"(?:\w+ ){0,3}?(?:information|mention|evidence|details?|data|answer|reference|indication|documents?|context)\b",
    rf"\b(?:is|are|was|were)(?:n't| not) {_SAID} (?:in|by|within|from) (?:the |any |any of the |my )?{_SOURCE}",
    r"\bthere (?:is|was|are|were)(?:n't| not) (?:any|enough|sufficient) (?:\w+ ){0,2}?"
    r"(?:information|evidence|data|context|details?)\b",
    rf"\b(?:answer|information|details?) (?:is|are|was|were)(?:n't| not) (?:{_SAID}\b|(?:in|within|among|part of) "
    rf"(?:the |any |any of the |my )?{_SOURCE})",
    rf"^(?:it(?:'s| is) |that(?:'s| is) )?not {_SAID}(?:[.!]|$| (?:in|by|within|anywhere in) (?:the |any )?{_SOURCE})",
    r"\bno (?:\w+ ){0,3}?(?:information|mention|answer|details?|evidence|reference) (?:\w+ ){0,3}?"
    r"(?:is|are|was|were|can be|could be)(?: \w+)? (?:available|provided|given|found|mentioned|included)\b",
    rf"\b{_SOURCE} (?:is|are) (?:not sufficient|insufficient|not enough)\b",
    r"\b(?:cannot|can't|can not|could not|couldn't) be (?:answered|determined|found|inferred|established)\b",
    r"\bit(?:'s| is) (?:unclear|not clear|unknown|impossible to (?:say|tell|know|determine))\b",
    r"\b(?:more|additional|further) (?:information|context|details) (?:is|are|would be) (?:needed|required)\b",
)
_DECLINED = (
    rf"\b(?:i|we) (?:{_NEGATED}|will not|must not|shouldn't)(?: \w+)? "
    r"(?:help|assist|comply|fulfil|fulfill|support|discuss|engage|participate|create|generate|write|produce|complete|"
    r"provide|answer|do that|do this|respond|continue|advise)\b",
    r"\b(?:i|we)(?:'m|'re| am| are) (?:not able|unable|not allowed|not permitted|not in a position|not comfortable|"
    r"not going) (?:to )?\w+",
    r"\b(?:i|we) (?:must|have to|need to|will have to|'ll have to|would like to)? ?(?:respectfully |politely )?"
    r"(?:decline|refuse)\b",
    r"\b(?:i|we)(?:'d| would) (?:rather|prefer) not\b|\b(?:i|we) (?:would )?prefer not to\b",
    r"\bas an (?:ai|artificial intelligence)\b[^.!?]{0,60}\b(?:can't|cannot|can not|don't|do not|am unable|not able)\b",
    r"\b(?:against|violates?) (?:my|our|the) (?:\w+ )?(?:guidelines|polic(?:y|ies)|programming|principles)\b",
    r"^(?:i'm |i am |we're |we are )?(?:very |so |really )?sorry,? but (?:i|we) (?:can't|cannot|can not|won't)\b",
)
_WHOLE = re.compile(
    r"(?:n/?a|unknown|unanswerable|no answer|not (?:answerable|available|specified|mentioned|given|known|found|"
    r"stated)|(?:no|insufficient|not enough) (?:information|context|data)(?: (?:available|found|given|provided))?|"
    r"no (?:relevant )?(?:results?|answer|documents?)(?: found)?|cannot answer|can't answer|dunno|idk|no idea)"
)
_PHRASE = re.compile("|".join((*_UNKNOWN, *_DECLINED)))
# every phrase above holds one of these: most answers hold none, and needn't be searched
_CUES = ("n't", "not", " no ", "unable", "unclear", "unknown", "impossible", "insufficient", "declin", "refus",
         "needed", "required", "against", "violat")  # fmt: skip
_STILL_ANSWERS = re.compile(
    r"[,;.]? (?:but|however,?|though,?|although) (?:i (?:think|believe|guess|suspect|can (?:tell|say|offer|confirm))|"
    r"it(?:'s| is| was| might| may| could)|"
    r"they|he|she|probably|perhaps|maybe|based on|my (?:best )?guess)"
)
_QUOTED = re.compile(r"\"[^\"\n]{0,300}\"|“[^”\n]{0,300}”|«[^»\n]{0,300}»|(?<!\w)'[^'\n]{3,300}'(?!\w)|`[^`\n]{0,300}`")
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+|\n+")
_OPENERS = re.compile(
    r"(?:unfortunately|sorry|apologies|i apologi[sz]e|i'm sorry|i am sorry|hmm|well|no|hello|hi|thanks)\b"
)
_CONCEDES = re.compile(r"(?:even )?(?:though|although|while|whilst)\b")
_SENTENCES = 2
"""A text that declines says so at once; further down the same words only limit what an answer covers."""


def declines(text: str) -> bool:
    """True when `text` refuses, or says that it doesn't know, instead of answering. An empty text says neither.

    Looks at the first two sentences (one more after an apology), outside of quotation marks and of clauses such as
    "although the text doesn't say …, it …". Phrases are English.
    """
    plain = _plain(text[:MAX_READ])
    if not plain:
        return False
    if _WHOLE.fullmatch(plain.rstrip(".!")):
        return True
    head = _head(plain)
    if not any(cue in f" {head}" for cue in _CUES):
        return False
    match = _PHRASE.search(head)
    return match is not None and not _STILL_ANSWERS.search(plain, match.end(), match.end() + 160)


def _plain(text: str) -> str:
    text = _QUOTED.sub("“”", text.replace("’", "'").replace("‘", "'"))
    return " ".join(text.lower().replace("*", "").split())


def _head(plain: str) -> str:
    sentences = _SENTENCE_END.split(plain, maxsplit=_SENTENCES + 1)
    taken = _SENTENCES + 1 if _OPENERS.match(sentences[0]) else _SENTENCES
    return " ".join(s for s in sentences[:taken] if not _CONCEDES.match(s))[:MAX_HEAD]
