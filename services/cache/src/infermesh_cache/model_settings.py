"""Settings that all models behind HTTP have in common."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from infermesh_common.settings import Settings


class HttpModelSettings(Settings):
    """A model behind a service that takes JSON over HTTP.

    Attributes:
        base_url: up to before the path of the interface.
        model: name that the service knows it by.
        api_key_file: holds the API key; None where none is wanted.
        timeout_ms: longest time of a call.
        connect_timeout_ms: of it for connecting.
    """

    base_url: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+[^\s@?#/]$")]
    model: Annotated[str, Field(min_length=1)]
    api_key_file: Path | None = None
    timeout_ms: PositiveInt = 30_000
    connect_timeout_ms: PositiveInt = 2_000
