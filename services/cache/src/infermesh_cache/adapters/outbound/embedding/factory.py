"""The embedding engine that settings ask for. Nothing is loaded before its first text."""

from infermesh_cache.adapters.outbound.embedding.minilm import FP32, INT8, MiniLmEncoder
from infermesh_cache.adapters.outbound.embedding.remote import RemoteModel, RemoteVectors
from infermesh_cache.adapters.outbound.embedding.static_vectors import StaticEncoder
from infermesh_cache.adapters.outbound.embedding.threaded import ThreadedEncoder
from infermesh_cache.application.embedding_engine import Batching, BatchingEmbeddingEngine
from infermesh_cache.embedding_ports import TextEncoder, TextVectors
from infermesh_cache.embedding_settings import EmbeddingSettings, RemoteModelSettings
from infermesh_common.resilience import Dependency
from infermesh_common.settings import BreakerSettings, read_secret
from infermesh_common.telemetry.metrics import Metrics


async def create_embedding_engine(
    settings: EmbeddingSettings, breaker: BreakerSettings, metrics: Metrics
) -> BatchingEmbeddingEngine:
    """The engine; to be closed by the caller.

    Args:
        settings: which model and how.
        breaker: when a remote service is left alone.
        metrics: of the process.

    Raises:
        SettingsError: the file of the API key cannot be read.
    """
    model: TextVectors
    if settings.model == "remote" and settings.remote is not None:
        model, batches = await _remote(settings, settings.remote, breaker, metrics)
    else:
        local = settings.local
        model = ThreadedEncoder(
            _encoder(settings), threads=local.workers, reload_after_ms=local.reload_after_ms
        )
        batches = local.workers
    batch = settings.batch
    batching = Batching(
        max_texts=batch.max_texts,
        max_wait_ms=batch.max_wait_ms,
        max_batches=batches,
        max_waiting=batch.max_waiting,
        max_chars=batch.max_chars,
        timeout_ms=batch.timeout_ms,
        memory_bytes=batch.memory_bytes,
    )
    return BatchingEmbeddingEngine(model, batching, metrics)


def _encoder(settings: EmbeddingSettings) -> TextEncoder:
    local = settings.local
    if settings.model == "static":
        return StaticEncoder(folder=local.folder)
    export = FP32 if settings.model == "minilm-fp32" else INT8
    return MiniLmEncoder(export, threads=local.threads, folder=local.folder)


async def _remote(
    settings: EmbeddingSettings,
    remote: RemoteModelSettings,
    breaker: BreakerSettings,
    metrics: Metrics,
) -> tuple[RemoteVectors, int]:
    headers: dict[str, str] = {}
    if remote.api_key_file is not None:
        headers["authorization"] = f"Bearer {read_secret(remote.api_key_file)}"
    model = RemoteModel(
        remote.base_url,
        remote.model,
        remote.dimension,
        remote.version,
        settings.batch.max_chars,
        headers,
    )
    dependency = await Dependency.create("embedding", breaker, metrics)
    vectors = RemoteVectors(
        model,
        dependency,
        timeout_ms=remote.timeout_ms,
        connect_timeout_ms=remote.connect_timeout_ms,
    )
    return vectors, remote.concurrency
