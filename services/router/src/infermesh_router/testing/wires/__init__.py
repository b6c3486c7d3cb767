"""A sample of every wire that providers speak, for the contract that all dialects keep."""

from infermesh_router.testing.wire_sample import WireSample
from infermesh_router.testing.wires.anthropic import AnthropicWire
from infermesh_router.testing.wires.bedrock import BedrockWire
from infermesh_router.testing.wires.gemini import GeminiWire, OlderGeminiWire
from infermesh_router.testing.wires.openai import AzureWire, OpenAIWire

WIRES: tuple[WireSample, ...] = (
    OpenAIWire(),
    AzureWire(),
    AnthropicWire(),
    BedrockWire(),
    GeminiWire(),
    OlderGeminiWire(),
)
"""One object each; they keep nothing."""
