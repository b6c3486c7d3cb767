"""The usage ledger: what was spent, saved and served from a cache."""
