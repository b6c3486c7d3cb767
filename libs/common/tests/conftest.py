"""Fixtures of the tests of libs/common."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infermesh_common.testing.rpc import RecordingObserver

PACKAGES = Path(__file__).parent / "packages"


@pytest.fixture
def observer() -> RecordingObserver:
    """Sees every RPC of one test."""
    return RecordingObserver()


@pytest.fixture(scope="session")
def probe_packages() -> Iterator[Path]:
    """Folder that holds `infermesh_probe`, a service that is nothing but the kit; importable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PACKAGES)
        yield PACKAGES
