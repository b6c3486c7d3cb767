"""What a client accepts as an address, and what it refuses before it sends anything."""

from pathlib import Path

import pytest

from infermesh import Client, InvalidRequestError, TlsOptions
from infermesh.settings import ConnectionSettings, connection_settings
from infermesh.wire.channel import channel_options


def settings(
    address: str = "mesh:1", api_key: str | None = None, tls: TlsOptions | None = None
) -> ConnectionSettings:
    """With the defaults of a client."""
    return connection_settings(address, api_key, timeout_s=60, max_retries=2, tls=tls)


@pytest.mark.parametrize(
    ("address", "target", "encrypted"),
    [
        ("mesh.example:8443", "mesh.example:8443", False),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080", False),
        ("http://mesh", "mesh:80", False),
        ("https://mesh", "mesh:443", True),
        (" https://mesh:8443 ", "mesh:8443", True),
        ("[::1]:8080", "[::1]:8080", False),
        ("https://[2001:db8::1]", "[2001:db8::1]:443", True),
    ],
)
def test_addresses_state_target_and_encryption(address: str, target: str, encrypted: bool) -> None:
    made = settings(address)
    assert (made.target, made.tls is not None) == (target, encrypted)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "mesh",
        "mesh:0",
        "mesh:port",
        "mesh:70000",
        "ftp://mesh:1",
        "http://",
        "https://mesh:1/v1",
        "mesh:1/v1",
        "https://mesh:1?a=b",
        "https://user@mesh:1",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        settings(address)
    assert failed.value.reason == "INVALID_ADDRESS"


def test_tls_options_encrypt_an_address_without_scheme_and_contradict_plain_text() -> None:
    assert settings("mesh:1", tls=TlsOptions()).tls is not None
    with pytest.raises(InvalidRequestError, match="plain text"):
        settings("http://mesh:1", tls=TlsOptions())


@pytest.mark.parametrize("key", ["two\nlines", "naïve", "tab\there"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        settings(api_key=key)
    assert failed.value.reason == "INVALID_API_KEY"
    assert key not in str(failed.value)


def test_the_key_is_in_no_representation() -> None:
    assert "im_1_secret" not in repr(settings(api_key="im_1_secret\n"))
    assert settings(api_key="im_1_secret\n").api_key == "im_1_secret"


@pytest.mark.parametrize("timeout_s", [0, -1, float("inf"), float("nan")])
def test_a_time_out_is_a_positive_number_of_seconds(timeout_s: float) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        Client("mesh:1", timeout_s=timeout_s)
    assert failed.value.reason == "INVALID_TIMEOUT"


@pytest.mark.parametrize("max_retries", [-1, 5])
def test_grpc_cannot_retry_more_often_than_four_times(max_retries: int) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        Client("mesh:1", max_retries=max_retries)
    assert failed.value.reason == "INVALID_MAX_RETRIES"


def test_root_certificates_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError) as failed:
        Client("https://mesh:1", tls=TlsOptions(root_certificates_file=tmp_path / "absent"))
    assert failed.value.reason == "ROOT_CERTIFICATES_UNREADABLE"
    assert str(tmp_path / "absent") in failed.value.message


def test_a_proxy_of_the_environment_is_not_used_for_this_machine() -> None:
    direct = ("grpc.enable_http_proxy", 0)
    assert direct in channel_options(settings("127.0.0.1:1"))
    assert direct in channel_options(settings("http://localhost:1"))
    assert direct not in channel_options(settings("mesh.example:1"))
