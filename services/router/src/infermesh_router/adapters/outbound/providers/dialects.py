"""The protocols of providers, by name."""

from infermesh_router.adapters.outbound.providers.anthropic import AnthropicDialect
from infermesh_router.adapters.outbound.providers.bedrock import BedrockDialect
from infermesh_router.adapters.outbound.providers.dialect import Dialect
from infermesh_router.adapters.outbound.providers.gemini import GeminiDialect
from infermesh_router.adapters.outbound.providers.openai import OpenAIDialect

DIALECTS: dict[str, Dialect] = {
    "openai": OpenAIDialect(),
    "anthropic": AnthropicDialect(),
    "bedrock": BedrockDialect(),
    "gemini": GeminiDialect(),
}
"""By `ProviderSpec.protocol`."""
