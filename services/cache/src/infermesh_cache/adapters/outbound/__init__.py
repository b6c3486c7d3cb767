"""Redis and resources out."""
