"""`make bench-semantic-cache`: hits of the semantic cache at a stated rate of wrong answers."""
