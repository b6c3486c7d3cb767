"""Secrets as files that only the user can read."""

import os
import secrets
import string
from collections.abc import Callable
from pathlib import Path

from infermesh_local.layout import PRIVATE_FILE

# URL-safe and without "_", which separates the parts of an API key.
_KEY_ALPHABET = string.ascii_letters + string.digits + "-"
_KEY_SECRET_CHARS = 43


def new_password() -> str:
    """256 random bits as 64 hexadecimal digits."""
    return secrets.token_hex(32)


def new_api_key() -> str:
    """An API key `im_<key id>_<secret>`: 16 hexadecimal digits, then 257 random bits."""
    secret = "".join(secrets.choice(_KEY_ALPHABET) for _ in range(_KEY_SECRET_CHARS))
    return f"im_{secrets.token_hex(8)}_{secret}"


def write_private(path: Path, text: str) -> None:
    """Replaces a file by one that only the user can read; at no time is it readable by others
    or half written."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def ensure_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret in a file, made when the file is missing or empty."""
    if path.is_file():
        path.chmod(PRIVATE_FILE)
        if held := path.read_text("utf-8").strip():
            return held
    secret = make()
    write_private(path, secret + "\n")
    return secret
