"""Settings of local mode. The only place that reads the environment."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import yaml
from platformdirs import user_state_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from infermesh_local.errors import LocalMeshError

_PREFIX = "INFERMESH_LOCAL__"
STATE_VARIABLE = "INFERMESH_STATE"
"""Environment variable that names the state folder."""
OPENAI_VARIABLE = "OPENAI_API_KEY"
"""Environment variable that holds the key of OpenAI."""


class LocalSettings(BaseModel):
    """What local mode needs to know; the defaults and their reasons stand in `defaults.yaml`.

    Attributes:
        state_dir: folder of the mesh's state.
        public_port: port clients use, when none is stated and it is free.
        first_internal_port: ports between the processes begin here.
        last_internal_port: and end here.
        start_timeout_s: longest wait for one process to become ready.
        stop_timeout_s: longest wait for all processes to end by themselves.
        drain_ms: how long a service reports NOT_SERVING before it refuses calls.
        stop_grace_ms: how long calls under way may then take.
        redis_max_memory_mib: beyond it Redis refuses writes.
        milvus: whether Milvus Lite runs, in which the cache keeps stored questions.
        model_slots: requests the embedded model answers at once.
        model_slot_context_tokens: context of each of them.
        model_prompt_cache_mib: memory for prompts already evaluated.
        model_stop_grace_s: how long the embedded model may take to end.
        envoy_concurrency: worker threads of Envoy.
        log_max_mib: size at which a log is turned over.
        log_backups: old logs kept of each process.
        low_disk_mib: free space below which the doctor warns.
        openai_api_key: offers OpenAI's models when set.
        environment: what the processes of the mesh inherit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state_dir: Path
    public_port: int = Field(gt=0, lt=65536)
    first_internal_port: int = Field(gt=1023, lt=65536)
    last_internal_port: int = Field(gt=1023, lt=65536)
    start_timeout_s: float = Field(gt=0)
    stop_timeout_s: float = Field(gt=0)
    drain_ms: int = Field(ge=0)
    stop_grace_ms: int = Field(ge=0)
    redis_max_memory_mib: int = Field(gt=0)
    milvus: bool
    model_slots: int = Field(gt=0)
    model_slot_context_tokens: int = Field(gt=0)
    model_prompt_cache_mib: int = Field(ge=0)
    model_stop_grace_s: float = Field(gt=0, lt=10)
    envoy_concurrency: int = Field(gt=0)
    log_max_mib: int = Field(gt=0)
    log_backups: int = Field(ge=0)
    low_disk_mib: int = Field(ge=0)
    openai_api_key: SecretStr | None
    environment: Mapping[str, str] = Field(repr=False)


class SettingsInvalid(LocalMeshError):
    """A setting has a value that cannot be used."""


def load_local_settings(environment: Mapping[str, str] | None = None) -> LocalSettings:
    """Settings out of `defaults.yaml` and the environment.

    Args:
        environment: in place of this process's own.

    Raises:
        SettingsInvalid: names each setting that cannot be used, without its value.
    """
    environment = os.environ if environment is None else environment
    text = resources.files("infermesh_local").joinpath("defaults.yaml").read_text("utf-8")
    values: dict[str, object] = yaml.safe_load(text)
    for name, value in environment.items():
        if name.startswith(_PREFIX):
            values[name.removeprefix(_PREFIX).lower()] = yaml.safe_load(value)
    if key := environment.get(OPENAI_VARIABLE, "").strip():
        values["openai_api_key"] = key
    if state := environment.get(STATE_VARIABLE):
        values["state_dir"] = state
    values["state_dir"] = values["state_dir"] or user_state_path("infermesh", appauthor=False)
    # Keys of providers reach the processes as files only.
    secret = (OPENAI_VARIABLE, f"{_PREFIX}{OPENAI_VARIABLE}")
    values["environment"] = {k: v for k, v in environment.items() if k not in secret}
    try:
        return LocalSettings.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise SettingsInvalid(f"The settings of local mode cannot be used: {faults}.") from error
