"""OpenAI's Responses wire, without its state. Source: OpenAI API reference, "Responses"."""
