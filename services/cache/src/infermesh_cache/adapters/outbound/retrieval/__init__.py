"""Libraries behind contextual retrieval; imported when an index is made."""
