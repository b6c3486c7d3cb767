"""Whether the passages that answer a question are found."""
