"""Redis and secret files."""
