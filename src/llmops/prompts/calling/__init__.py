"""The code that uses prompts: found, checked and typed."""
