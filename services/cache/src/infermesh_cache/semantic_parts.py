"""Builds the heavy parts of the semantic tier: the embedding model and the index."""

from infermesh_cache.application.lazy_parts import Parts
from infermesh_common.errors import Unavailable


async def build_parts() -> Parts:
    """The parts of this process.

    Raises:
        Unavailable: a file is missing or another one.
    """
    raise Unavailable("EMBEDDING_MODEL_MISSING", "There is no embedding model.")
