"""Answers that were given before: exact tier."""
