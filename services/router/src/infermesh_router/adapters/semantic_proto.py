"""The semantic tier's messages."""

from infermesh.cache.v1 import cache_pb2
from infermesh.common.v1 import semantic_pb2
from infermesh_common.identity.model import Identity
from infermesh_common.usage import fill_money
from infermesh_router.domain.semantic import SemanticMatch, SemanticQuestion, SemanticVerdict

_VERDICTS = {
    SemanticVerdict.NONE: semantic_pb2.SEMANTIC_VERDICT_NONE,
    SemanticVerdict.SERVED: semantic_pb2.SEMANTIC_VERDICT_SERVED,
    SemanticVerdict.EXPLORED: semantic_pb2.SEMANTIC_VERDICT_EXPLORED,
    SemanticVerdict.REFUSED: semantic_pb2.SEMANTIC_VERDICT_REFUSED,
}
_READ = {number: verdict for verdict, number in _VERDICTS.items()}


def fill_query(
    message: cache_pb2.SemanticQuery, question: SemanticQuestion, caller: Identity
) -> None:
    """Writes a question into an empty `message`.

    Args:
        message: to fill.
        question: what is asked.
        caller: who asks, verified.
    """
    message.protocol = question.protocol
    message.models.extend(question.models)
    message.body = question.body
    message.task = question.task
    fill_money(message.call_cost, question.call_cost)
    message.decision_id = question.decision_id
    message.key_id, message.team = caller.key_id, caller.team


def match_of(message: semantic_pb2.SemanticMatch) -> SemanticMatch:
    """What the tier said. A verdict that is not known here is none."""
    return SemanticMatch(
        verdict=_READ.get(message.verdict, SemanticVerdict.NONE),
        reason=message.reason,
        similarity=message.similarity,
        probability=message.probability if message.HasField("probability") else None,
        error_bound=message.error_bound,
        confidence=message.confidence,
        delta=message.delta,
        entry=message.entry,
        category=message.category,
    )


def fill_match(message: semantic_pb2.SemanticMatch, match: SemanticMatch) -> None:
    """Writes a match into an empty `message`."""
    message.verdict = _VERDICTS[match.verdict]
    message.reason = match.reason
    message.similarity = match.similarity
    if match.probability is not None:
        message.probability = match.probability
    message.error_bound = match.error_bound
    message.confidence = match.confidence
    message.delta = match.delta
    message.entry = match.entry
    message.category = match.category


def match_headers(match: SemanticMatch) -> tuple[tuple[str, str], ...]:
    """What HTTP clients see of a proposal, served or not; nothing without one."""
    if match.verdict is SemanticVerdict.NONE:
        return ()
    headers = [
        ("x-infermesh-semantic", f"{match.verdict.value}; {match.reason.lower()}"),
        ("x-infermesh-similarity", f"{match.similarity:.4f}"),
    ]
    if match.probability is not None:
        headers.append(("x-infermesh-probability", f"{match.probability:.4f}"))
    headers.append(("x-infermesh-error-bound", f"{match.error_bound:.4f}"))
    return tuple(headers)
