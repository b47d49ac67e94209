"""Agent Skills: folders with a SKILL.md, read, linted, released and found."""
