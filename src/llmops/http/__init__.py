"""HTTP as every adapter speaks it: one client, one mapping of failures to errors, no secrets in what is shown."""

from llmops.http.addresses import check_url, expand_headers, header_secrets
from llmops.http.client import Answer, HttpClient
from llmops.http.failures import Masking, refused, retry_after_s, shown

__all__ = [
    "Answer",
    "HttpClient",
    "check_url",
    "expand_headers",
    "header_secrets",
    "Masking",
    "refused",
    "retry_after_s",
    "shown",
]
