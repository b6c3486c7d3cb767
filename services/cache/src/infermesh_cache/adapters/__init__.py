"""Adapters between the cache and the world."""
