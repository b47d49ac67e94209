PYTHON ?= python

.PHONY: check lint types ladder test docs bench validate

check: lint types ladder test

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

ladder:
	lint-imports

test:
	$(PYTHON) -m pytest -n auto

docs:
	$(PYTHON) -m llmops.cli.reference

bench:
	$(PYTHON) benchmarks/run.py

validate:
	SIMULATION_REPETITIONS=5000 $(PYTHON) -m pytest -q -s tests/test_simulations.py tests/test_simulations_limits.py
