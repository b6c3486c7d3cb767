"""What is compared when two requests are: a part that must be equal, and a text that may differ.

`ContextualEmbeddingEngine` of the roadmap is in `engine`.
"""
