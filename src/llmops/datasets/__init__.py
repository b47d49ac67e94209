"""Cases from files, streamed and checked: JSONL, JSON, CSV, TSV, YAML, Parquet and Hugging Face folders."""

from __future__ import annotations

from llmops.datasets.dataset import Dataset, dataset_of, open_dataset
from llmops.datasets.surveying import Survey

__all__ = ["Dataset", "Survey", "dataset_of", "open_dataset"]
