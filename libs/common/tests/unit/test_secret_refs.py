"""A reference leads to exactly one place, and nowhere that it should not."""

import pytest
from pydantic import ValidationError

from infermesh_common.resources.types import SecretRef
from infermesh_common.secrets.faults import where
from infermesh_common.settings import VaultSettings

VAULT = {"path": "providers/openai", "key": "key"}
SECRET = {"name": "openai", "key": "key"}


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"file": "/run/key"}, "secret file /run/key"),
        ({"secret": SECRET}, "key key of the Kubernetes Secret openai"),
        ({"vault": VAULT}, "key key of providers/openai in Vault"),
    ],
)
def test_each_place_can_be_said(place: dict[str, object], words: str) -> None:
    ref = SecretRef.model_validate(place)
    assert where(ref) == words
    assert ref == SecretRef.model_validate(place) and len({ref, ref}) == 1


@pytest.mark.parametrize(
    "places",
    [{}, {"file": "/f", "vault": VAULT}, {"secret": SECRET, "vault": VAULT}],
    ids=["none", "two", "two others"],
)
def test_there_is_exactly_one(places: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="give exactly one of file, secret or vault"):
        SecretRef.model_validate(places)


@pytest.mark.parametrize(
    "path",
    ["", "/providers", "providers/", "a//b", "..", "a/../../sys/seal", "./a", "a/.b", "a?b", "a b"],
)
def test_a_path_leads_nowhere_else_in_vault(path: str) -> None:
    with pytest.raises(ValidationError):
        SecretRef.model_validate({"vault": {**VAULT, "path": path}})


@pytest.mark.parametrize("name", ["", "Open AI", "a/b", "../x"])
def test_a_secret_has_a_name_of_kubernetes(name: str) -> None:
    with pytest.raises(ValidationError):
        SecretRef.model_validate({"secret": {**SECRET, "name": name}})


@pytest.mark.parametrize("address", ["vault:8200", "https://me:pw@vault:8200", "https://vault/"])
def test_an_address_of_vault_is_a_url_without_a_password(address: str) -> None:
    auth = {"mount": "kubernetes", "role": "router", "token_file": "/t"}
    settings = {"auth": auth, "kv_mount": "infermesh", "ca_file": None, "timeout_ms": 1}
    VaultSettings.model_validate({**settings, "address": "https://vault.example:8200/prefix"})
    with pytest.raises(ValidationError):
        VaultSettings.model_validate({**settings, "address": address})
