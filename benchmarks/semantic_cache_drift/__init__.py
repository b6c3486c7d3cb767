"""What the semantic cache does when the world changes."""
