"""The YAML resources of the mesh: those that are the user's, and those that each start writes."""

import json
from importlib import resources
from pathlib import Path

from infermesh_local.config_file import MODEL_API_KEY
from infermesh_local.layout import PRIVATE_FOLDER
from infermesh_local.port_choice import LOOPBACK
from infermesh_local.processes import RunContext
from infermesh_local.secret_files import ensure_secret, new_api_key, write_private

DEMO_TENANTS = ("demo", "acme")
"""Tenants that the shipped resources declare, each with an API key."""
OPENAI_KEY = "openai-api-key"
OPENAI_FILE = "generated-openai.yaml"
LOCAL_FILE = "generated-local.yaml"
_OWN = ("models.yaml", "policies.yaml", "tenants.yaml")


def tenant_key_file(secrets: Path, tenant: str) -> Path:
    """Where the API key of a demonstration tenant stands."""
    return secrets / f"{tenant}-api-key"


def write_resources(context: RunContext) -> None:
    """Lays down the user's resources if this is the first start, and the generated ones."""
    layout = context.layout
    if not layout.resources.exists():
        # All or nothing: what the user deletes later must not come back.
        draft = layout.run / "resources.new"
        draft.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        for name in _OWN:
            write_private(draft / name, _shipped(name, SECRETS=layout.secrets))
        draft.replace(layout.resources)
    for tenant in DEMO_TENANTS:
        ensure_secret(tenant_key_file(layout.secrets, tenant), new_api_key)
    local = _shipped(
        LOCAL_FILE,
        URL=f"http://{LOOPBACK}:{context.ports['model']}/v1",
        KEY_FILE=layout.secrets / MODEL_API_KEY,
    )
    write_private(layout.resources / LOCAL_FILE, local)
    _write_openai(context)


def _write_openai(context: RunContext) -> None:
    """Offers OpenAI's models exactly when there is a key for them."""
    key = context.settings.openai_api_key
    key_file = context.layout.secrets / OPENAI_KEY
    declared = context.layout.resources / OPENAI_FILE
    if key is None:
        declared.unlink(missing_ok=True)
        key_file.unlink(missing_ok=True)
        return
    write_private(key_file, key.get_secret_value() + "\n")
    write_private(declared, _shipped(OPENAI_FILE, KEY_FILE=key_file))


def _shipped(name: str, **values: str | Path) -> str:
    """A file of this package with each "@NAME@" replaced by a quoted value."""
    folder = resources.files("infermesh_local").joinpath("resources")
    text = folder.joinpath(name).read_text("utf-8")
    for key, value in values.items():
        # A JSON string is a YAML string; for a folder the rest of the path follows inside.
        text = text.replace(f'"@{key}@', json.dumps(str(value))[:-1])
    return text
