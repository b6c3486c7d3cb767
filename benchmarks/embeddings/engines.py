"""Embedding engines as the service builds them."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.processes import NotReady

from infermesh_cache.adapters.outbound.embedding.minilm import FP32, INT8, MiniLmEncoder
from infermesh_cache.adapters.outbound.embedding.remote import create_remote_vectors
from infermesh_cache.adapters.outbound.embedding.static_vectors import StaticEncoder
from infermesh_cache.adapters.outbound.embedding.threaded import ThreadedEncoder
from infermesh_cache.application.embedding_engine import Batching, BatchingEmbeddingEngine
from infermesh_cache.embedding_ports import TextEncoder
from infermesh_cache.embedding_settings import RemoteModelSettings
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import free_port
from infermesh_local.model_server import MODEL_NAME

REMOTE_DIMENSION = 576
REMOTE_CHARS = 1000
REMOTE_KEY = "key-of-the-benchmark"
STARTUP_S = 60

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


def local_engine(
    name: str, *, threads: int = 1, batching: Batching = BATCHING
) -> BatchingEmbeddingEngine:
    """An engine in front of one of `LOCAL`; unless told, it remembers nothing."""
    encoder: TextEncoder
    if name == "static":
        encoder = StaticEncoder()
    else:
        encoder = MiniLmEncoder(INT8 if name == "minilm-int8" else FP32, threads=threads)
    model = ThreadedEncoder(encoder, threads=1, reload_after_ms=1000)
    return BatchingEmbeddingEngine(model, batching, Metrics())


async def remote_engine(port: int) -> BatchingEmbeddingEngine:
    """An engine in front of the embedding service of `serving_model`."""
    metrics = Metrics()
    breaker = BreakerSettings(failure_threshold=5, open_ms=1000, max_concurrent=8)
    with TemporaryDirectory() as folder:
        key = Path(folder) / "key"
        key.write_text(REMOTE_KEY)
        settings = RemoteModelSettings(
            base_url=f"http://127.0.0.1:{port}/v1",
            model=MODEL_NAME,
            version="1",
            dimension=REMOTE_DIMENSION,
            api_key_file=key,
            concurrency=1,
            timeout_ms=120_000,
        )
        vectors = await create_remote_vectors(settings, REMOTE_CHARS, breaker, metrics)
    return BatchingEmbeddingEngine(vectors, BATCHING, metrics)


@contextmanager
def serving_model(folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a server with the embedded model, as local mode runs it.

    Raises:
        NotReady: it does not come up.
    """
    port = free_port()
    (folder / "key").write_text(REMOTE_KEY)
    process = subprocess.Popen(
        [sys.executable, "-m", "infermesh_local.model_server", "--port", str(port)]
        + ["--api-key-file", str(folder / "key"), "--slots", "4", "--slot-context", "512"]
        + ["--prompt-cache-mib", "0", "--stop-grace-s", "2"],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + STARTUP_S
        while not _is_healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotReady("the embedded model's server did not come up")
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
