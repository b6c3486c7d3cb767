"""Runs the governance service: `python -m infermesh_governance`."""

import sys

from infermesh_common.rpc.server import run
from infermesh_common.settings import SettingsError, load_settings
from infermesh_governance.bootstrap import bootstrap
from infermesh_governance.settings import GovernanceSettings


def main() -> int:
    """Runs until told to stop; exit code 2 when the settings cannot be used."""
    try:
        settings = load_settings(GovernanceSettings, "governance")
        run(lambda: bootstrap(settings))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
