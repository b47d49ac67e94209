"""How `llmops prompt diff` prints what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmops.cli.terminal import out

if TYPE_CHECKING:
    from llmops.prompts.comparison.diffing import PromptDiff


def print_diff(diff: PromptDiff, old: str, new: str) -> None:
    """Colours on a terminal that shows them, `[-marks-]` and `{+marks+}` elsewhere."""
    from rich.text import Text

    from llmops.prompts.comparison.diff_text import diff_lines
    from llmops.prompts.comparison.values import visible

    console = out()
    color = console.is_terminal and not console.no_color
    console.print(Text(f"{visible(old, one_line=True)} → {visible(new, one_line=True)}", style="bold"), soft_wrap=True)
    console.print(Text(diff.summary), soft_wrap=True)
    for line in diff_lines(diff, width=console.width, color=color):
        console.print(Text.assemble(*((text, style) for style, text in line)), soft_wrap=True)
