"""Scores for one sample each."""
