"""The `infermesh` command."""

import sys

from infermesh.cli.exits import OTHER


def main() -> None:
    """Runs the command line of this process and exits."""
    from infermesh.cli.app import build_app

    try:
        build_app()()
    except Exception as error:
        # The last resort, for defects: whoever types a command is not helped by a traceback.
        sentence = " ".join(str(error).split())
        print(f"Error: unexpected {type(error).__name__}: {sentence}", file=sys.stderr)
        sys.exit(OTHER)
