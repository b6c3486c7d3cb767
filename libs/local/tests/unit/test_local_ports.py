"""Choice of ports."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from infermesh_local import NoFreePort, PortInUse
from infermesh_local.port_choice import (
    free_ports,
    is_free,
    public_port,
    read_ports,
    write_ports,
)

INTERNAL = range(20000, 32001)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that a server listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port: int = server.getsockname()[1]
        yield port


def test_a_port_with_a_listener_is_not_free(taken: int) -> None:
    assert not is_free(taken)


def test_a_stated_port_that_is_taken_is_refused_by_name(taken: int) -> None:
    with pytest.raises(PortInUse, match=str(taken)) as caught:
        public_port(taken, 8080, INTERNAL)
    assert caught.value.port == taken


def test_a_stated_port_that_is_free_is_taken_instead_of_the_default(taken: int) -> None:
    free = free_ports(["a"], INTERNAL, {}, ())["a"]
    assert public_port(free, taken, INTERNAL) == free


def test_a_default_port_that_is_taken_gives_way_to_a_free_one(taken: int) -> None:
    port = public_port(None, taken, INTERNAL)
    assert port != taken
    assert is_free(port)


def test_ports_are_all_different_and_free() -> None:
    names = [f"p{number}" for number in range(50)]
    ports = free_ports(names, INTERNAL, {}, ())
    assert list(ports) == names
    assert len(set(ports.values())) == len(names)
    assert all(port in INTERNAL and is_free(port) for port in ports.values())


def test_ports_of_an_earlier_run_are_taken_again_when_they_are_free(taken: int) -> None:
    free = free_ports(["a"], INTERNAL, {}, ())["a"]
    both = range(min(taken, INTERNAL.start), max(taken, INTERNAL.stop) + 1)
    ports = free_ports(["a", "b"], both, {"a": free, "b": taken}, ())
    assert ports["a"] == free
    assert ports["b"] != taken


def test_an_earlier_port_is_not_taken_twice() -> None:
    free = free_ports(["a"], INTERNAL, {}, ())["a"]
    ports = free_ports(["a", "b", "c"], INTERNAL, {"a": free, "b": free}, ())
    assert len(set(ports.values())) == 3
    assert free_ports(["a"], INTERNAL, {"a": free}, [free])["a"] != free


def test_no_free_port_is_said_with_the_range(taken: int) -> None:
    with pytest.raises(NoFreePort, match=str(taken)):
        free_ports(["a"], range(taken, taken + 1), {}, ())


def test_ports_are_read_back_as_written(tmp_path: Path) -> None:
    write_ports(tmp_path / "ports.json", {"router": 20001, "public": 8080})
    assert read_ports(tmp_path / "ports.json") == {"router": 20001, "public": 8080}


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"router": "x"}'])
def test_a_damaged_file_of_ports_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "ports.json").write_text(content)
    assert read_ports(tmp_path / "ports.json") == {}
    assert read_ports(tmp_path / "missing.json") == {}
