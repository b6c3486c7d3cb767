"""Whatever a body holds, a surface answers it or refuses it by name.

Bodies are valid ones that were damaged: a value replaced by one of another type, a field left out,
renamed or repeated, a number far too large, nesting far too deep, bytes that are not JSON. Far more
of them than by default with INFERMESH_FUZZ_EXAMPLES, which counts bodies of each surface.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import random
from collections import Counter

import grpc
import orjson
import pytest
from google.protobuf import empty_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infermesh.router.v1 import operations_pb2
from infermesh_common.testing.resources import resource
from infermesh_common.testing.servers import eventually

EXAMPLES = int(os.environ.get("INFERMESH_FUZZ_EXAMPLES", "300"))
AT_ONCE = 16
# Of bounded caches, parsed bodies among them; what leaks grows with the bodies. Hypothesis itself
# keeps what it drew, so that memory is counted in objects that are not its own.
ALLOWED_GROWTH_OBJECTS = 40_000
# A body is wrong, or names what is not there, or nothing can answer it.
ALLOWED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "of a city", "parameters": SCHEMA, "strict": True}
PIXEL = "data:image/png;base64,aGk="
CHAT = {
    "model": "cheap",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": PIXEL}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "rain"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": "auto",
    "temperature": 0.5,
    "top_p": 1,
    "max_tokens": 9,
    "stop": ["END"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    "seed": 1,
    "user": "u",
}
MESSAGES = {
    "model": "cheap",
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
                },
                {
                    "type": "document",
                    "title": "t",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": "so"},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "x"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "rain"}],
                    "is_error": False,
                }
            ],
        },
    ],
    "tools": [{"name": "weather", "description": "d", "input_schema": SCHEMA, "strict": True}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["END"],
    "temperature": 1,
    "top_k": 5,
    "top_p": 0.9,
    "stream": True,
}
RESPONSES = {
    "model": "cheap",
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": PIXEL, "detail": "low"},
                {"type": "input_file", "filename": "f", "file_data": "data:text/plain;base64,aGk="},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "content": [{"type": "reasoning_text", "text": "hm"}],
            "encrypted_content": "infermesh-1:eyJ0eXBlIjoidGhpbmtpbmcifQ==",
        },
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "so", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "rain"},
    ],
    "tools": [{"type": "function", **FUNCTION}],
    "tool_choice": {"type": "function", "name": "weather"},
    "parallel_tool_calls": True,
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}},
    "include": ["reasoning.encrypted_content"],
    "metadata": {"a": "b"},
    "max_output_tokens": 9,
    "temperature": 1,
    "top_p": 1,
    "truncation": "disabled",
    "store": False,
    "stream": True,
    "user": "u",
}
COMPLETIONS = {
    "model": "cheap",
    "prompt": ["hi"],
    "max_tokens": 9,
    "n": 1,
    "best_of": 1,
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {"50256": -100},
    "stop": ["END"],
    "seed": 1,
    "user": "u",
    "stream": True,
    "stream_options": {"include_usage": True},
}
EMBEDDINGS = {
    "model": "cheap",
    "input": ["hi"],
    "encoding_format": "float",
    "dimensions": 2,
    "user": "u",
}
SURFACES = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
    "completions": COMPLETIONS,
    "embeddings": EMBEDDINGS,
}
ODD = [
    None,
    True,
    False,
    0,
    -1,
    1e308,
    2**63,
    -(2**63),
    0.5,
    "",
    "x",
    "auto",
    "none",
    "\x00\u202e\U0010ffff",
    "im_\\u0000",
    "x" * 5000,
    [],
    [[]],
    [None],
    ["x"],
    [{}],
    {},
    {"type": "text"},
    {"type": "function"},
    {"type": []},
    {"": {"": {"": 1}}},
    {"role": "user", "content": {"x": 1}},
    {"x": "y"},
]
Path = tuple[object, ...]


class Damage:
    """Bodies that were valid.

    Args:
        valid: one that is.
        chance: decides; Hypothesis' own, so that what fails is made small.
    """

    def __init__(self, valid: dict[str, object], chance: random.Random) -> None:
        self._valid = valid
        self._chance = chance

    def body(self) -> bytes:
        """The next body."""
        value = copy.deepcopy(self._valid)
        # Much of what is there would be refused before the rest is read.
        for name in [
            name for name in value if name not in ("model", "messages", "input", "prompt")
        ]:
            if self._chance.random() < 0.4:
                del value[name]
        for _ in range(self._chance.choice((0, 1, 1, 1, 2, 3))):
            self._change(value)
        data = orjson.dumps(value)
        kind = self._chance.random()
        if kind < 0.08:
            return self._bytes(data)
        if kind < 0.12:
            return self._deep(data)
        return data

    def _change(self, value):
        path = self._chance.choice(list(paths(value)) or [()])
        if not path:
            return
        owner = value
        for step in path[:-1]:
            owner = owner[step]
        how = self._chance.random()
        if how < 0.2:
            del owner[path[-1]]
        elif how < 0.3 and isinstance(owner, dict):
            owner[str(path[-1]) + "x"] = owner.pop(str(path[-1]))
        elif how < 0.35 and isinstance(owner, list):
            owner.extend(copy.deepcopy(owner))
        else:
            owner[path[-1]] = copy.deepcopy(self._chance.choice(ODD))

    def _bytes(self, data: bytes) -> bytes:
        at = self._chance.randrange(len(data))
        return self._chance.choice(
            [
                data[:at],
                data[:at] + self._chance.randbytes(3) + data[at:],
                data[:at] + b"\xff" + data[at:],
                data + data,
                self._chance.randbytes(40),
                data[:-1] + b',"model":"other","stream":1}',
                data[:-1] + b',"messages":[],"input":[],"prompt":null}',
                data.replace(b'"hi"', b'"\\ud800"'),
                data.replace(b"9", b"9" * 400),
                data.replace(b"9", b"NaN"),
                b"",
                b"null",
                b"[" * 100_000,
            ]
        )

    def _deep(self, data: bytes) -> bytes:
        levels = self._chance.choice((100, 200, 246, 250, 254, 300, 1000, 1030, 5000))
        nested = b"[" * levels + b"]" * levels
        if self._chance.random() < 0.5:
            nested = b'{"a":' * levels + b"1" + b"}" * levels
        # One of the places that hold anything.
        place = self._chance.choice((b'"user":"u"', b'"type":"string"', b'"city":"x"', b'"seed":1'))
        return data.replace(place, place.split(b":")[0] + b":" + nested)


def paths(value: object, at: Path = ()):
    """Where every value in `value` stands."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in list(items):
        yield (*at, name)
        if isinstance(inner, (dict, list)):
            yield from paths(inner, (*at, name))


async def outcome(mesh, path: str, data: bytes, control: dict[str, str]) -> str:
    """What became of a body; fails when it is not what may."""
    try:
        reply = await mesh.post(data, path=path, headers=control)
    except grpc.aio.AioRpcError as error:
        assert error.code() in ALLOWED, f"{path}: {error.code()} for {data[:3000]!r}"
        body = orjson.loads(dict(error.trailing_metadata() or ())["x-infermesh-error"])["error"]
        assert body["message"] and body["type"], f"{path}: {data[:3000]!r}"
        return "refused"
    assert reply.data, f"{path}: nothing for {data[:3000]!r}"
    return "answered"


def objects() -> int:
    """Objects in this process, in which the router runs, that hold others."""
    gc.collect()
    return sum("hypothesis" not in str(type(held)) for held in gc.get_objects())


async def share_nothing(mesh) -> None:
    """Equal bodies do not wait for each other: on a busy machine an answer of the cache may come
    too late, and its lease here has no end."""

    async def revision() -> str:
        health = await mesh.operations.GetHealth(operations_pb2.GetHealthRequest())
        return health.configuration_revision

    async def in_force() -> bool:
        return await revision() != before

    before = await revision()
    mesh.declare(resource("CachePolicy", "default", singleFlight=False))
    await eventually(in_force)


@pytest.mark.timeout(120 + EXAMPLES // 4)
@pytest.mark.parametrize("path", SURFACES)
async def test_whatever_a_body_holds_it_is_answered_or_refused_by_name(mesh, path):
    told: Counter[str] = Counter()
    batches, warm = 0, max(1, EXAMPLES // AT_ONCE // 5)
    before = 0

    async def serve(bodies: list[tuple[bytes, dict[str, str]]]) -> None:
        nonlocal batches, before
        # What the provider and the cache remember is not the router's.
        mesh.upstream.requests.clear()
        mesh.upstream.headers.clear()
        mesh.cache.entries.clear()
        told.update(await asyncio.gather(*(outcome(mesh, path, *body) for body in bodies)))
        batches += 1
        if batches == warm:
            before = objects()

    await share_nothing(mesh)
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=max(1, EXAMPLES // AT_ONCE),
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(chance=st.randoms(use_true_random=False))
    def run(chance: random.Random) -> None:
        damage = Damage(SURFACES[path], chance)
        controls = ({}, {}, {"x-infermesh-cache": "bypass"})
        bodies = [(damage.body(), chance.choice(controls)) for _ in range(AT_ONCE)]
        asyncio.run_coroutine_threadsafe(serve(bodies), loop).result(60)

    await asyncio.to_thread(run)
    grown = objects() - before
    assert 0 < before and grown < ALLOWED_GROWTH_OBJECTS, grown
    # The bodies are damaged, and not beyond reading.
    assert min(told["answered"], told["refused"]) > EXAMPLES // 50, told
    listed = await mesh.openai.ListModels(empty_pb2.Empty(), metadata=mesh.metadata())
    assert orjson.loads(listed.data)["data"]
    assert [task for task in asyncio.all_tasks() if "infer" in repr(task.get_coro())] == []
