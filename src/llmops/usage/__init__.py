"""Tokens and dollars: prices, budgets, the tracker of calls."""
