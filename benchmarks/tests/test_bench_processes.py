import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.processes import Neighbours, NotReady, alive, rss_mb, running, settle, wait_until

# Ends by itself should a test not end it.
BUSY = "import time; end = time.monotonic() + 120\nwhile time.monotonic() < end: pass"
IDLE = "import threading; print('ready', flush=True); threading.Event().wait()"


def test_a_program_ends_with_its_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(sys.executable, "-c", IDLE, log=log) as pid:
        wait_until(lambda: log.read_text() == "ready\n", "its word", 20)
        assert alive(pid) and rss_mb(pid) > 1
    assert not alive(pid) and rss_mb(pid) == 0


def test_a_program_sees_the_variables_it_is_given(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import os; print(os.environ['OF_ITS_OWN'], flush=True)"
    with running(sys.executable, "-c", code, environment={"OF_ITS_OWN": "yes"}, log=log) as pid:
        wait_until(lambda: not alive(pid), "its end", 20)
    assert log.read_text() == "yes\n"


def test_what_does_not_happen_in_time_is_named() -> None:
    with pytest.raises(NotReady, match="the impossible"):
        wait_until(lambda: False, "the impossible", within_s=0)


def test_idle_processes_settle_and_busy_ones_do_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(sys.executable, "-c", IDLE, log=log) as idle:
        wait_until(lambda: log.read_text() == "ready\n", "its word", 20)
        assert settle([idle], within_s=20) >= 0
        with running(sys.executable, "-c", BUSY) as busy, pytest.raises(NotReady):
            settle([idle, busy], within_s=0)


def test_the_time_of_our_own_processes_is_not_that_of_others() -> None:
    # Its parent ends at once, so that it is no descendant of ours.
    code = (
        "import subprocess as s, sys\n"
        f"print(s.Popen([sys.executable, '-c', {BUSY!r}], stdout=s.DEVNULL, stderr=s.DEVNULL).pid)"
    )
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    busy = psutil.Process(int(started.stdout))
    try:
        of_others, of_ours = Neighbours([]), Neighbours([busy.pid])
        used = busy.cpu_times().user
        wait_until(lambda: busy.cpu_times().user > used + 0.5, "half a second of work", 60)
        counted, not_counted = of_others.percent(), of_ours.percent()
    finally:
        busy.kill()
    assert counted > not_counted
