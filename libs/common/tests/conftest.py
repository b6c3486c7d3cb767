"""Fixtures of the tests of libs/common."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from infermesh_common.testing.rpc import RecordingObserver

# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("libs_common", deadline=None, print_blob=True)
settings.load_profile("libs_common")

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
