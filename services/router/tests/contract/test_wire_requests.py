"""Whatever is asked in OpenAI's form reaches each provider in its own."""

import dataclasses

import pytest

from infermesh_common.errors import InvalidArgument
from infermesh_router.domain.request import Surface
from infermesh_router.testing.wire_sample import Image, Said, Tool, ToolResult, ToolUse

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("weather", "Tells the weather.", SCHEMA)
CLOCK = Tool("clock", "Tells the time.", {"type": "object", "properties": {}})


def user(content):
    return {"role": "user", "content": content}


def declared(*tools):
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            },
        }
        for tool in tools
    ]


def called(identifier, name, arguments):
    return {
        "id": identifier,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def sides(heard, wire):
    """(side, parts) of each turn; ids as far as the wire carries them."""
    found = []
    for turn in heard.turns:
        parts = [
            dataclasses.replace(part, id="") if not wire.carries_tool_ids else part
            for part in turn.parts
            if isinstance(part, (ToolUse, ToolResult))
        ]
        others = [part for part in turn.parts if not isinstance(part, (ToolUse, ToolResult))]
        # What a provider wants first in a turn is its own affair.
        parts = others + parts if turn.side == "assistant" else parts + others
        if found and found[-1][0] == turn.side:
            found[-1][1].extend(parts)
        else:
            found.append((turn.side, parts))
    return found


def without_ids(parts, wire):
    if wire.carries_tool_ids:
        return parts
    return [
        dataclasses.replace(part, id="") if isinstance(part, (ToolUse, ToolResult)) else part
        for part in parts
    ]


async def test_the_upstream_model_is_asked_and_not_the_name_the_client_used(mesh):
    heard = await mesh.heard({"model": "m", "messages": [user("Hi")]})
    assert heard.model == "upstream-m"
    assert sides(heard, mesh.wire) == [("user", ["Hi"])]


async def test_the_key_is_in_its_header_and_nowhere_else(mesh):
    await mesh.heard({"messages": [user("Hi")]})
    for request in mesh.upstream.received:
        assert mesh.wire.proves(request)
        elsewhere = {
            name: value
            for name, value in request.headers.items()
            if name != mesh.wire.secret_header
        }
        for secret in mesh.wire.confidential:
            assert secret not in f"{request.path}?{request.query} {elsewhere}"
            assert secret.encode() not in request.body


async def test_system_and_developer_prompts_arrive_in_order(mesh):
    heard = await mesh.heard(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
                user("Hi"),
            ]
        }
    )
    assert "\n\n".join(heard.system).split("\n\n") == ["Be brief.", "Be kind."]
    assert sides(heard, mesh.wire) == [("user", ["Hi"])]


async def test_a_conversation_keeps_its_order_and_its_sides(mesh):
    heard = await mesh.heard(
        {
            "messages": [
                user("One"),
                {"role": "assistant", "content": "Two"},
                user([{"type": "text", "text": "Three"}]),
                user("Four"),
            ]
        }
    )
    assert sides(heard, mesh.wire) == [
        ("user", ["One"]),
        ("assistant", ["Two"]),
        ("user", ["Three", "Four"]),
    ]


async def test_what_says_nothing_is_no_part_of_the_conversation(mesh):
    heard = await mesh.heard(
        {
            "messages": [
                user("One"),
                {"role": "assistant", "content": None},
                user([{"type": "text", "text": ""}, {"type": "text", "text": "Two"}]),
            ]
        }
    )
    assert [part for _, parts in sides(heard, mesh.wire) for part in parts if part] == [
        "One",
        "Two",
    ]


async def test_images_arrive_whole(mesh):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    expected = ["What is this?", Image("image/png", PIXEL)]
    if mesh.wire.image_urls:
        url = "https://example.com/cat.png"
        parts.append({"type": "image_url", "image_url": {"url": url, "detail": "auto"}})
        expected.append(Image(url=url))
    heard = await mesh.heard({"messages": [user(parts)]})
    assert sides(heard, mesh.wire) == [("user", expected)]


async def test_an_image_url_that_the_wire_cannot_carry_is_refused(mesh):
    if mesh.wire.image_urls:
        pytest.skip("this wire carries them")
    url = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    with pytest.raises(InvalidArgument) as caught:
        await mesh.complete({"messages": [user([url])]})
    assert caught.value.reason == "UNSUPPORTED_PARAMETER"
    assert caught.value.field.startswith("messages")


async def test_tools_are_declared(mesh):
    heard = await mesh.heard({"messages": [user("Hi")], "tools": declared(WEATHER, CLOCK)})
    assert heard.tools == (WEATHER, CLOCK)
    assert heard.tool_choice == "auto" and heard.parallel_tools


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "clock"}}, "=clock"),
    ],
)
async def test_the_choice_of_a_tool_is_kept(mesh, choice, expected):
    heard = await mesh.heard(
        {"messages": [user("Hi")], "tools": declared(WEATHER, CLOCK), "tool_choice": choice}
    )
    assert heard.tool_choice == expected


async def test_one_tool_at_a_time_is_kept_or_refused(mesh):
    tools = declared(WEATHER, CLOCK)
    body = {"messages": [user("Hi")], "tools": tools, "parallel_tool_calls": False}
    try:
        heard = await mesh.heard(body)
    except InvalidArgument as refused:
        assert (refused.reason, refused.field) == ("UNSUPPORTED_PARAMETER", "parallel_tool_calls")
    else:
        assert not heard.parallel_tools
        assert heard.tool_choice == "auto"


async def test_calls_of_tools_and_their_results_are_returned(mesh):
    heard = await mesh.heard(
        {
            "messages": [
                user("Weather and time in Rome?"),
                {
                    "role": "assistant",
                    "content": "Let me see.",
                    "tool_calls": [
                        called("call_1", "weather", '{"city": "Rome"}'),
                        called("call_2", "clock", "{}"),
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
                {
                    "role": "tool",
                    "tool_call_id": "call_2",
                    "content": [{"type": "text", "text": '{"time": "12:00"}'}],
                },
                user("Thanks"),
            ],
            "tools": declared(WEATHER, CLOCK),
        }
    )
    assert sides(heard, mesh.wire) == [
        ("user", ["Weather and time in Rome?"]),
        (
            "assistant",
            without_ids(
                [
                    "Let me see.",
                    ToolUse("call_1", "weather", {"city": "Rome"}),
                    ToolUse("call_2", "clock", {}),
                ],
                mesh.wire,
            ),
        ),
        (
            "user",
            without_ids(
                [
                    ToolResult("call_1", "Sunny"),
                    ToolResult("call_2", '{"time": "12:00"}'),
                    "Thanks",
                ],
                mesh.wire,
            ),
        ),
    ]


async def test_a_tool_that_returned_nothing_has_returned(mesh):
    heard = await mesh.heard(
        {
            "messages": [
                user("Time?"),
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [called("call_1", "clock", "")],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": ""},
            ],
            "tools": declared(CLOCK),
        }
    )
    assert sides(heard, mesh.wire)[1:] == [
        ("assistant", without_ids([ToolUse("call_1", "clock", {})], mesh.wire)),
        ("user", without_ids([ToolResult("call_1", "")], mesh.wire)),
    ]


async def test_a_json_schema_is_passed_on(mesh):
    heard = await mesh.heard(
        {
            "messages": [user("Where?")],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
            },
        }
    )
    assert heard.schema == SCHEMA


async def test_how_to_answer_is_passed_on(mesh):
    body = {"messages": [user("Hi")], "temperature": 0.25, "top_p": 0.5, "max_tokens": 77}
    heard = await mesh.heard({**body, "stop": ["END", "STOP"]})
    assert (heard.temperature, heard.top_p, heard.max_tokens) == (0.25, 0.5, 77)
    assert heard.stop == ("END", "STOP")
    heard = await mesh.heard({**body, "max_tokens": None, "max_completion_tokens": 88, "stop": "X"})
    assert heard.max_tokens == 88
    assert heard.stop == ("X",)


async def test_reasoning_is_asked_for(mesh):
    if not mesh.wire.has_reasoning:
        pytest.skip("this wire has none")
    body = {"messages": [user("Hi")], "max_tokens": 9000}
    assert not (await mesh.heard(body)).reasons
    assert (await mesh.heard({**body, "reasoning_effort": "medium"})).reasons


async def test_fields_that_are_null_or_change_nothing_are_no_obstacle(mesh):
    plain = {"messages": [user("Hi")]}
    nothing = dict.fromkeys(
        (
            "temperature",
            "top_p",
            "n",
            "stop",
            "max_tokens",
            "tools",
            "tool_choice",
            "logprobs",
            "top_logprobs",
            "logit_bias",
            "seed",
            "response_format",
            "reasoning_effort",
            "frequency_penalty",
        )
    )
    harmless = {"n": 1, "logprobs": False, "user": "u-1", "seed": 7, "store": False}
    asked = await mesh.heard(plain)
    assert sides(asked, mesh.wire) == [("user", ["Hi"])]
    if mesh.wire.refused:
        # A wire that is OpenAI's own passes them on as they are.
        assert await mesh.heard({**plain, **nothing}) == asked
        assert await mesh.heard({**plain, **harmless}) == asked


async def test_what_the_wire_has_not_is_refused_by_name(mesh):
    mesh.answers(Said(("Yes.",)))
    for name, value, field in mesh.wire.refused:
        body = {"messages": [user("Hi")], name: value}
        for run in (mesh.complete, mesh.stream):
            with pytest.raises(InvalidArgument) as caught:
                await run(body)
            error = caught.value
            assert (error.reason, error.field) == ("UNSUPPORTED_PARAMETER", field)
            assert field in error.message
    assert not mesh.upstream.received


async def test_embeddings_are_refused_where_there_are_none(mesh):
    if mesh.wire.embeddings:
        pytest.skip("this wire has them")
    with pytest.raises(InvalidArgument) as caught:
        await mesh.complete({"input": "Hi"}, Surface.EMBEDDINGS)
    assert caught.value.reason == "UNSUPPORTED_PARAMETER"
    assert not mesh.upstream.received
