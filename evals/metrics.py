"""A metric of this suite's own. Any function that takes a sample and returns a score can be one."""

from __future__ import annotations

import re

from llmops import Sample, Score

# Digits with inner separators: 1,095 and 4.5 and 03:15 are one number each, and 5 is not found in 15.
NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


def numbers_kept(sample: Sample) -> Score:
    """Share of the numbers in the expected answer that the output states, 0 to 1.

    Near-identical pages for two versions differ in their numbers only, which word overlap hardly sees.
    Unscored when the expected answer has no number.
    """
    wanted = set(NUMBER.findall(str(sample.expected or "")))
    if not wanted:
        return Score.unscored("the expected answer has no number")
    missing = wanted - set(NUMBER.findall(sample.text))
    reason = f"missing: {', '.join(sorted(missing))}" if missing else ""
    return Score(1 - len(missing) / len(wanted), reason)
