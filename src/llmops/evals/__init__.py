"""Suites: reading, running, scoring, gating."""
