"""Anthropic's Messages wire. Source: Anthropic API reference, "Messages", "Streaming messages"."""
