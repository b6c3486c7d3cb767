"""Runs the cache service."""

import sys

from infermesh_cache.bootstrap import bootstrap
from infermesh_cache.settings import CacheSettings
from infermesh_common.rpc.server import run
from infermesh_common.settings import SettingsError, load_settings


def main() -> int:
    """Runs until told to stop; exit code 2 when the settings cannot be used."""
    try:
        settings = load_settings(CacheSettings, "cache")
        run(lambda: bootstrap(settings))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
