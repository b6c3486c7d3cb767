"""Finding the passages of documents that answer a question. Pure: no model, no index."""
