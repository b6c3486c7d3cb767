"""Prints the Envoy bootstrap of a YAML file of parameters, or drains a running Envoy.

In place of a file, a folder of them: later ones, by name, win.

    python -m infermesh_envoy parameters.yaml > bootstrap.yaml
    python -m infermesh_envoy parameters.yaml --to folder    # with the files that name certificates
    envoy -c bootstrap.yaml --concurrency 2
    python -m infermesh_envoy drain --admin 127.0.0.1:9901 --seconds 30

Exit status 2: the parameters cannot be used; 1: Envoy cannot be told. Standard error says why.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from infermesh_envoy.drain import Admin, drain
from infermesh_envoy.errors import ParameterError
from infermesh_envoy.parameters import parameters_from
from infermesh_envoy.render import render, write


def _read(path: Path) -> dict[str, object]:
    values: dict[str, object] = {}
    for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
        values |= _read_file(file)
    return values


def _read_file(path: Path) -> dict[str, object]:
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ParameterError([f"{path}: {error.strerror}"]) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError([f"{path}: not YAML: {error}"]) from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ParameterError([f"{path}: must be a mapping of names to values"])
    return values


def _render(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m infermesh_envoy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("parameters", type=Path, help="YAML file of the edge's parameters")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="write bootstrap.yaml here")
    options = parser.parse_args(arguments)
    folder: Path | None = options.to
    try:
        values = _read(options.parameters)
        if folder is None:
            sys.stdout.write(render(parameters_from(values)))
        else:
            write(parameters_from({**values, "sds_path": str(folder.resolve())}), folder.resolve())
    except ParameterError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{folder}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _drain(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m infermesh_envoy drain")
    parser.add_argument(
        "--admin", required=True, metavar="HOST:PORT", help="of the admin interface"
    )
    parser.add_argument("--seconds", required=True, type=float, help="longest time it may take")
    parser.add_argument("--notice-seconds", type=float, default=5.0, help="what balancers take")
    options = parser.parse_args(arguments)
    try:
        done = drain(Admin(options.admin), seconds=options.seconds, notice_s=options.notice_seconds)
    except OSError as error:
        print(f"Envoy at {options.admin} cannot be told: {error}", file=sys.stderr)
        return 1
    print(f"{done.seconds:.1f} s; left: {done.connections} connections, {done.requests} requests")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    if arguments[:1] == ["drain"]:
        return _drain(arguments[1:])
    return _render(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
