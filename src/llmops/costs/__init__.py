"""What `llmops cost` does: reports over the call log, repricing, exports and reconciliation."""
