"""The protocols of providers, by name."""

from infermesh_router.adapters.outbound.providers.dialect import Dialect
from infermesh_router.adapters.outbound.providers.openai import OpenAIDialect

DIALECTS: dict[str, Dialect] = {
    "openai": OpenAIDialect(),
}
"""By `ProviderSpec.protocol`."""
