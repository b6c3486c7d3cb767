"""A model of the mesh itself compares answers."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

from aiohttp import web

from infermesh_cache.adapters.outbound.judge import create_judge
from infermesh_cache.settings import JudgeSettings
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.upstream import completion


def test_each_judgement_is_asked_of_the_model_and_none_is_taken_from_the_cache(
    mesh, upstream, tmp_path: Path
) -> None:
    async def judge(request, body):
        left, right = json.loads(body["messages"][1]["content"])["answers"]
        return web.json_response(completion(json.dumps({"same": left == right})))

    upstream.handler = judge
    (tmp_path / "key").write_text(mesh.key())
    settings = JudgeSettings(
        base_url=f"{mesh.url}/v1", model="scripted", api_key_file=tmp_path / "key"
    )
    breaker = BreakerSettings(failure_threshold=5, open_ms=1000, max_concurrent=8)

    async def verdicts() -> list[bool]:
        model = await create_judge(settings, breaker, Metrics())
        answer = str(uuid.uuid4())
        try:
            return [await model.same("How long?", answer, other) for other in (answer, "b", answer)]
        finally:
            await model.close()

    assert asyncio.run(verdicts()) == [True, False, True]
    assert len(upstream.requests) == 3
