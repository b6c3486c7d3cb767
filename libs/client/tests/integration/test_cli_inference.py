"""`infermesh infer` and `infermesh chat` against a scripted mesh."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

import grpc
import pytest
from typer.testing import Result

from infermesh import AuthenticationError, Client
from infermesh.cli.chat import Conversation, repl, typed_lines
from infermesh.cli.inference import Asking
from infermesh.common.v1 import decision_pb2
from infermesh.router.v1 import inference_pb2
from infermesh.testing import Failure, ReceivedCall, ScriptedMesh, Stream

Command = Callable[..., Result]
SUMMARY = "model · small · cost $0.0000125 · saved $0.0009875 · 32 ms · infermesh explain d-1\n"


@pytest.fixture(autouse=True)
def streamed(mesh: ScriptedMesh, answer: inference_pb2.InferResponse) -> Stream:
    """What the mesh answers: two pieces and the whole."""
    pieces = [inference_pb2.InferStreamResponse(content_delta=text) for text in ("Hello", " there")]
    stream = Stream((*pieces, inference_pb2.InferStreamResponse(completed=answer)))
    mesh.script("InferStream", stream)
    return stream


def request_of(call: ReceivedCall) -> inference_pb2.InferRequest:
    """The inference in a call."""
    assert isinstance(call.request, inference_pb2.InferStreamRequest)
    return call.request.request


def test_the_answer_alone_is_on_stdout(infermesh: Command) -> None:
    ran = infermesh("infer", "hi")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "Hello there\n", SUMMARY)


def test_every_option_reaches_the_mesh(infermesh: Command, mesh: ScriptedMesh) -> None:
    ran = infermesh(
        *("infer", "hi", "--model", "fast", "--task", "code", "--system", "be brief"),
        *("--temperature", "0.5", "--max-tokens", "9", "--seed", "7", "--stop", "END"),
        *("--tag", "a", "--tag", "b", "-p", 'response_format={"type": "text"}'),
        *("--no-cache", "--no-store", "--max-age", "60", "--ttl", "30"),
    )
    assert ran.exit_code == 0
    request = request_of(mesh.calls[0])
    expected = inference_pb2.InferRequest(
        request_id=request.request_id,
        model="fast",
        messages=[
            inference_pb2.Message(role="system", content="be brief"),
            inference_pb2.Message(role="user", content="hi"),
        ],
        task="code",
        temperature=0.5,
        max_tokens=9,
        seed=7,
        stop=["END"],
        tags=["a", "b"],
    )
    expected.parameters.update({"response_format": {"type": "text"}})
    expected.cache.bypass = expected.cache.no_store = True
    expected.cache.max_age.seconds = 60
    expected.cache.ttl.seconds = 30
    assert request == expected


def test_a_prompt_can_come_from_stdin(infermesh: Command, mesh: ScriptedMesh) -> None:
    assert infermesh("infer", "-", input="two\nlines\n").exit_code == 0
    assert request_of(mesh.calls[0]).messages[0].content == "two\nlines\n"


def test_json_is_the_whole_result(infermesh: Command) -> None:
    ran = infermesh("infer", "hi", "--json")
    result = json.loads(ran.stdout)
    assert (result["text"], result["finish_reason"]) == ("Hello there", "stop")
    assert result["decision"]["saved"] == "0.0009875"
    assert result["decision"]["candidates"][1]["estimated_cost"] is None
    assert ran.stderr == ""


def test_a_hit_and_unknown_money_are_called_so(
    infermesh: Command, mesh: ScriptedMesh, answer: inference_pb2.InferResponse
) -> None:
    answer.decision.tier = decision_pb2.CACHE_TIER_EXACT
    answer.decision.ClearField("cost")
    answer.decision.ClearField("saved")
    mesh.script("InferStream", Stream((inference_pb2.InferStreamResponse(completed=answer),)))
    ran = infermesh("infer", "hi")
    assert ran.stderr.startswith("exact hit · small · cost unknown · saved unknown · ")


def test_tool_calls_are_shown(
    infermesh: Command, mesh: ScriptedMesh, answer: inference_pb2.InferResponse
) -> None:
    answer.message.content = ""
    answer.message.tool_calls.add(id="c", name="weather", arguments='{"city": "Kyoto"}')
    mesh.script("InferStream", Stream((inference_pb2.InferStreamResponse(completed=answer),)))
    assert infermesh("infer", "hi").stdout == 'weather({"city": "Kyoto"})\n'


def test_an_answer_that_breaks_off_is_an_error(
    infermesh: Command, mesh: ScriptedMesh, streamed: Stream
) -> None:
    broken = Failure(grpc.StatusCode.UNAVAILABLE, "The provider hung up.", reason="PROVIDER_DOWN")
    mesh.script("InferStream", Stream((streamed.events[0], broken)))
    ran = infermesh("infer", "hi")
    assert (ran.exit_code, ran.stdout) == (4, "Hello\n")
    assert ran.stderr.startswith("Error: The provider hung up. (PROVIDER_DOWN, request ")


@pytest.mark.parametrize("parameter", ["x", "x=", "x={", "=1"])
def test_a_parameter_that_is_no_json_is_a_usage_error(
    infermesh: Command, mesh: ScriptedMesh, parameter: str
) -> None:
    ran = infermesh("infer", "hi", "-p", parameter)
    assert (ran.exit_code, mesh.calls) == (2, [])
    assert ran.stderr == f"Error: --parameter {parameter} is not of the form name=JSON.\n"


def test_one_message_of_a_chat(infermesh: Command, mesh: ScriptedMesh) -> None:
    ran = infermesh("chat", "--message", "hi", "--model", "fast", "--no-cache")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "Hello there\n", SUMMARY)
    request = request_of(mesh.calls[0])
    assert (request.model, request.cache.bypass) == ("fast", True)


def test_a_piped_chat_remembers_its_turns(infermesh: Command, mesh: ScriptedMesh) -> None:
    ran = infermesh("chat", "--system", "be brief", input="one\n\ntwo\n")
    assert (ran.exit_code, ran.stdout) == (0, "Hello there\nHello there\n")
    first, second = map(request_of, mesh.calls)
    assert [(turn.role, turn.content) for turn in second.messages] == [
        ("system", "be brief"),
        ("user", "one"),
        ("assistant", "Hello there"),
        ("user", "two"),
    ]
    assert len(first.messages) == 2


def test_a_piped_chat_ends_at_its_first_error(infermesh: Command, mesh: ScriptedMesh) -> None:
    mesh.script("InferStream", Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "Spent.", "BUDGET"))
    ran = infermesh("chat", input="one\ntwo\n")
    assert (ran.exit_code, len(mesh.calls)) == (1, 1)


def talk_with(mesh: ScriptedMesh, lines: Iterable[str]) -> None:
    """A person types `lines`."""
    with Client(mesh.address) as client:
        repl(Conversation(client, Asking(), "be brief"), lines, client.address)


def test_a_failed_turn_is_forgotten_and_the_chat_goes_on(
    mesh: ScriptedMesh, streamed: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Failure(grpc.StatusCode.INTERNAL, "Oops.", reason="OOPS")
    mesh.script("InferStream", Stream((streamed.events[0], broken)), streamed)
    talk_with(mesh, ["one", "  ", "two", "/exit", "never"])
    assert "Error: Oops. (OOPS, request " in capsys.readouterr().err
    assert [turn.content for turn in request_of(mesh.calls[1]).messages] == ["be brief", "two"]
    assert len(mesh.calls) == 2


def test_reset_forgets_all_but_the_system_prompt(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    talk_with(mesh, ["one", "/reset", "/what", "two"])
    assert [turn.content for turn in request_of(mesh.calls[1]).messages] == ["be brief", "two"]
    assert "/reset forgets" in capsys.readouterr().err


def test_a_refused_key_ends_the_chat(mesh: ScriptedMesh) -> None:
    mesh.script("InferStream", Failure(grpc.StatusCode.UNAUTHENTICATED, "Who?", "KEY_UNKNOWN"))
    with pytest.raises(AuthenticationError):
        talk_with(mesh, ["one", "two"])
    assert len(mesh.calls) == 1


def test_ctrl_c_stops_an_answer_and_not_the_chat(capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(Conversation):
        """A person presses Ctrl-C during the first answer."""

        asked: list[str] = []

        def answer(self, text: str) -> None:
            self.asked.append(text)
            if text == "one":
                raise KeyboardInterrupt

    with Client("127.0.0.1:1") as client:
        talk = Interrupted(client, Asking(), "")
        repl(talk, ["one", "two"], client.address)
    assert talk.asked == ["one", "two"]
    assert "(stopped)" in capsys.readouterr().err


def test_ctrl_d_ends_the_typing() -> None:
    typed = iter(["one", "two"])

    def read(prompt: str) -> str:
        assert prompt
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    assert list(typed_lines(read)) == ["one", "two"]


def test_a_chat_in_a_terminal(mesh: ScriptedMesh, streamed: Stream) -> None:
    evil = inference_pb2.InferStreamResponse(content_delta="\x1b]0;owned\x07")
    mesh.script("InferStream", Stream((evil, *streamed.events)))
    master, slave = pty.openpty()
    environment = {"INFERMESH_ADDRESS": mesh.address, "TERM": "dumb", "PYTHONUTF8": "1"}
    chat = subprocess.Popen(
        [sys.executable, "-m", "infermesh.cli", "chat"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={"PATH": os.environ["PATH"], **environment},
    )
    os.close(slave)
    shown = b""
    try:
        os.write(master, b"hi\n/exit\n")
        deadline = time.monotonic() + 60
        while chat.poll() is None or select.select([master], [], [], 0)[0]:
            assert time.monotonic() < deadline, shown
            if select.select([master], [], [], 0.1)[0]:
                try:
                    shown += os.read(master, 4096)
                except OSError:
                    # The other end is closed.
                    break
    finally:
        chat.kill()
        chat.wait()
        os.close(master)
    text = shown.decode()
    assert chat.returncode == 0
    assert "/reset forgets the conversation" in text
    assert "Hello there" in text and "infermesh explain d-1" in text
    # The terminal shows the answer and does not obey it.
    assert "\x1b]0;owned" not in text and "�]0;owned" in text
