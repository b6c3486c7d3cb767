"""Files of models, and models that cannot be loaded."""

import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from infermesh_cache.adapters.outbound.embedding.factory import create_embedding_engine
from infermesh_cache.adapters.outbound.embedding.minilm import FP32, INT8, MiniLmEncoder
from infermesh_cache.adapters.outbound.embedding.model_files import ModelFile, version_of
from infermesh_cache.adapters.outbound.embedding.static_vectors import read_tensor
from infermesh_cache.adapters.outbound.embedding.threaded import ThreadedEncoder
from infermesh_cache.embedding_settings import EmbeddingSettings
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats
from infermesh_common.errors import Unavailable
from infermesh_common.settings import BreakerSettings, SettingsError
from infermesh_common.telemetry.metrics import Metrics
from pydantic import ValidationError

CONTENT = b"weights"
FILE = ModelFile("no_such_package", "models/weights.bin", hashlib.sha256(CONTENT).hexdigest())


def test_the_right_file_is_found_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(CONTENT)
    assert FILE.verified(tmp_path) == tmp_path / "weights.bin"


def test_a_file_that_is_another_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"others")
    with pytest.raises(Unavailable) as error:
        FILE.verified(tmp_path)
    assert error.value.reason == "EMBEDDING_MODEL_MISMATCH"
    assert "weights.bin" in error.value.message


@pytest.mark.parametrize("in_folder", [True, False])
def test_a_missing_file_is_named(tmp_path: Path, in_folder: bool) -> None:
    with pytest.raises(Unavailable) as error:
        FILE.verified(tmp_path if in_folder else None)
    assert error.value.reason == "EMBEDDING_MODEL_MISSING"
    assert "models/weights.bin" in error.value.message


def test_a_changed_file_or_condition_starts_a_new_space() -> None:
    other = ModelFile(FILE.package, FILE.path, "0" * 64)
    versions = {version_of((FILE,)), version_of((other,)), version_of((FILE,), "256")}
    assert len(versions) == 3


def test_exports_of_one_model_are_two_spaces() -> None:
    spaces = {MiniLmEncoder(export, threads=1).space.name for export in (INT8, FP32)}
    assert len(spaces) == 2
    assert all("@" in name for name in spaces)


def write_tensor(path: Path, header: object, data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_a_matrix_is_read_as_it_was_written(tmp_path: Path) -> None:
    matrix = np.arange(6, dtype="<f2").reshape(2, 3)
    entry = {"dtype": "F16", "shape": [2, 3], "data_offsets": [4, 16]}
    path = write_tensor(tmp_path / "t", {"w": entry}, b"....."[:4] + matrix.tobytes())
    np.testing.assert_array_equal(read_tensor(path, "w"), matrix.astype(np.float32))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 9) + b"{broken",
    ],
)
def test_a_file_that_is_no_safetensors_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(Unavailable) as error:
        read_tensor(path, "w")
    assert error.value.reason == "EMBEDDING_MODEL_MISMATCH"


class PlayedEncoder:
    """Loads when the test lets it."""

    space = EmbeddingSpace("played@1", 2)

    def __init__(self) -> None:
        self.loads = 0
        self.failure: Unavailable | None = None

    def load(self) -> None:
        self.loads += 1
        if self.failure is not None:
            raise self.failure

    def encode(self, texts: Sequence[str]) -> Floats:
        return np.ones((len(texts), 2), np.float32)


async def test_a_model_that_cannot_be_loaded_is_left_alone_for_a_while() -> None:
    now = 0.0
    encoder = PlayedEncoder()
    model = ThreadedEncoder(encoder, threads=1, reload_after_ms=1000, clock=lambda: now)
    encoder.failure = Unavailable("EMBEDDING_MODEL_MISSING", "x is missing")
    for _ in range(3):
        with pytest.raises(Unavailable, match="x is missing"):
            await model.vectors(["a"])
    assert encoder.loads == 1
    now, encoder.failure = 1.0, None
    assert (await model.vectors(["a"])).shape == (1, 2)
    assert (await model.vectors(["a"])).shape == (1, 2)
    assert encoder.loads == 2
    await model.close()


def settings(**changes: object) -> EmbeddingSettings:
    values: dict[str, object] = {
        "model": "minilm-int8",
        "batch": {
            "max_texts": 16,
            "max_wait_ms": 1,
            "max_waiting": 64,
            "max_chars": 4096,
            "timeout_ms": 30_000,
            "memory_bytes": 1_000_000,
        },
        "local": {"folder": None, "workers": 1, "threads": 1, "reload_after_ms": 1000},
        "remote": None,
    }
    return EmbeddingSettings.model_validate({**values, **changes})


REMOTE = {
    "base_url": "http://127.0.0.1:9/v1",
    "model": "m",
    "version": "1",
    "dimension": 8,
    "api_key_file": None,
    "concurrency": 2,
    "timeout_ms": 1000,
    "connect_timeout_ms": 100,
}
BREAKER = BreakerSettings(failure_threshold=5, open_ms=1000, max_concurrent=8)


@pytest.mark.parametrize(
    ("model", "dimension"),
    [("minilm-int8", 384), ("minilm-fp32", 384), ("static", 256), ("remote", 8)],
)
async def test_settings_choose_the_model(metrics: Metrics, model: str, dimension: int) -> None:
    engine = await create_embedding_engine(settings(model=model, remote=REMOTE), BREAKER, metrics)
    assert engine.space.dimension == dimension
    await engine.close()


def test_a_remote_model_without_an_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="remote"):
        settings(model="remote")


async def test_a_missing_key_file_is_said_at_once(metrics: Metrics, tmp_path: Path) -> None:
    remote = {**REMOTE, "api_key_file": tmp_path / "none"}
    with pytest.raises(SettingsError, match="none"):
        await create_embedding_engine(settings(model="remote", remote=remote), BREAKER, metrics)


async def test_a_service_that_is_not_there_is_unavailable(metrics: Metrics) -> None:
    engine = await create_embedding_engine(
        settings(model="remote", remote=REMOTE), BREAKER, metrics
    )
    with pytest.raises(Unavailable) as error:
        await engine.embed(["a"])
    assert error.value.reason == "EMBEDDING_UNAVAILABLE"
    await engine.close()
