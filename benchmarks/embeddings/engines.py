"""Embedding engines as the service builds them."""

from infermesh_cache.adapters.outbound.embedding.minilm import FP32, INT8, MiniLmEncoder
from infermesh_cache.adapters.outbound.embedding.static_vectors import StaticEncoder
from infermesh_cache.adapters.outbound.embedding.threaded import ThreadedEncoder
from infermesh_cache.application.embedding_engine import Batching, BatchingEmbeddingEngine
from infermesh_cache.embedding_ports import TextEncoder
from infermesh_common.telemetry.metrics import Metrics

LOCAL = ("minilm-int8", "minilm-fp32", "static")
BATCHING = Batching(
    max_texts=16,
    max_wait_ms=1,
    max_batches=1,
    max_waiting=1_000_000,
    max_chars=4096,
    timeout_ms=3_600_000,
    memory_bytes=0,
)


def local_engine(name: str, *, threads: int = 1) -> BatchingEmbeddingEngine:
    """An engine that remembers nothing, in front of one of `LOCAL`."""
    encoder: TextEncoder
    if name == "static":
        encoder = StaticEncoder()
    else:
        encoder = MiniLmEncoder(INT8 if name == "minilm-int8" else FP32, threads=threads)
    model = ThreadedEncoder(encoder, threads=1, reload_after_ms=1000)
    return BatchingEmbeddingEngine(model, BATCHING, Metrics())
