"""Vectors of stored questions: an index in this process, and Milvus behind it."""
