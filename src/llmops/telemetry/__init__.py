"""Calls told to others: OpenTelemetry spans over OTLP, and Prometheus text."""
