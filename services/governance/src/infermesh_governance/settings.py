"""Settings of the governance service; defaults stand in `defaults.yaml`."""

from pathlib import Path

from pydantic import PositiveInt

from infermesh_common.settings import CommonSettings


class GovernanceSettings(CommonSettings):
    """What the governance service needs to know.

    Attributes:
        bootstrap_operator_key_file: file that holds an API key `im_<key id>_<secret>` that is
            accepted as an operator's, so that the first keys can be made; None for none.
        heartbeat_ms: time between two heartbeats of a watch stream.
        poll_ms: longest time between two looks at the store for changes.
        secret_poll_ms: time between two looks at the secrets that are declared keys.
        store_timeout_ms: longest time of one operation on the store, its connecting included.
        forget_after_s: time for which revoked and expired keys are still known as such.
        request_memory_s: time for which a repeated request id is refused.
    """

    bootstrap_operator_key_file: Path | None
    heartbeat_ms: PositiveInt
    poll_ms: PositiveInt
    secret_poll_ms: PositiveInt
    store_timeout_ms: PositiveInt
    forget_after_s: PositiveInt
    request_memory_s: PositiveInt
