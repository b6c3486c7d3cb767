"""Use cases of the cache: what happens in which order."""
