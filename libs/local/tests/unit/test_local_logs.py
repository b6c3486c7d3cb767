"""Reading logs while they are written and turned over."""

from collections.abc import Callable
from pathlib import Path

import pytest
from infermesh_local.logs import LogTail, last_lines, read_logs


@pytest.mark.parametrize("count", [0, 1, 3, 1000, 30000])
def test_the_last_lines_are_the_last_ones(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.log"
    lines = [f"line {number} ä" for number in range(20000)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    assert last_lines(path, count) == lines[20000 - min(count, 20000) :]


def test_a_log_that_does_not_exist_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "a.log", 10) == []
    assert LogTail(tmp_path / "a.log").more() == []


def test_bytes_that_are_no_text_do_not_stop_the_reader(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"ok\n\xff\xfe\r\nok\n")
    assert last_lines(tmp_path / "a.log", 10) == ["ok", "\ufffd\ufffd", "ok"]


def test_only_whole_lines_are_given_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    tail = LogTail(path)
    assert tail.begin(10) == []
    with path.open("a", encoding="utf-8") as file:
        file.write("one\ntw")
        file.flush()
        assert tail.more() == ["one"]
        file.write("o\n")
        file.flush()
    assert tail.more() == ["two"]
    assert tail.more() == []


def test_nothing_is_lost_when_the_log_is_turned_over(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\n")
    tail = LogTail(path)
    assert tail.begin(10) == ["one"]
    with path.open("a") as file:
        file.write("two\nthr")
    path.rename(tmp_path / "a.log.1")
    path.write_text("ee\nfour\n")
    assert tail.more() == ["two", "three", "four"]


def test_a_log_that_was_emptied_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\ntwo\nthree\n")
    tail = LogTail(path)
    tail.begin(1)
    path.write_text("new\n")
    assert tail.more() == ["new"]


def test_lines_of_several_logs_are_labelled(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.log" for name in ("redis", "a")}
    for name, path in paths.items():
        path.write_text(f"of {name}\n")
    assert list(read_logs(paths, 5, None)) == ["redis | of redis", "a     | of a"]
    assert list(read_logs({"a": paths["a"]}, 5, None)) == ["of a"]


def _answers(*values: bool) -> Callable[[], bool]:
    return iter(values).__next__


def test_following_ends_with_the_mesh_and_gives_its_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\n")
    lines = read_logs({"a": path}, 5, _answers(True, False))
    assert next(lines) == "one"
    with path.open("a") as file:
        file.write("two\n")
    assert next(lines) == "two"
    with path.open("a") as file:
        file.write("last words\n")
    assert list(lines) == ["last words"]
