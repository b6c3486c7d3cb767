import pytest

from benchmarks import load
from benchmarks.profile import lines_of, ranked
from benchmarks.target import Target

PRINTED = """Running 2s test @ http://127.0.0.1:38831/v1/chat/completions
  1 threads and 16 connections
  Latency Distribution
     50%    {p50}
     99%   10.37ms
  1200 requests in 2.00s, 4.04MB read
Requests/sec:    600.50
failed {failed}
completed {completed}
received 480000
"""


@pytest.mark.parametrize(
    ("p50", "milliseconds"), [("208.00us", 0.208), ("2.08ms", 2.08), ("1.50s", 1500)]
)
def test_what_wrk_prints_is_read_in_its_units(p50: str, milliseconds: float) -> None:
    done = load.parse(PRINTED.format(p50=p50, failed=0, completed=1200))
    assert done.rps == 600.5
    assert done.p50_ms == pytest.approx(milliseconds)
    assert (done.completed, done.received) == (1200, 480000)


@pytest.mark.parametrize(("failed", "completed"), [(1, 1200), (0, 0)])
def test_a_round_with_a_failed_request_or_none_is_no_figure(failed: int, completed: int) -> None:
    with pytest.raises(load.LoadError):
        load.parse(PRINTED.format(p50="1.00ms", failed=failed, completed=completed))


def test_output_that_is_not_of_a_whole_run_is_refused() -> None:
    with pytest.raises(load.LoadError):
        load.parse("unable to connect")


def test_bodies_of_the_script_and_of_a_single_request_are_the_same() -> None:
    target = Target(1, "some-model", {"authorization": "Bearer key"}, stream=True)
    before, after = target.around()
    text = load.script(target, unique=True, seed=7)
    assert f"[==[{before}]==]" in text and f"[==[{after}]==]" in text
    assert target.body("why?") == (before + "why?" + after).encode()
    assert target.body("why?").startswith(b'{"model":"some-model","stream":true,')


def test_functions_are_ranked_by_their_own_share_and_recursion_counts_once() -> None:
    found = ranked(["main;a;b 6", "main;a 3", "main;c;a;c 1"], 2)
    assert [(hot.function, hot.own_percent, hot.total_percent) for hot in found] == [
        ("b", 60.0, 60.0),
        ("a", 30.0, 100.0),
    ]


def test_no_samples_rank_nothing() -> None:
    assert ranked([], 5) == []


def test_a_process_that_was_idle_is_told_from_one_that_could_not_be_seen() -> None:
    idle, unseen, seen = lines_of([]), lines_of(None), lines_of(ranked(["a 1"], 1))
    assert "idle" in idle[0] and "ptrace" in unseen[0] and seen == ["  100.0 % 100.0 %  a"]
