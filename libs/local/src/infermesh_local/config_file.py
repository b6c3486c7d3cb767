"""The file that INFERMESH_CONFIG names: settings of all services of one run."""

import yaml

from infermesh_local.port_choice import LOOPBACK
from infermesh_local.processes import RunContext

SERVICES = ("governance", "cache", "analytics", "router")
"""The services, each run as `python -m infermesh_<name>`."""
OPERATOR_KEY = "operator-api-key"
INTERNAL_TOKEN = "internal-token"
REDIS_PASSWORD = "redis-password"
MODEL_API_KEY = "model-api-key"
"""Names of files in the secrets folder."""
MILVUS = "milvus"
"""Name of the process, of its port and of its folder."""
# Milvus Lite is slow to write, and slower while it starts: nothing waits for that.
_MILVUS_TIMEOUTS_MS = {"timeout_ms": 80, "write_timeout_ms": 20_000}
_HEADER = """\
# Written anew by every `infermesh up`: changes made here are lost.
# To change a setting of a service, set INFERMESH_<SERVICE>__<FIELD>, for example
# INFERMESH_ROUTER__TELEMETRY__LOG_LEVEL=DEBUG, before `infermesh up`.
"""


def metrics_name(service: str) -> str:
    """Name of the port of a service's metrics."""
    return f"{service}-metrics"


def address(context: RunContext, name: str) -> str:
    """host:port of a port's name."""
    return f"{LOOPBACK}:{context.ports[name]}"


def render_config(context: RunContext) -> str:
    """The YAML text. Holds no secrets, only where they stand."""
    layout = context.layout
    values: dict[str, dict[str, object]] = {
        "common": {
            "server": {
                "drain_ms": context.settings.drain_ms,
                "stop_grace_ms": context.settings.stop_grace_ms,
            },
            "identity": {"internal_token_file": str(layout.secrets / INTERNAL_TOKEN)},
            "redis": {
                "url": f"redis://{address(context, 'redis')}/0",
                "password_file": str(layout.secrets / REDIS_PASSWORD),
            },
            "targets": {service: address(context, service) for service in SERVICES},
            "resources_dir": str(layout.resources),
        }
    }
    for service in SERVICES:
        listening = {
            "listen_address": address(context, service),
            "metrics_address": address(context, metrics_name(service)),
        }
        values[service] = {"server": listening}
    values["governance"]["bootstrap_operator_key_file"] = str(layout.secrets / OPERATOR_KEY)
    values["analytics"]["database_url"] = f"sqlite:///{layout.data / 'analytics.db'}"
    if context.settings.milvus:
        milvus = {"uri": f"http://{address(context, MILVUS)}", "token_file": None}
        values["cache"]["vectors"] = {"milvus": milvus | _MILVUS_TIMEOUTS_MS}
    return _HEADER + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
