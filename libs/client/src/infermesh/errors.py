"""What the SDK raises: one hierarchy, one subclass for each kind of failure."""

from collections.abc import Mapping


class InfermeshError(Exception):
    """A call that failed.

    Args:
        message: one sentence for a person.
        reason: UPPER_SNAKE identifier a program may depend on, for example "BUDGET_EXHAUSTED".
        request_id: what to quote when reporting it; empty when nothing was sent.
        retry_after_s: seconds after which a retry may succeed, when the mesh said so.
        metadata: facts a program can use, for example {"model": "gpt-x"}.
        field: path of the request field at fault, when there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "UNKNOWN",
        request_id: str = "",
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.metadata = dict(metadata or {})
        self.field = field


class AuthenticationError(InfermeshError):
    """No API key, or one that the mesh does not know, that has expired or was revoked."""


class PermissionDeniedError(InfermeshError):
    """The caller is known and may not do this."""


class NotFoundError(InfermeshError):
    """What the request names does not exist, or not for this caller."""


class InvalidRequestError(InfermeshError):
    """The request is wrong whatever the state of the mesh. Also raised before anything is sent."""


class RateLimitError(InfermeshError):
    """A rate limit, a quota or a budget; see `retry_after_s`."""


class UnavailableError(InfermeshError):
    """The mesh, or what it needs, cannot be reached at the moment. Retries have been made."""


class DeadlineExceededError(InfermeshError):
    """There was no answer within the time the caller gave."""


class ConflictError(InfermeshError):
    """The state of the mesh does not allow it, or what is to be created exists."""


class InternalError(InfermeshError):
    """A defect of the mesh, or an answer that makes no sense."""
