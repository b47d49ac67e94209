"""What differs between two prompts: words, variables, settings and schemas."""
