"""Kinds of `infermesh.dev/v1alpha1`. One schema, for local YAML and for custom resources.

An API server lets no number stand for another type, so numbers and booleans are strict.
"""

import re
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from infermesh_common.identity.model import LONGEST_TEAM_CHARS, TEAM
from infermesh_common.resources.declaration import Column, Needed, OneOf, Rule

API_VERSION = "infermesh.dev/v1alpha1"

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
# What Kubernetes lets an object be called: a DNS subdomain (RFC 1123).
Name = Annotated[
    str, StringConstraints(pattern=rf"^{_LABEL}(\.{_LABEL})*$", min_length=1, max_length=253)
]
Team = Annotated[str, StringConstraints(pattern=f"^{TEAM}$", max_length=LONGEST_TEAM_CHARS)]
"""Whom a key belongs to within its tenant; empty: nobody."""
Capability = Literal[
    "chat", "embeddings", "tools", "json_schema", "vision", "logprobs", "audio", "reasoning"
]
Quality = Annotated[float, Field(strict=True, ge=0, le=1)]
Milliseconds = Annotated[int, Field(strict=True, gt=0)]
_AMOUNT = r"^[0-9]{1,10}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?$"


def _amount(value: object) -> object:
    no_amount = isinstance(value, str) and not re.fullmatch(_AMOUNT, value, re.ASCII)
    if no_amount or isinstance(value, bool):
        raise ValueError("must be an amount such as 0.15")
    return value


# Bounded so that money is exact: see `prices`. A number that is not in quotes is exact to 15
# digits; more do not come through a parser of YAML or JSON.
UsdPerMTok = Annotated[
    Decimal,
    Field(ge=0, max_digits=28, decimal_places=18),
    BeforeValidator(_amount),
    WithJsonSchema(
        {
            "type": ["number", "string"],
            "minimum": 0,
            "exclusiveMaximum": 10**10,
            "pattern": _AMOUNT,
        }
    ),
]


Usd = Annotated[
    Decimal,
    Field(ge=0, max_digits=28, decimal_places=18),
    BeforeValidator(_amount),
    WithJsonSchema(
        {
            "type": ["number", "string"],
            "minimum": 0,
            "exclusiveMaximum": 10**10,
            "pattern": _AMOUNT,
        }
    ),
]
"""An amount of dollars; as exact as prices are."""


class Spec(BaseModel):
    """Base of everything in a resource: camelCase outside, immutable, no unknown fields.

    Attributes:
        rules: what holds between its fields.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _keeps_its_rules(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                raise ValueError(rule.message)
        return self


class Metadata(BaseModel):
    """Name and labels of a resource; what else Kubernetes puts there is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    labels: dict[str, str] = Field(default_factory=dict)


class SecretKeyRef(Spec):
    """An entry of a Kubernetes Secret.

    Attributes:
        name: of the Secret, in the namespace of the mesh.
        key: of the entry in its `data`.
    """

    name: Name
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]


class VaultRef(Spec):
    """An entry of a secret in Vault or OpenBao.

    Attributes:
        path: of the secret in the KV engine (version 2), without the engine's mount and without
            "data/", for example "providers/openai".
        key: of the entry in it.
    """

    # No part begins with a dot, so that a path leads nowhere else.
    path: Annotated[
        str,
        StringConstraints(
            pattern=r"^[a-zA-Z0-9_][-.@:+=_a-zA-Z0-9]*(/[a-zA-Z0-9_][-.@:+=_a-zA-Z0-9]*)*$",
            max_length=512,
        ),
    ]
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)]


class SecretRef(Spec):
    """Where a secret stands, in exactly one of these places. Never the secret itself.

    Attributes:
        file: path of a file that holds it, for example a mounted Secret.
        secret: entry of a Kubernetes Secret.
        vault: entry of a secret in Vault or OpenBao.
    """

    file: str | None = None
    secret: SecretKeyRef | None = None
    vault: VaultRef | None = None

    rules: ClassVar[tuple[Rule, ...]] = (OneOf(("file", "secret", "vault"), required=True),)


class ProviderKey(Spec):
    """One of several keys of a provider.

    Attributes:
        secret: where it stands.
        weight: share of the calls it takes, relative to the others.
    """

    secret: SecretRef
    weight: Annotated[int, Field(strict=True, gt=0)] = 1


class ProviderTimeouts(Spec):
    """How long a provider may take for each part of an answer, in milliseconds.

    Attributes:
        connect_ms: until there is a connection.
        first_token_ms: until the first part of the answer.
        between_tokens_ms: from one part of the answer to the next.
        total_ms: until the end of the answer.
    """

    connect_ms: Milliseconds = 2_000
    first_token_ms: Milliseconds = 60_000
    between_tokens_ms: Milliseconds = 30_000
    total_ms: Milliseconds = 600_000


class ProviderSpec(Spec):
    """An endpoint that serves models.

    Attributes:
        protocol: the wire it speaks. "openai" covers OpenAI, Azure, vLLM, Ollama and others;
            "anthropic" is Messages, "gemini" is Google's generateContent, "bedrock" is AWS'
            Converse.
        base_url: URL up to and including the version, for example "https://api.openai.com/v1".
        auth: where its key stands; absent for endpoints without one.
        keys: several keys, in place of `auth`.
        auth_header: header the key goes in; with "authorization" it is sent as a Bearer token,
            with any other (Azure: "api-key") bare.
        headers: further headers of every call.
        query: query parameters of every call (Azure: api-version).
        timeouts: see `ProviderTimeouts`.
        max_concurrent: calls under way at once; more are refused, not queued.
        region: AWS region that calls are signed for (bedrock).
    """

    protocol: Literal["openai", "anthropic", "gemini", "bedrock"] = "openai"
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+[^/\s]$")]
    auth: SecretRef | None = None
    keys: Annotated[tuple[ProviderKey, ...], Field(max_length=64)] = ()
    auth_header: str = "authorization"
    headers: dict[str, str] = Field(default_factory=dict)
    query: dict[str, str] = Field(default_factory=dict)
    timeouts: ProviderTimeouts = ProviderTimeouts()
    max_concurrent: Annotated[int, Field(strict=True, gt=0)] = 64
    region: str = ""

    rules: ClassVar[tuple[Rule, ...]] = (
        OneOf(("auth",), lists=("keys",)),
        Needed("region", where="protocol", value="bedrock"),
    )


class CatalogPrice(Spec):
    """Prices as the genai-prices data set lists them.

    Attributes:
        provider: provider id there, for example "openai".
        model: model there, for example "gpt-4o-mini".
    """

    provider: str
    model: str


class PriceOverlay(Spec):
    """Prices an operator states, in US dollars per million tokens. What is absent is unknown.

    Attributes:
        source: where the figures are from: a contract, a page and its date, an estimate.
    """

    source: Annotated[str, StringConstraints(min_length=1)]
    input: UsdPerMTok | None = None
    cached_input: UsdPerMTok | None = None
    cache_write_input: UsdPerMTok | None = None
    output: UsdPerMTok | None = None
    reasoning: UsdPerMTok | None = None
    batch_input: UsdPerMTok | None = None
    batch_output: UsdPerMTok | None = None


class Pricing(Spec):
    """Either a reference to the catalog or an overlay; neither means the price is unknown."""

    catalog: CatalogPrice | None = None
    overlay: PriceOverlay | None = None

    rules: ClassVar[tuple[Rule, ...]] = (OneOf(("catalog", "overlay")),)


class ModelSpec(Spec):
    """A model that the router may choose.

    Attributes:
        provider: name of its Provider resource.
        upstream_model: name the provider knows it by (Azure: the deployment).
        aliases: further names clients may use.
        capabilities: what it can do.
        context_tokens: input plus output it can hold.
        max_output_tokens: longest answer.
        quality: by task in [0, 1]; "general" is used for tasks not listed.
        latency_ms: typical time to the whole answer.
        pricing: see `Pricing`.
    """

    provider: Name
    upstream_model: str
    aliases: tuple[str, ...] = ()
    capabilities: tuple[Capability, ...] = ("chat",)
    context_tokens: Annotated[int, Field(strict=True, gt=0)]
    max_output_tokens: Annotated[int, Field(strict=True, gt=0)] | None = None
    quality: dict[str, Quality] = Field(default_factory=dict)
    latency_ms: Milliseconds | None = None
    pricing: Pricing = Pricing()


class RoutePolicySpec(Spec):
    """How a model is chosen when the client leaves it open.

    Attributes:
        models: names of the Model resources that may be chosen; empty means every one.
        quality_floor: least quality by task; "general" is used for tasks not listed.
        max_latency_ms: models typically slower are not chosen.
        baseline_model: what savings are measured against: what would have been called without
            the mesh. Absent: the model named by the client, or the one chosen.
        max_attempts: calls of providers for one request before it fails; a model passed over
            without a call, because its provider is left alone, is none.
        fallbacks: by the model a client names, others that may answer in its stead when it
            cannot, in order, where they meet the constraints. Without it a named model is
            answered by that model or not at all.
        hedge_after_ms: an answer that has not begun by then is asked of the next model too, and
            the first to begin wins; both are paid. Absent: never.
    """

    models: tuple[Name, ...] = ()
    quality_floor: dict[str, Quality] = Field(default_factory=dict)
    max_latency_ms: Milliseconds | None = None
    baseline_model: Name | None = None
    max_attempts: Annotated[int, Field(strict=True, ge=1, le=10)] = 3
    fallbacks: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)
    hedge_after_ms: Milliseconds | None = None


Comparison = Literal["exact", "normalised", "numeric", "json", "embedding", "judge"]
"""How two answers are compared; see docs/semantic-cache.md."""
Share = Annotated[float, Field(strict=True, ge=0.0001, le=0.9999)]
_Seconds = Annotated[int, Field(strict=True, gt=0)]


class SemanticCategorySpec(Spec):
    """What is different for requests of one task.

    Attributes:
        delta: in place of the policy's.
        penalty_usd: in place of the policy's, in dollars.
        ttl_seconds: in place of the policy's.
        max_entries: questions stored of it, within the policy's; above it, those used least
            recently of this category go. Absent: only the policy's bound.
    """

    delta: Share | None = None
    penalty_usd: Usd | None = None
    ttl_seconds: _Seconds | None = None
    max_entries: Annotated[int, Field(strict=True, gt=0)] | None = None


class SemanticSpec(Spec):
    """Answers to questions of the same meaning, within a stated share of wrong ones.

    Attributes:
        enabled: whether there are any. Off unless it is said: whether a share of wrong answers is
            acceptable is for the owner of the requests to say.
        delta: largest share of all requests that may be answered wrongly because of it.
        confidence: with which that holds, at every time.
        audit_rate: share of what would be served that a model answers too, so that errors are seen.
        scope: whom an answer serves besides the API key that asked for it: nobody ("key"), keys of
            the same team ("team"; a key without one is alone), or every key of the tenant
            ("tenant").
        comparison: how two answers of models are compared: "exact", "normalised" (case, white space
            and punctuation do not count), "numeric" (only the numbers count), "json" (as JSON
            values), "embedding" (their embeddings agree), "judge" (a model reads both; the cache's
            settings say which).
        overlooked: upper limit of the share of wrong answers that the comparison takes for right;
            the bound is computed with it. Absent: 0, and 0.1 for "numeric" and "embedding"; "judge"
            needs it, as measured.
        agreement: cosine from which "embedding" takes two answers for the same.
        penalty_usd: what a wrong answer costs, in dollars: served is only what is worth it. With 0
            the bound alone decides.
        ttl_seconds: how long an answer is proposed; absent: as long as the policy keeps entries.
        max_entries: questions that the tenant may have stored; above it, those used least
            recently go.
        bind_history: earlier turns of a conversation must be equal, whatever its last turn says;
            otherwise only where that leans on them ("and the second one?").
        categories: what is different, by task (header `x-infermesh-task`). Each has evidence and a
            bound of its own; all other tasks share one.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        Needed("overlooked", where="comparison", value="judge", text=False),
    )
    enabled: StrictBool = False
    delta: Share = 0.01
    confidence: Share = 0.95
    audit_rate: Share = 0.02
    scope: Literal["key", "team", "tenant"] = "tenant"
    comparison: Comparison = "normalised"
    overlooked: Annotated[float, Field(strict=True, ge=0, le=0.9999)] | None = None
    agreement: Share = 0.95
    penalty_usd: Usd = Decimal(0)
    ttl_seconds: _Seconds | None = None
    max_entries: Annotated[int, Field(strict=True, gt=0)] = 100_000
    bind_history: StrictBool = False
    categories: dict[str, SemanticCategorySpec] = Field(default_factory=dict)


class CachePolicySpec(Spec):
    """What may be served from and written to the caches.

    Attributes:
        enabled: whether there is any caching.
        ttl_seconds: how long an entry lives.
        max_temperature: requests sampled hotter are neither looked up nor stored.
        max_entry_bytes: larger answers are not stored.
        max_tenant_bytes: above it, the tenant's least recently used entries go.
        single_flight: identical concurrent requests share one upstream call.
        single_flight_wait_ms: how long a request waits for an identical one before it goes
            upstream itself.
        epoch: raise it to make every entry unreachable at once.
        semantic: what is served to questions of the same meaning.
    """

    enabled: StrictBool = True
    ttl_seconds: Annotated[int, Field(strict=True, gt=0)] = 86_400
    max_temperature: Annotated[float, Field(strict=True, ge=0, le=2)] = 1.0
    max_entry_bytes: Annotated[int, Field(strict=True, gt=0)] = 1_048_576
    max_tenant_bytes: Annotated[int, Field(strict=True, gt=0)] = 268_435_456
    single_flight: StrictBool = True
    single_flight_wait_ms: Milliseconds = 60_000
    epoch: Annotated[int, Field(strict=True, ge=0)] = 0
    semantic: SemanticSpec = SemanticSpec()


class TenantSpec(Spec):
    """An organisation or team whose data is kept apart from all others.

    Attributes:
        display_name: for people.
        suspended: refuse all its calls.
        allowed_models: names of Model resources; empty means every one.
        route_policy: name of its RoutePolicy resource.
        cache_policy: name of its CachePolicy resource.
    """

    display_name: str = ""
    suspended: StrictBool = False
    allowed_models: tuple[Name, ...] = ()
    route_policy: Name = "default"
    cache_policy: Name = "default"


class ApiKeySpec(Spec):
    """An API key that is declared, not issued.

    Attributes:
        tenant: name of its Tenant resource.
        role: "member" or "admin".
        secret_ref: where the key `im_<key id>_<secret>` stands.
        description: what it is for.
        team: whom it belongs to within the tenant; what policies of scope "team" keep apart.
    """

    tenant: Name
    role: Literal["member", "admin"] = "member"
    secret_ref: SecretRef
    description: str = ""
    team: Team = ""


class Resource(BaseModel):
    """What all resources have.

    Attributes:
        columns: what `kubectl get` prints of its spec.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )
    columns: ClassVar[tuple[Column, ...]] = ()

    api_version: Literal["infermesh.dev/v1alpha1"]
    metadata: Metadata

    @property
    def name(self) -> str:
        """Name of the resource, unique within its kind."""
        return self.metadata.name


class Provider(Resource):
    """See `ProviderSpec`."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("Protocol", "protocol"),
        Column("URL", "baseUrl", wide=True),
    )
    kind: Literal["Provider"]
    spec: ProviderSpec


class Model(Resource):
    """See `ModelSpec`."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("Provider", "provider"),
        Column("Upstream", "upstreamModel"),
        Column("Context", "contextTokens", "integer", wide=True),
    )
    kind: Literal["Model"]
    spec: ModelSpec


class RoutePolicy(Resource):
    """See `RoutePolicySpec`."""

    columns: ClassVar[tuple[Column, ...]] = (Column("Baseline", "baselineModel"),)
    kind: Literal["RoutePolicy"]
    spec: RoutePolicySpec = RoutePolicySpec()


class CachePolicy(Resource):
    """See `CachePolicySpec`."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("Enabled", "enabled", "boolean"),
        Column("TTL", "ttlSeconds", "integer"),
        Column("Semantic", "semantic.enabled", "boolean"),
        Column("Delta", "semantic.delta", "number", wide=True),
        Column("Epoch", "epoch", "integer", wide=True),
    )
    kind: Literal["CachePolicy"]
    spec: CachePolicySpec = CachePolicySpec()


class Tenant(Resource):
    """See `TenantSpec`."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("Suspended", "suspended", "boolean"),
        Column("Routes", "routePolicy"),
        Column("Cache", "cachePolicy"),
    )
    kind: Literal["Tenant"]
    spec: TenantSpec = TenantSpec()


class ApiKey(Resource):
    """See `ApiKeySpec`."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("Tenant", "tenant"),
        Column("Role", "role"),
    )
    kind: Literal["ApiKey"]
    spec: ApiKeySpec


KINDS: dict[str, type[Resource]] = {
    "Provider": Provider,
    "Model": Model,
    "RoutePolicy": RoutePolicy,
    "CachePolicy": CachePolicy,
    "Tenant": Tenant,
    "ApiKey": ApiKey,
}
"""Every kind by its name."""
