"""Settings for tests: the shipped defaults plus what a deployment states."""

from pathlib import Path
from typing import TypeVar

import yaml

from infermesh_common.settings import CommonSettings, load_settings
from infermesh_common.testing.servers import RedisServer

T = TypeVar("T", bound=CommonSettings)
INTERNAL_TOKEN = "internal-token-for-tests"
UNUSED = "127.0.0.1:1"


def settings_for(
    kind: type[T],
    service: str,
    folder: Path,
    redis: RedisServer,
    *,
    targets: dict[str, str] | None = None,
    **values: object,
) -> T:
    """Settings of `service` on free ports, with its files in `folder`.

    Args:
        kind: settings class of the service.
        service: its name, for example "cache".
        folder: a folder of the test's own; gets `resources/` and `internal-token`.
        redis: the Redis server it uses.
        targets: targets of other services; those not named are not reachable.
        values: further values of the service's section.
    """
    (folder / "resources").mkdir(exist_ok=True)
    token = folder / "internal-token"
    token.write_text(INTERNAL_TOKEN)
    config = folder / f"{service}.yaml"
    deployment = {
        "common": {
            "server": {
                "listen_address": "127.0.0.1:0",
                "metrics_address": "127.0.0.1:0",
                "drain_ms": 0,
                "stop_grace_ms": 2000,
            },
            "identity": {"internal_token_file": str(token)},
            "redis": {"url": redis.url, "password_file": str(redis.password_file)},
            "targets": dict.fromkeys(("router", "cache", "governance", "analytics"), UNUSED)
            | (targets or {}),
            "resources_dir": str(folder / "resources"),
        },
        service: values,
    }
    config.write_text(yaml.safe_dump(deployment))
    return load_settings(kind, service, environment={"INFERMESH_CONFIG": str(config)})
