"""Prompts as files: reading, rendering, finding."""
