"""Calls of Vault or OpenBao through hvac. They block: see `vault` for who makes them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from infermesh_common.secrets.faults import Fault, Reason, SecretError
from infermesh_common.settings import VaultSettings

_Answer = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a token is good for.

    Attributes:
        ttl_s: from now on; 0 for ever.
        renewable: whether that can be prolonged.
    """

    ttl_s: float
    renewable: bool


@dataclass(frozen=True, slots=True, repr=False)
class Entries:
    """What stands at a path. Has no text form, for it holds secrets.

    Attributes:
        version: of the secret, counted by Vault from 1 on.
        values: by key.
    """

    version: int
    values: Mapping[str, object]


class Denied(Exception):
    """Vault does not let the token do this, or does not know the token."""


class Vault(Protocol):
    """What is asked of Vault. Every method may raise SecretError: Vault cannot be asked."""

    def login(self) -> Lease:
        """Gets a token; SecretError also when Vault refuses."""

    def renew(self) -> Lease:
        """Prolongs the token.

        Raises:
            Denied: it is dead.
        """

    def knows_token(self) -> bool:
        """Whether the token is alive."""

    def read(self, path: str) -> Entries | None:
        """The latest version of what stands there, if anything does.

        Raises:
            Denied: the token may not read it, or is dead.
        """

    def close(self) -> None:
        """Gives the token back, if it can be, and closes connections."""


class HvacVault:
    """Implements `Vault`. One thread may use it at a time.

    Args:
        settings: of Vault. Each step of a call, connecting and waiting for bytes, may take
            `timeout_ms`, in whole seconds.
    """

    def __init__(self, settings: VaultSettings) -> None:
        # Here, because it takes a third of a second and 22 MB that most deployments need not spend.
        import hvac
        import requests

        self._settings = settings
        self._session = requests.Session()
        # No proxy, CA or password of the environment: the settings say it all.
        self._session.trust_env = False
        self._session.verify = str(settings.ca_file) if settings.ca_file else True
        self._client = hvac.Client(
            url=settings.address,
            token="",
            timeout=math.ceil(settings.timeout_ms / 1000),
            session=self._session,
        )

    def login(self) -> Lease:
        """See `Vault.login`."""
        auth = self._settings.auth
        jwt = _token(auth.token_file)
        # Vault looks at a token that comes along, even a dead one.
        self._client.token = ""
        try:
            answer = self._asked(
                lambda: self._client.auth.kubernetes.login(
                    auth.role, jwt, use_token=False, mount_point=auth.mount
                )
            )
        except (Denied, _Refused):
            raise SecretError(
                Fault(
                    Reason.VAULT_LOGIN_REFUSED,
                    f'Vault refuses the login with the role "{auth.role}" at "auth/{auth.mount}": '
                    "check that there is such a role, and its ServiceAccounts, namespaces and "
                    "audience.",
                )
            ) from None
        self._client.token = str(_part(answer, "auth").get("client_token"))
        return _lease(answer)

    def renew(self) -> Lease:
        """See `Vault.renew`."""
        try:
            return _lease(self._asked(self._client.auth.token.renew_self))
        except _Refused:
            raise Denied from None

    def knows_token(self) -> bool:
        """See `Vault.knows_token`."""
        try:
            self._asked(self._client.auth.token.lookup_self)
        except (Denied, _Refused):
            return False
        return True

    def read(self, path: str) -> Entries | None:
        """See `Vault.read`."""
        mount = self._settings.kv_mount
        try:
            answer = self._asked(
                lambda: self._client.secrets.kv.v2.read_secret_version(
                    path, mount_point=mount, raise_on_deleted_version=True
                )
            )
        except _Refused as refused:
            if refused.absent:
                return None
            raise _failed(f"does not read {mount}/{path}") from None
        content = _part(answer, "data")
        version = _part(content, "metadata").get("version")
        if not isinstance(version, int):
            raise _failed(f'has no KV engine of version 2 at "{mount}"')
        return Entries(version, _part(content, "data"))

    def close(self) -> None:
        """See `Vault.close`."""
        try:
            if self._client.token:
                self._asked(self._client.auth.token.revoke_self)
        except (SecretError, Denied, _Refused):
            return  # it ends by itself when its time is over
        finally:
            self._session.close()

    def _asked(self, call: Callable[[], object]) -> _Answer:
        """The answer to a call; empty when it has none.

        What Vault says of an error is not repeated: nobody knows what it quotes.
        """
        import hvac.exceptions
        import requests

        try:
            answer = call()
        except requests.exceptions.SSLError:
            raise _failed("shows a certificate that is not trusted: check ca_file") from None
        except requests.exceptions.RequestException as error:
            address = self._settings.address
            raise _failed(f"cannot be reached at {address} ({type(error).__name__})") from None
        except OSError:
            raise _failed("cannot be asked: ca_file cannot be read") from None
        except hvac.exceptions.VaultDown as error:
            if "sealed" in str(error.args).lower():
                raise SecretError(Fault(Reason.VAULT_SEALED, "Vault is sealed.")) from None
            raise _failed("is not in service") from None
        except hvac.exceptions.Forbidden:
            raise Denied from None
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Unauthorized):
            raise _Refused(absent=False) from None
        except hvac.exceptions.InvalidPath:
            raise _Refused(absent=True) from None
        except hvac.exceptions.VaultError as error:
            raise _failed(f"answers with an error ({type(error).__name__})") from None
        return cast("_Answer", answer) if isinstance(answer, dict) else {}


class _Refused(Exception):
    """Vault does not do what it is asked.

    Attributes:
        absent: there is nothing at the path.
    """

    def __init__(self, *, absent: bool) -> None:
        super().__init__()
        self.absent = absent


def _failed(what: str) -> SecretError:
    return SecretError(Fault(Reason.VAULT_UNAVAILABLE, f"Vault {what}."))


def _part(answer: _Answer, name: str) -> _Answer:
    part = answer.get(name)
    return cast("_Answer", part) if isinstance(part, dict) else {}


def _lease(answer: _Answer) -> Lease:
    auth = _part(answer, "auth")
    ttl_s = auth.get("lease_duration")
    if not isinstance(ttl_s, int) or not auth.get("client_token"):
        raise _failed("gives no token where it should")
    return Lease(float(ttl_s), auth.get("renewable") is True)


def _token(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = f"The token of the ServiceAccount, {file}, cannot be read ({type(error).__name__})."
        raise SecretError(Fault(Reason.VAULT_LOGIN_REFUSED, said)) from None
