"""Where the router's time goes while it is loaded: the reason why a figure is what it is."""

import threading
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import LoadError
from benchmarks.overhead.contenders import Contender
from benchmarks.overhead.measure import Meter
from benchmarks.profile import Hot, hottest, lines_of
from benchmarks.report import OUT

_SECONDS = 6
_LEAD_SECONDS = 2
_MOST = 40
_PRINTED = 10


def profile(meter: Meter, contenders: Sequence[Contender], pid: int) -> Path:
    """Loads each contender once more, samples a process meanwhile, prints and writes what it saw.

    Args:
        meter: makes the load; its results are not used, sampling slows the process.
        contenders: ways of asking the mesh.
        pid: of the router.
    """
    parts = []
    for contender in contenders:
        found = _under_load(meter, contender, pid)
        title = f"router under {contender.name} (own and total share of samples that hold the GIL)"
        print("\n".join([title, *lines_of(found and found[:_PRINTED])]))
        parts.append("\n".join([title, *lines_of(found)]))
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / "overhead-profile.txt"
    file.write_text("\n\n".join(parts) + "\n")
    return file


def _under_load(meter: Meter, contender: Contender, pid: int) -> list[Hot] | None:
    faults: list[str] = []

    def load() -> None:
        try:
            meter.throughput(contender, _SECONDS + _LEAD_SECONDS)
        except LoadError as error:
            faults.append(str(error))

    worker = threading.Thread(target=load)
    worker.start()
    found = hottest(pid, _SECONDS, _MOST)
    worker.join()
    for fault in faults:
        print(f"  the load for the profile failed: {fault}")
    return found
