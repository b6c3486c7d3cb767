"""A secret in a file is the file as it is now, and what is wrong with it is said."""

import os
from pathlib import Path

import pytest

from infermesh_common.secrets.faults import SecretError
from infermesh_common.secrets.files import SecretFile


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Reading:
    """A secret in a file, and why it could not be read so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.failed: list[str] = []
        self.secret = SecretFile(path, self.failed.append, self.clock)

    def later(self) -> None:
        self.clock.now += 0.2

    def refused(self) -> str:
        with pytest.raises(SecretError) as caught:
            self.secret.read()
        assert caught.value.fault == self.secret.fault
        assert not caught.value.expired and not caught.value.fault.in_use
        return f"{caught.value.fault.reason}: {caught.value}"


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    return Reading(tmp_path / "key")


def replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.rename(path)


def test_it_is_read_again_when_its_file_changes_and_not_looked_at_all_the_time(
    reading: Reading,
) -> None:
    reading.path.write_text(" one\n")
    assert reading.secret.read() == "one"
    replace(reading.path, "two")
    assert reading.secret.read() == "one"
    reading.later()
    assert reading.secret.read() == "two"
    assert reading.failed == []


def test_a_link_that_leads_elsewhere_is_followed(reading: Reading) -> None:
    # Mounted Secrets are links to folders that are exchanged.
    reading.path.write_text("one")
    assert reading.secret.read() == "one"
    target = reading.path.with_name("target")
    target.write_text("two")
    reading.path.unlink()
    reading.path.symlink_to(target)
    reading.later()
    assert reading.secret.read() == "two"


def test_a_rotated_one_differs_at_once(reading: Reading) -> None:
    reading.path.write_text("one")
    assert not reading.secret.differs("one")
    replace(reading.path, "two")
    assert reading.secret.differs("one")
    assert reading.secret.read() == "two"
    reading.path.unlink()
    assert not reading.secret.differs("two"), "nothing is known of a new one"


def test_a_look_sees_what_a_status_of_the_file_may_hide(reading: Reading) -> None:
    reading.path.write_text("one")
    status = reading.path.stat()
    assert reading.secret.look() == "one"
    reading.path.write_text("two")
    os.utime(reading.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert reading.secret.look() == "two"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "SecretMissing: The secret file {path} cannot be read: No such file or directory."),
        (b" \n", "SecretEmpty: The secret file {path} is empty."),
        (b"\xff\xfe", "SecretInvalid: The secret file {path} is not UTF-8."),
    ],
)
def test_a_bad_file_is_a_fault_until_it_is_good(
    reading: Reading, content: bytes | None, says: str
) -> None:
    if content is not None:
        reading.path.write_bytes(content)
    assert reading.refused() == says.format(path=reading.path)
    reason = says.partition(":")[0]
    assert reading.failed == [reason] * 2
    reading.path.write_text("there")
    assert reading.secret.read() == "there" and reading.secret.fault is None


def test_a_file_that_is_none_is_a_fault(reading: Reading) -> None:
    reading.path.mkdir()
    assert reading.refused().startswith("SecretUnreadable: ")


def test_a_file_that_is_lost_is_not_used_any_more(reading: Reading) -> None:
    reading.path.write_text("there")
    assert reading.secret.read() == "there"
    reading.path.unlink()
    reading.later()
    assert reading.refused().startswith("SecretMissing: ")
