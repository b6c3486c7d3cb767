"""Load from wrk (Debian: wrk), on loopback, bounded in time."""

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_SCRIPT = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer %(api_key)s"
local unique, n = %(unique)s, 0
local seed = %(seed)d
request = function()
  local question = "What is the capital of France?"
  if unique then
    n = n + 1
    question = question .. " " .. seed .. "-" .. n
  end
  return wrk.format(nil, nil, nil, '{"model":"%(model)s","messages":[{"role":"user","content":"'
    .. question .. '"}]}')
end
done = function(summary)
  local e = summary.errors
  print("failed " .. (e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class LoadError(Exception):
    """The load could not be made, or requests failed; says which."""


@dataclass(frozen=True)
class Load:
    """One round.

    Attributes:
        rps: requests per second.
        p50_ms: median latency in milliseconds.
    """

    rps: float
    p50_ms: float


def require_wrk() -> None:
    """Raises LoadError when wrk is not installed."""
    if shutil.which("wrk") is None:
        raise LoadError("This benchmark needs wrk on the PATH (Debian: apt-get install wrk).")


def run(
    port: int,
    *,
    api_key: str,
    model: str,
    connections: int,
    seconds: int,
    unique: bool,
    seed: int,
) -> Load:
    """One round of chat completions.

    Args:
        port: loopback port of Envoy.
        api_key: sent as the bearer token.
        model: asked for.
        connections: kept open.
        seconds: length of the round.
        unique: ask something new each time, so that nothing can be cached.
        seed: makes the unique questions of this round differ from those of others.

    Raises:
        LoadError: a request failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        values = {
            "api_key": api_key,
            "model": model,
            "unique": json.dumps(unique),
            "seed": seed,
        }
        script.write_text(_SCRIPT % values)
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s"]
        done = subprocess.run(
            [*command, str(script), url],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 30,
        )
    failed = re.search(r"^failed (\d+)$", done.stdout, re.M)
    rps = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    p50 = re.search(r"50%\s+([\d.]+)(us|ms|s)", done.stdout)
    if done.returncode or failed is None or rps is None or p50 is None or int(failed[1]):
        raise LoadError(f"requests failed:\n{done.stdout}{done.stderr}")
    return Load(float(rps[1]), float(p50[1]) * _UNITS_MS[p50[2]])
