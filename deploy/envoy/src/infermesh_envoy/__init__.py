"""The one Envoy bootstrap of InferMesh and what renders it."""

from infermesh_envoy.errors import ParameterError
from infermesh_envoy.parameters import EnvoyParameters, default_values, parameters_from
from infermesh_envoy.paths import descriptor_path, envoy_binary
from infermesh_envoy.render import render, secret_files, write

__all__ = [
    "EnvoyParameters",
    "ParameterError",
    "default_values",
    "descriptor_path",
    "envoy_binary",
    "parameters_from",
    "render",
    "secret_files",
    "write",
]
