"""Runs on disk: the only place that imports sqlmodel."""
