"""Pure decisions of the cache."""
