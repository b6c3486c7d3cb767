"""Load from wrk (Debian: wrk), on loopback, bounded in time."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.target import QUESTION, Target

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_GRACE_S = 60
_SCRIPT = """
wrk.method = "POST"
%(headers)s
local before, after = %(before)s, %(after)s
local unique, n = %(unique)s, 0
request = function()
  local question = %(question)s
  if unique then
    n = n + 1
    question = question .. " %(seed)d-" .. n
  end
  return wrk.format(nil, nil, nil, before .. question .. after)
end
done = function(summary)
  local e = summary.errors
  print("failed " .. (e.connect + e.read + e.write + e.status + e.timeout))
  print("completed " .. summary.requests)
  print("received " .. summary.bytes)
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
        completed: requests that were answered.
        received: bytes of their answers, with headers.
    """

    rps: float
    p50_ms: float
    completed: int
    received: int


def require_wrk() -> None:
    """Raises LoadError when wrk is not installed."""
    if shutil.which("wrk") is None:
        raise LoadError("This benchmark needs wrk on the PATH (Debian: apt-get install wrk).")


def run(target: Target, *, connections: int, seconds: int, unique: bool, seed: int) -> Load:
    """One round of chat completions.

    Args:
        target: is asked.
        connections: kept open, each with one request at a time.
        seconds: length of the round.
        unique: ask something new each time, so that nothing can be cached.
        seed: makes the unique questions of this round differ from those of others.

    Raises:
        LoadError: a request failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "load.lua"
        path.write_text(script(target, unique=unique, seed=seed))
        url = f"http://127.0.0.1:{target.port}{target.path}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
        done = subprocess.run(
            [*command, "--latency", "-s", str(path), url],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _GRACE_S,
        )
    # A script that wrk cannot run does not stop it.
    if done.returncode or done.stderr:
        raise LoadError(f"wrk failed:\n{done.stdout}{done.stderr}")
    return parse(done.stdout)


def script(target: Target, *, unique: bool, seed: int) -> str:
    """What wrk runs, in Lua."""
    before, after = target.around()
    headers = (
        f"wrk.headers[ {_quoted(name)} ] = {_quoted(value)}"
        for name, value in target.all_headers.items()
    )
    return _SCRIPT % {
        "headers": "\n".join(headers),
        "before": _quoted(before),
        "after": _quoted(after),
        "unique": "true" if unique else "false",
        "question": _quoted(QUESTION),
        "seed": seed,
    }


def parse(output: str) -> Load:
    """Reads what wrk printed.

    Raises:
        LoadError: a request failed, or it is not what wrk prints.
    """
    failed = re.search(r"^failed (\d+)$", output, re.M)
    completed = re.search(r"^completed (\d+)$", output, re.M)
    received = re.search(r"^received (\d+)$", output, re.M)
    rps = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p50 = re.search(r"50%\s+([\d.]+)(us|ms|s)", output)
    if not (failed and completed and received and rps and p50):
        raise LoadError(f"wrk printed something unknown:\n{output}")
    if int(failed[1]) or not int(completed[1]):
        raise LoadError(f"{failed[1]} requests failed, {completed[1]} completed:\n{output}")
    return Load(
        rps=float(rps[1]),
        p50_ms=float(p50[1]) * _UNITS_MS[p50[2]],
        completed=int(completed[1]),
        received=int(received[1]),
    )


def _quoted(text: str) -> str:
    """A Lua string of any text without the closing mark."""
    return f"[==[{text}]==]"
