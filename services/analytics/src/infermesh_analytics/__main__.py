"""Runs the analytics service: `python -m infermesh_analytics`."""

import sys

from infermesh_analytics.bootstrap import NAME, bootstrap
from infermesh_analytics.settings import AnalyticsSettings
from infermesh_common.rpc.server import run
from infermesh_common.settings import SettingsError, load_settings


def main() -> None:
    """Reads the settings and serves until told to stop."""
    try:
        settings = load_settings(AnalyticsSettings, NAME)
        run(lambda: bootstrap(settings))
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
