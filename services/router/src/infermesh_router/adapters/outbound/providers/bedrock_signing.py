"""Proof of who calls AWS: a signature (version 4), or an API key of Bedrock's.

botocore signs. It is loaded with the first signature: few meshes call Bedrock, and it takes much
memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from infermesh_common.errors import Unavailable

_SERVICE = "bedrock"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key of AWS.

    Attributes:
        key_id: its public part.
        secret: its secret part.
        session_token: of temporary credentials; None for lasting ones.
    """

    key_id: str
    secret: str
    session_token: str | None = None


def proof(region: str, url: str, body: bytes, secret: str) -> Mapping[str, str]:
    """Headers of a POST of `body` to `url`.

    Args:
        region: what the signature is for.
        secret: "KEY_ID:SECRET[:SESSION_TOKEN]", or a JSON object with accessKeyId, secretAccessKey
            and sessionToken, or an API key of Bedrock's.

    Raises:
        Unavailable: PROVIDER_KEY_INVALID, the secret is none of these.
    """
    key = access_key_of(secret)
    if key is None:
        return {"authorization": f"Bearer {secret}"}
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    credentials = Credentials(key.key_id, key.secret, key.session_token)
    request = AWSRequest(method="POST", url=url, data=body)
    SigV4Auth(credentials, _SERVICE, region).add_auth(request)
    return {name.lower(): str(value) for name, value in request.headers.items()}


def access_key_of(secret: str) -> AccessKey | None:
    """The access key in `secret`; None when it is an API key of Bedrock's.

    Raises:
        Unavailable: PROVIDER_KEY_INVALID.
    """
    if secret.startswith("{"):
        return _from_json(secret)
    key_id, separator, rest = secret.partition(":")
    if not separator:
        return None
    hidden, _, token = rest.partition(":")
    if not key_id or not hidden:
        raise _invalid()
    return AccessKey(key_id, hidden, token or None)


def _from_json(secret: str) -> AccessKey:
    try:
        value = orjson.loads(secret)
    except orjson.JSONDecodeError:
        raise _invalid() from None
    key_id, hidden = value.get("accessKeyId"), value.get("secretAccessKey")
    token = value.get("sessionToken")
    if not (isinstance(key_id, str) and key_id and isinstance(hidden, str) and hidden):
        raise _invalid()
    return AccessKey(key_id, hidden, token if isinstance(token, str) and token else None)


def _invalid() -> Unavailable:
    return Unavailable("PROVIDER_KEY_INVALID", "The key of a provider is not one of AWS'.")
