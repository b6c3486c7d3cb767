"""Settings of the cache service."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from infermesh_cache.embedding_settings import EmbeddingSettings
from infermesh_cache.model_settings import HttpModelSettings
from infermesh_common.settings import CommonSettings, Settings

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]


class FlightSettings(Settings):
    """Single flight."""

    lease_ttl_ms: Positive
    poll_ms: Positive


class CodecSettings(Settings):
    """Stored form of entries."""

    compress_above_bytes: NotNegative
    offload_above_bytes: NotNegative
    threads: Positive


class EntrySettings(Settings):
    """Book-keeping of entries."""

    uses_interval_ms: Positive
    batch: Positive
    sweep_interval_ms: Positive


class CopySettings(Settings):
    """Copies of entries that routers keep."""

    lease_ms: Positive


class JudgeSettings(HttpModelSettings):
    """A model that compares answers where a policy says `comparison: judge`: of the mesh itself or
    of any service with the OpenAI chat interface.

    Attributes:
        max_chars: of question and answers together; longer ones are different unless they are
            equal as normalised.
        max_tokens: of a verdict.
    """

    max_chars: Positive = 32_768
    max_tokens: Positive = 64


class SemanticSettings(Settings):
    """The semantic tier; whether a tenant uses it, its policy says."""

    lookup_timeout_ms: Positive
    threads: Positive
    load_retry_ms: Positive
    share_interval_ms: Positive
    most_unshared: Positive
    lesson_ttl_s: Positive
    most_lessons_under_way: Positive
    feedback_ttl_s: Positive
    feedback_per_hour: Positive
    judge: JudgeSettings | None
    embedding: EmbeddingSettings


class RerankerSettings(HttpModelSettings):
    """A model that reads a query and a passage together.

    Attributes:
        timeout_ms: as above; shorter, for somebody waits.
        max_chars: of a query or passage; what follows is not read.
    """

    timeout_ms: Positive = 5_000
    max_chars: Positive = 4_096


class SummariserSettings(HttpModelSettings):
    """A model that writes where each chunk stands in its document.

    Attributes:
        max_chars: of a document; longer ones get no such lines.
        max_tokens: of a line.
        concurrency: calls at once.
    """

    max_chars: Positive = 100_000
    max_tokens: Positive = 128
    concurrency: Positive = 4


class RetrievalSettings(Settings):
    """Contextual retrieval for applications' own documents.

    Attributes:
        most_documents: of a request.
        most_chunks: of all of them together.
        most_chars: of all their texts together.
        most_queries: of a request.
        most_passages: of a query.
        memory_bytes: of documents kept ready.
        threads: that rank.
        embedding: a model of its own, so that lookups do not wait for documents.
        reranker: reads the first passages again; None: nobody does.
        summariser: writes a line for each chunk; None: rules alone say where it stands.
    """

    most_documents: Positive
    most_chunks: Positive
    most_chars: Positive
    most_queries: Positive
    most_passages: Positive
    memory_bytes: Positive
    threads: Positive
    embedding: EmbeddingSettings
    reranker: RerankerSettings | None
    summariser: SummariserSettings | None


class MilvusSettings(Settings):
    """How Milvus is reached.

    Attributes:
        uri: for example http://milvus:19530; https for TLS.
        token_file: file of "user:password" or of an API key; None without authentication.
        timeout_ms: of a search.
        write_timeout_ms: of any other call.
    """

    uri: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$")]
    token_file: Path | None
    timeout_ms: Positive
    write_timeout_ms: Positive


class VectorIndexSettings(Settings):
    """Stored questions in this process."""

    max_records: Positive
    max_records_per_tenant: Positive
    max_text_bytes: Positive
    exact_below: Positive
    max_queued: Positive
    build_threads: Positive


class VectorPaceSettings(Settings):
    """How patient, how often; see `Pace` of the vector database."""

    timeout_ms: Positive
    poll_ms: Positive
    overlap_ms: Positive
    keep_ms: Positive
    sweep_ms: Positive
    queue: Positive
    batch: Positive
    flush_ms: Positive
    longest_pause_ms: Positive
    page_rows: Annotated[int, Field(gt=0, le=16_000)]


class VectorSettings(Settings):
    """Where stored questions are kept.

    Attributes:
        index: see `VectorIndexSettings`.
        pace: see `VectorPaceSettings`.
        milvus: None: nowhere but in this process; they end with it and other replicas do not see
            them.
    """

    index: VectorIndexSettings
    pace: VectorPaceSettings
    milvus: MilvusSettings | None


class CacheSettings(CommonSettings):
    """Everything the cache service needs to know."""

    flights: FlightSettings
    codec: CodecSettings
    entries: EntrySettings
    copies: CopySettings
    semantic: SemanticSettings
    vectors: VectorSettings
    retrieval: RetrievalSettings
