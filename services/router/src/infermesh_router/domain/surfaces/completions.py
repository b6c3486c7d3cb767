"""OpenAI's legacy completions, answered by chat models: the prompt is the one message of a user.

Source: OpenAI API reference, "Completions".
"""

from collections.abc import Sequence

from infermesh_router.domain.answer import Answer, Chunk, broken
from infermesh_router.domain.request import JsonObject, Surface, parse_chat, parse_model
from infermesh_router.domain.surfaces.chat_answer import dump
from infermesh_router.domain.surfaces.fields import Fields, unsupported, wrong
from infermesh_router.domain.surfaces.openai import ChatWriter
from infermesh_router.domain.surfaces.wire import Asked

# Chat has no word for them.
_REFUSED = ("echo", "logprobs", "suffix")
# Of chat: their answers have no place in a completion.
_OF_CHAT = ("messages", "tools", "tool_choice", "functions", "function_call", "audio")
_DEFAULT_MAX_TOKENS = 16
_KEPT = ("id", "created", "model", "system_fingerprint", "service_tier")


class CompletionsWire:
    """Implements `Wire`: `POST /v1/completions`."""

    name = "openai.completions"
    surface = Surface.CHAT

    def read(self, body: JsonObject) -> Asked:
        """See `Wire.read`."""
        fields = Fields(body)
        model = parse_model(body)
        fields.refuse(_REFUSED, "cannot be translated for chat models")
        if fields.has("logprobs"):  # 0 asks for those of the tokens chosen
            raise unsupported("logprobs", "'logprobs' cannot be translated for chat models.")
        fields.refuse(_OF_CHAT, "belongs to /v1/chat/completions")
        choices = fields.count("n", least=1)
        if (fields.count("best_of", least=1) or 1) > (choices or 1):
            raise unsupported("best_of", "'best_of' cannot be translated for chat models.")
        chat = {
            name: value
            for name, value in body.items()
            if name not in ("prompt", "best_of", "stream", *_REFUSED, *_OF_CHAT)
        }
        chat["messages"] = [{"role": "user", "content": _prompt(fields)}]
        chat["max_tokens"] = fields.count("max_tokens", least=1) or _DEFAULT_MAX_TOKENS
        for name in ("presence_penalty", "frequency_penalty"):
            fields.number(name, -2, 2)
        fields.inner("logit_bias")
        fields.text("user")
        if not isinstance(body.get("stop"), str):
            fields.texts("stop")
        parse_chat({**chat, "stream": body.get("stream")})
        return Asked(chat, model, bool(body.get("stream")))

    def writer(self, body: JsonObject) -> "CompletionWriter":
        """See `Wire.writer`."""
        options = body.get("stream_options")
        usage = isinstance(options, dict) and bool(options.get("include_usage"))
        return CompletionWriter(include_usage=usage)


def _prompt(fields: Fields) -> str:
    prompt = fields.need("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and prompt:
        if all(isinstance(item, str) for item in prompt):
            raise unsupported("prompt", "Several prompts in one request are not offered here.")
        raise unsupported("prompt", "A prompt of token ids is not offered here: send text.")
    raise wrong("prompt", "a string, or a list with one string")


class CompletionWriter(ChatWriter):
    """Implements `AnswerWriter`: chat's, with another body in the same events."""

    def whole(self, answer: Answer) -> bytes:
        """See `AnswerWriter.whole`."""
        choices = [_choice(choice, "message") for choice in _choices(answer.value)]
        return dump({**_top(answer.value), "choices": choices, "usage": answer.value.get("usage")})

    def chunks(self, chunks: Sequence[Chunk]) -> bytes:
        """See `AnswerWriter.chunks`."""
        translated = (_chunk(chunk.value) for chunk in chunks)
        return super().chunks([Chunk(dump(value), value) for value in translated if value])


def _top(value: JsonObject) -> dict[str, object]:
    kept: dict[str, object] = {name: value[name] for name in _KEPT if value.get(name) is not None}
    return {"object": "text_completion", **kept}


def _choices(value: JsonObject) -> list[JsonObject]:
    choices = value.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise broken("the provider's answer has no choices")
    return choices


def _chunk(value: JsonObject) -> dict[str, object] | None:
    """None: the chunk holds nothing that a completion has, only a role or reasoning."""
    choices = [_choice(choice, "delta") for choice in _choices(value)]
    told = [choice for choice in choices if choice["text"] or choice["finish_reason"]]
    usage = value.get("usage")
    if not told and not isinstance(usage, dict):
        return None
    chunk = {**_top(value), "choices": told}
    if isinstance(usage, dict):
        chunk["usage"] = usage
    return chunk


def _choice(choice: JsonObject, said: str) -> dict[str, object]:
    message = choice.get(said)
    message = message if isinstance(message, dict) else {}
    text = message.get("content") or message.get("refusal")
    return {
        "index": choice.get("index", 0),
        "text": text if isinstance(text, str) else "",
        "logprobs": None,
        "finish_reason": choice.get("finish_reason"),
    }
