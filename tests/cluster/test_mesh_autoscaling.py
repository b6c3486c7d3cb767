"""The router is scaled out under load and back in, and nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.cluster.documents import number
from tests.cluster.figures import record
from tests.cluster.load import ConstantLoad, through_openai
from tests.cluster.mesh import MODEL, MeshOnCluster
from tests.cluster.polling import until

_LOW_PER_SECOND, _HIGH_PER_SECOND = 2, 40
# A pod under the high load uses more than this share of what it requests, an idle one less.
_TARGET_PERCENT = 60


def autoscaled(values: Mapping[str, object]) -> dict[str, object]:
    """The values, with a router that is scaled between one and three pods without patience."""
    router = values["router"]
    assert isinstance(router, dict)
    behavior = {
        "scaleUp": {"stabilizationWindowSeconds": 0},
        "scaleDown": {
            "stabilizationWindowSeconds": 10,
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 5}],
        },
    }
    autoscaling = {
        "enabled": True,
        "minReplicas": 1,
        "maxReplicas": 3,
        "targetCPUUtilization": _TARGET_PERCENT,
        "behavior": behavior,
    }
    # Of what a pod is given here, an idle one uses little and a loaded one most.
    resources = {"requests": {"cpu": "150m", "memory": "160Mi"}, "limits": {"memory": "512Mi"}}
    return {**values, "router": {**router, "autoscaling": autoscaling, "resources": resources}}


@pytest.mark.usefixtures("cluster")
class TestAutoscaling:
    """A mesh whose router has an autoscaler."""

    async def test_the_router_is_scaled_out_and_in_without_a_failed_request(
        self, mesh: MeshOnCluster
    ) -> None:
        name = f"{mesh.release.fullname}-router"

        def ready() -> int:
            found = mesh.kubectl.get("deployment", name)
            return number(found, "status", "readyReplicas")

        def is_one() -> bool:
            return ready() == 1

        def is_more() -> bool:
            return ready() > 1

        await asyncio.to_thread(mesh.release.install, autoscaled(mesh.values))
        try:
            await asyncio.to_thread(until, is_one, what="one router", within_s=240)
            async with mesh.async_client() as client:
                send = through_openai(client, MODEL)
                async with ConstantLoad(send, per_second=_LOW_PER_SECOND) as low:
                    async with ConstantLoad(send, per_second=_HIGH_PER_SECOND) as high:
                        await asyncio.to_thread(until, is_more, what="more routers", within_s=240)
                    await asyncio.to_thread(until, is_one, what="one router again", within_s=240)
        finally:
            # The autoscaler has set the replicas: Helm is told that they are its own again.
            forcing = mesh.release.helm.forcing()
            await asyncio.to_thread(mesh.release.install, mesh.values, *forcing)
            # It may have set them once more before it was gone.
            await asyncio.to_thread(mesh.faults.scale, f"deployment/{name}", 2)
        failed = low.report.failed + high.report.failed
        record(autoscaling_failed_requests=failed)
        assert not failed, f"{low.report}; {high.report}"
