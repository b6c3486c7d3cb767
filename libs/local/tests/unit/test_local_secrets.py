"""Secrets as files."""

import stat
from pathlib import Path

import pytest
from infermesh_common.identity.model import parse_key_id
from infermesh_local.secret_files import (
    ensure_secret,
    new_api_key,
    new_password,
    write_private,
)


def test_an_api_key_is_one_the_services_accept() -> None:
    keys = {new_api_key() for _ in range(200)}
    assert len(keys) == 200
    for key in keys:
        prefix, key_id, secret = key.split("_")
        assert prefix == "im"
        assert parse_key_id(key) == key_id
        assert len(secret) == 43


def test_a_password_has_256_bits_and_is_never_the_same() -> None:
    passwords = {new_password() for _ in range(100)}
    assert len(passwords) == 100
    assert all(len(bytes.fromhex(password)) == 32 for password in passwords)


def test_a_secret_file_is_for_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first = ensure_secret(path, new_password)
    path.chmod(0o644)
    assert ensure_secret(path, new_password) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "\n", "  "])
def test_an_empty_secret_is_made_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    secret = ensure_secret(path, new_password)
    assert secret and path.read_text().strip() == secret
