"""From what a caller gives to protobuf. Refuses what could not even be asked."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

from google.protobuf import duration_pb2, timestamp_pb2

from infermesh.analytics.v1 import ledger_pb2
from infermesh.cache.v1 import cache_pb2
from infermesh.common.v1 import cache_control_pb2, page_pb2
from infermesh.errors import InvalidRequestError
from infermesh.governance.v1 import keys_pb2
from infermesh.inference import CacheControl, JsonValue, Message
from infermesh.records import Dimension, Role, UsageFilter
from infermesh.router.v1 import inference_pb2
from infermesh.wire.messages import message_to_proto, struct_to_proto

_DIMENSIONS = {
    Dimension.TENANT: ledger_pb2.DIMENSION_TENANT,
    Dimension.MODEL: ledger_pb2.DIMENSION_MODEL,
    Dimension.TAG: ledger_pb2.DIMENSION_TAG,
    Dimension.DAY: ledger_pb2.DIMENSION_DAY,
}
_ROLES = {
    Role.MEMBER: keys_pb2.ROLE_MEMBER,
    Role.ADMIN: keys_pb2.ROLE_ADMIN,
    Role.OPERATOR: keys_pb2.ROLE_OPERATOR,
}


def infer_request(
    *,
    prompt: str | None,
    messages: Sequence[Message | Mapping[str, JsonValue]] | None,
    model: str,
    acceptable_models: Sequence[str],
    task: str,
    temperature: float | None,
    top_p: float | None,
    max_tokens: int | None,
    seed: int | None,
    stop: str | Sequence[str],
    cache: CacheControl | None,
    tags: Sequence[str],
    request_id: str | None,
    parameters: Mapping[str, JsonValue],
) -> inference_pb2.InferRequest:
    """An inference; its arguments are those of `Client.infer`.

    Raises:
        InvalidRequestError: a value that the request cannot carry, or not one of `prompt` and
            `messages`.
    """
    if bool(prompt) == bool(messages):
        raise InvalidRequestError(
            "Give either a prompt or messages.", reason="INVALID_MESSAGES", field="messages"
        )
    try:
        return inference_pb2.InferRequest(
            request_id=request_id or str(uuid.uuid4()),
            model=model,
            acceptable_models=acceptable_models,
            messages=[message_to_proto(message) for message in messages or ()],
            prompt=prompt or "",
            task=task,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            stop=[stop] if isinstance(stop, str) else stop,
            parameters=struct_to_proto(parameters, "parameters") if parameters else None,
            cache=None if cache is None else _cache_control(cache),
            tags=tags,
        )
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"The request holds a value that cannot be sent: {error}.", reason="INVALID_ARGUMENT"
        ) from error


def usage_request(
    group_by: Sequence[Dimension | str], restriction: UsageFilter | None, page: page_pb2.PageRequest
) -> ledger_pb2.QueryUsageRequest:
    """Usage by group.

    Raises:
        InvalidRequestError: INVALID_DIMENSION, INVALID_TIME.
    """
    return ledger_pb2.QueryUsageRequest(
        group_by=[_dimension(each) for each in group_by], filter=_filter(restriction), page=page
    )


def events_request(
    restriction: UsageFilter | None, page: page_pb2.PageRequest
) -> ledger_pb2.ListEventsRequest:
    """Inferences of the ledger.

    Raises:
        InvalidRequestError: INVALID_TIME.
    """
    return ledger_pb2.ListEventsRequest(filter=_filter(restriction), page=page)


def create_key_request(
    tenant: str, role: Role | str, description: str, expire_time: datetime | None, team: str
) -> keys_pb2.CreateKeyRequest:
    """A new key. Its id of the request makes a retry that comes too late a ConflictError.

    Raises:
        InvalidRequestError: INVALID_ROLE, INVALID_TIME.
    """
    number = _ROLES.get(Role(role)) if role in set(Role) else None
    if number is None:
        raise InvalidRequestError(
            f"A key cannot have the role {str(role)!r}; it is one of {', '.join(_ROLES)}.",
            reason="INVALID_ROLE",
            field="role",
        )
    return keys_pb2.CreateKeyRequest(
        request_id=str(uuid.uuid4()),
        tenant=tenant,
        role=number,
        description=description,
        expire_time=_timestamp(expire_time),
        team=team,
    )


def invalidate_request(
    *, model: str, tag: str, fingerprint: str, everything: bool, dry_run: bool
) -> cache_pb2.InvalidateRequest:
    """What to remove from the cache.

    Raises:
        InvalidRequestError: INVALID_SELECTOR, not exactly one of the four is given.
    """
    if [bool(model), bool(tag), bool(fingerprint), everything].count(True) != 1:
        raise InvalidRequestError(
            "Say what to invalidate by exactly one of model, tag, fingerprint and all.",
            reason="INVALID_SELECTOR",
        )
    request = cache_pb2.InvalidateRequest(dry_run=dry_run)
    if model:
        request.model = model
    elif tag:
        request.tag = tag
    elif fingerprint:
        request.fingerprint = fingerprint
    else:
        request.all = True
    return request


def explain_lookup_request(
    *,
    messages: Sequence[Message | Mapping[str, JsonValue]],
    models: Sequence[str],
    task: str,
    parameters: Mapping[str, JsonValue],
) -> cache_pb2.ExplainLookupRequest:
    """A chat request as the semantic tier reads it.

    Raises:
        InvalidRequestError: INVALID_MESSAGES, there are none; INVALID_PARAMETERS, not of JSON.
    """
    if not messages:
        raise InvalidRequestError("Give the messages.", reason="INVALID_MESSAGES", field="messages")
    turns = [turn if isinstance(turn, Mapping) else _chat_turn(turn) for turn in messages]
    try:
        body = json.dumps({**parameters, "messages": turns}, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"The request is not JSON: {error}.", reason="INVALID_PARAMETERS", field="parameters"
        ) from error
    query = cache_pb2.SemanticQuery(
        protocol="openai.chat", models=models, body=body, task=task or "general"
    )
    return cache_pb2.ExplainLookupRequest(query=query)


def _chat_turn(turn: Message) -> Mapping[str, JsonValue]:
    content: JsonValue = [dict(part) for part in turn.parts] or turn.content
    return {"role": turn.role, "content": content}


def feedback_request(decision_id: str, *, right: bool) -> cache_pb2.SendFeedbackRequest:
    """What is said of an answer.

    Raises:
        InvalidRequestError: INVALID_DECISION_ID.
    """
    if not decision_id:
        raise InvalidRequestError(
            "Give the decision id of the answer.", reason="INVALID_DECISION_ID"
        )
    verdict = cache_pb2.FEEDBACK_VERDICT_RIGHT if right else cache_pb2.FEEDBACK_VERDICT_WRONG
    return cache_pb2.SendFeedbackRequest(decision_id=decision_id, verdict=verdict)


def page_request(page_size: int, token: str) -> page_pb2.PageRequest:
    """One page of a list.

    Raises:
        InvalidRequestError: INVALID_PAGE_SIZE.
    """
    if not 0 <= page_size < 2**31:
        raise InvalidRequestError(
            f"page_size must not be negative nor beyond 32 bits, and is {page_size}.",
            reason="INVALID_PAGE_SIZE",
        )
    return page_pb2.PageRequest(page_size=page_size, page_token=token)


def _dimension(value: Dimension | str) -> ledger_pb2.Dimension.ValueType:
    try:
        return _DIMENSIONS[Dimension(value)]
    except ValueError as error:
        raise InvalidRequestError(
            f"Usage cannot be grouped by {value!r}, only by {', '.join(Dimension)}.",
            reason="INVALID_DIMENSION",
            field="group_by",
        ) from error


def _filter(restriction: UsageFilter | None) -> ledger_pb2.UsageFilter:
    chosen = restriction or UsageFilter()
    return ledger_pb2.UsageFilter(
        tenant=chosen.tenant,
        model=chosen.model,
        tag=chosen.tag,
        start_time=_timestamp(chosen.start_time),
        end_time=_timestamp(chosen.end_time),
    )


def _timestamp(moment: datetime | None) -> timestamp_pb2.Timestamp | None:
    if moment is None:
        return None
    if moment.utcoffset() is None:
        raise InvalidRequestError(
            f"The time {moment.isoformat()} has no time zone.", reason="INVALID_TIME"
        )
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _cache_control(control: CacheControl) -> cache_control_pb2.CacheControl:
    return cache_control_pb2.CacheControl(
        bypass=control.bypass,
        refresh=control.refresh,
        only_if_cached=control.only_if_cached,
        no_store=control.no_store,
        max_age=_seconds(control.max_age_s),
        ttl=_seconds(control.ttl_s),
    )


def _seconds(value: int | None) -> duration_pb2.Duration | None:
    return None if value is None else duration_pb2.Duration(seconds=value)
