"""Calls of Bedrock without a key of their own."""

import threading

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import MetadataRetrievalError

from infermesh_common.background import BackgroundTasks
from infermesh_common.errors import Unavailable
from infermesh_common.resilience import Dependency
from infermesh_common.resources.resource_set import parse
from infermesh_common.secrets.facade import Secrets
from infermesh_common.settings import BreakerSettings, TelemetrySettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.telemetry.tracing import Tracing
from infermesh_common.testing.resources import model, resource
from infermesh_router.adapters.outbound.providers.bedrock import BedrockDialect
from infermesh_router.adapters.outbound.providers.bedrock_credentials import OwnCredentials
from infermesh_router.adapters.outbound.providers.endpoint import ProviderEndpoint
from infermesh_router.adapters.outbound.providers.keys import ProviderKeys
from infermesh_router.domain.request import Surface
from infermesh_router.domain.resilience.key_ring import RestRules
from infermesh_router.ports import Attempt
from infermesh_router.testing.scripted_http import Reply, ScriptedHttp
from infermesh_router.testing.wire_sample import Said
from infermesh_router.testing.wires.bedrock import BedrockWire

RULES = RestRules(first_s=0.0, refused_s=0.0, longest_s=0.0)
BREAKER = BreakerSettings(failure_threshold=1000, open_ms=1000, max_concurrent=10)
TELEMETRY = TelemetrySettings(
    log_level="INFO", log_flush_interval_ms=0, otlp_endpoint=None, trace_sample_ratio=0
)


class Place:
    """Where the process runs."""

    def __init__(self, *found):
        self.found = list(found)
        self.threads = []

    def __call__(self):
        self.threads.append(threading.current_thread())
        found = self.found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


async def asked(place, times=1):
    """What AWS receives."""
    async with ScriptedHttp() as aws:
        aws.reply = Reply([BedrockWire().whole(Said(("Yes.",)))])
        url = f"http://127.0.0.1:{aws.port}"
        provider = parse(
            resource("Provider", "aws", protocol="bedrock", region="eu-central-1", baseUrl=url),
            "test",
        )
        metrics, background = Metrics(), BackgroundTasks()
        endpoint = ProviderEndpoint(
            provider,
            BedrockDialect(OwnCredentials(place)),
            await Dependency.create("aws", BREAKER, metrics),
            ProviderKeys(provider, RULES, metrics, Secrets(metrics, stale_after_s=60)),
            Tracing("router", TELEMETRY),
            max_response_bytes=10_000,
        )
        body = {"messages": [{"role": "user", "content": "So?"}]}
        try:
            for _ in range(times):
                chosen = parse(model("m"), "test")
                await endpoint.complete(chosen, Surface.CHAT, body, Attempt())
        finally:
            await endpoint.close()
            await background.drain(1)
        return aws.received


async def test_a_provider_without_a_key_is_signed_for_by_the_place_where_it_runs():
    place = Place(Credentials("AKOWN", "secret", "token"))
    for request in await asked(place, times=2):
        assert "Credential=AKOWN/" in request.headers["authorization"]
        assert request.headers["x-amz-security-token"] == "token"
    (thread,) = place.threads
    assert thread is not threading.main_thread()


@pytest.mark.parametrize("found", [None, MetadataRetrievalError(error_msg="no route")])
async def test_a_place_without_credentials_is_the_meshs_fault(found):
    with pytest.raises(Unavailable) as caught:
        await asked(Place(found))
    assert caught.value.reason == "PROVIDER_KEY_MISSING"


async def test_credentials_that_come_later_are_found():
    place = Place(None, Credentials("AKOWN", "secret"))
    own = OwnCredentials(place)
    with pytest.raises(Unavailable):
        await own.secret()
    assert "AKOWN" in await own.secret()


async def test_a_key_in_a_file_is_preferred():
    assert await BedrockDialect(OwnCredentials(Place())).credentials("A:b") == "A:b"
