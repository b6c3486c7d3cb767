"""Prints the Envoy bootstrap of a YAML file of parameters.

    python -m infermesh_envoy parameters.yaml > bootstrap.yaml
    envoy -c bootstrap.yaml --concurrency 2

Exit status 2: the parameters cannot be used; standard error says why.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from infermesh_envoy.errors import ParameterError
from infermesh_envoy.parameters import parameters_from
from infermesh_envoy.render import render


def _read(path: Path) -> dict[str, object]:
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ParameterError([f"{path}: {error.strerror}"]) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError([f"{path}: not YAML: {error}"]) from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ParameterError([f"{path}: must be a mapping of names to values"])
    return values


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m infermesh_envoy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("parameters", type=Path, help="YAML file of the edge's parameters")
    path: Path = parser.parse_args(arguments).parameters
    try:
        bootstrap = render(parameters_from(_read(path)))
    except ParameterError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    sys.stdout.write(bootstrap)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
