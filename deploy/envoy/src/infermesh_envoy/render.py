"""The Envoy bootstrap and the files that go with it, made of the parameters."""

import dataclasses
from importlib import resources
from pathlib import Path

import jinja2
import yaml

from infermesh_envoy.parameters import EnvoyParameters, ip_address

_TRANSPORT = "type.googleapis.com/envoy.extensions.transport_sockets"
# Where a body that is too large goes, by the surface whose shape the error has.
_REFUSALS = {
    "openai": "/v1/refusals/large-body",
    "anthropic": "/v1/refusals/large-message",
}


def render(parameters: EnvoyParameters) -> str:
    """The bootstrap as YAML, for `envoy -c`. Equal parameters give equal text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("infermesh_envoy", package_path=""),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["duration"] = _duration
    environment.filters["grpc_timeout"] = _grpc_timeout
    environment.tests["ip_address"] = lambda host: ip_address(host) is not None
    template = environment.get_template("bootstrap.yaml.j2")
    return template.render(p=parameters, scripts=_scripts(), hold_whole=_script("hold_whole"))


def secret_files(parameters: EnvoyParameters) -> dict[str, str]:
    """Contents by name of the files that have to be in `sds_path`: they tell Envoy where
    certificates are, and to read them again when their folder changes. Empty without any."""
    files = {}
    if parameters.tls_cert_path is not None and parameters.tls_key_path is not None:
        files["edge.yaml"] = _key_pair("edge", parameters.tls_cert_path, parameters.tls_key_path)
    if parameters.mesh_cert_path is not None and parameters.mesh_key_path is not None:
        files["mesh.yaml"] = _key_pair("mesh", parameters.mesh_cert_path, parameters.mesh_key_path)
    if parameters.mesh_ca_path is not None:
        trusted: dict[str, object] = {"trusted_ca": {"filename": parameters.mesh_ca_path}}
        trusted |= _watched(parameters.mesh_ca_path)
        files["mesh-ca.yaml"] = _secret("mesh-ca", {"validation_context": trusted})
    return files


def write(parameters: EnvoyParameters, folder: Path) -> None:
    """Puts `bootstrap.yaml` and the secret files into `folder`, which is made `sds_path`.

    Raises:
        OSError: it cannot be written.
    """
    parameters = dataclasses.replace(parameters, sds_path=str(folder))
    for name, text in secret_files(parameters).items():
        (folder / name).write_text(text)
    (folder / "bootstrap.yaml").write_text(render(parameters))


def _key_pair(name: str, certificate: str, key: str) -> str:
    files = {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}
    return _secret(name, {"tls_certificate": {**files, **_watched(certificate)}})


def _watched(path: str) -> dict[str, object]:
    # A mounted secret changes by a link in its folder being replaced.
    return {"watched_directory": {"path": str(Path(path).parent)}}


def _secret(name: str, content: dict[str, object]) -> str:
    secret = {"@type": f"{_TRANSPORT}.tls.v3.Secret", "name": name, **content}
    return yaml.safe_dump({"resources": [secret]}, sort_keys=False)


def _scripts() -> dict[str, str]:
    """The Lua scripts by name. A request has one: the answer to a body that is too large is an
    error of its surface too."""
    scripts = {}
    for surface, refusal in _REFUSALS.items():
        errors = _script(f"{surface}_error") + _script("error_body")
        scripts[f"{surface}_error"] = errors
        path = f'local REFUSAL = "{refusal}"\n'
        scripts[f"{surface}_refuse_large"] = errors + path + _script("refuse_large")
    return scripts


def _script(name: str) -> str:
    return resources.files("infermesh_envoy").joinpath(f"{name}.lua").read_text()


def _duration(seconds: float) -> str:
    """As protobuf's JSON has a Duration."""
    return f"{seconds:.3f}s"


def _grpc_timeout(seconds: float) -> str:
    """As gRPC over HTTP/2 has a Timeout: at most eight digits and a unit, here milliseconds."""
    return f"{round(seconds * 1000)}m"
