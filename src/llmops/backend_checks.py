"""What `llmops backends check` asks of every server a project names."""
