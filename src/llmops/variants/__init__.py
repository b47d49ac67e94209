"""Adapters for what is evaluated."""
