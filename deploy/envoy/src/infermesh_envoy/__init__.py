"""The one Envoy bootstrap of InferMesh and what renders it."""

from infermesh_envoy.errors import ParameterError
from infermesh_envoy.paths import descriptor_path, envoy_binary
from infermesh_envoy.render import EnvoyParameters, default_values, parameters_from, render

__all__ = [
    "EnvoyParameters",
    "ParameterError",
    "default_values",
    "descriptor_path",
    "envoy_binary",
    "parameters_from",
    "render",
]
