"""Orchestrates one inference: registry, routing, providers, OpenAI-compatible edge."""
