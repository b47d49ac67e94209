"""Statistics: pure functions on numbers."""
