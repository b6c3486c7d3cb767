"""Fixtures of the governance service's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from infermesh_governance.testing import Deployment, deployment

# How long an example takes says something about the machine only.
settings.register_profile("governance", deadline=None)
settings.load_profile("governance")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Deployment]:
    """A deployment with the tenants acme and globex."""
    async with deployment(tmp_path) as under_test:
        under_test.declare("Tenant", "acme", {"displayName": "Acme Corporation"})
        under_test.declare("Tenant", "globex", {})
        yield under_test
