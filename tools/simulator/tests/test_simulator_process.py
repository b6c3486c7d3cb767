"""The simulator as a program, and in a thread."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import openai
import orjson
import pytest
from openai import OpenAI

from tools.simulator.script import ScriptError
from tools.simulator.server import simulator_in_thread

ROOT = Path(__file__).parents[3]


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tools.simulator", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(port: int) -> str | None:
    with OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0) as client:
        said = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "What is 1 + 1?"}]
        )
        return said.choices[0].message.content


def test_it_says_its_ports_answers_and_stops_in_order(tmp_path: Path) -> None:
    row = {"prompt": "What is 1 + 1?", "in_tokens": 5, "models": {"m": [1, 3, "2"]}}
    (tmp_path / "outcomes.jsonl").write_bytes(orjson.dumps(row))
    script = tmp_path / "script.yaml"
    script.write_text("rules: [{when: {nth: 2}, fault: {name: status_error}}]")
    with program("--script", str(script), "--replay", str(tmp_path), "--journal", "5") as process:
        assert process.stdout and process.stderr
        ports = orjson.loads(process.stdout.readline())
        assert ports["pid"] == process.pid
        assert ask(ports["port"]) == "2"
        with pytest.raises(openai.InternalServerError):
            ask(ports["port"])
        root = f"http://127.0.0.1:{ports['control_port']}/_simulator"
        assert httpx2.get(f"{root}/counts").json()["answered"] == 1
        assert len(httpx2.get(f"{root}/journal").json()) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


@pytest.mark.parametrize("option", ["--script", "--replay"])
def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path: Path, option: str) -> None:
    with program(option, str(tmp_path / "missing")) as process:
        assert process.wait(20) == 2
        assert process.stderr
        (line,) = process.stderr.read().splitlines()
        assert line.startswith(b"simulator: ") and b"missing" in line


def test_in_a_thread_it_serves_callers_that_block() -> None:
    with simulator_in_thread({"answer": {"text": "one"}}) as sim:
        assert ask(sim.port) == "one"
        sim.load({"answer": {"text": "two"}})
        assert ask(sim.port) == "two"
        with pytest.raises(ScriptError):
            sim.load({"rules": 7})
        assert sim.counts()["answered"] == len(sim.journal()) == 2
        assert httpx2.get(f"{sim.control_url}/_simulator/counts").json() == sim.counts()
        sim.reset()
        assert sim.counts()["answered"] == 0
    with pytest.raises(openai.APIConnectionError):
        ask(sim.port)
