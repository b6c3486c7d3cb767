"""Logs, metrics and traces; names are declared in `registry` before use."""
