"""Renders the Helm chart: what its tests look at, and its golden files.

    python -m tools.chart lint      helm's own checks, warnings included
    python -m tools.chart check     the golden files are what the chart renders
    python -m tools.chart update    writes them anew

A golden case is a folder below deploy/helm/tests/golden: values.yaml is given to the chart,
rendered.yaml is what comes out; of all cases but `trial`, the chart without values, only what
differs from that one. What the chart makes up anew each time (secrets, certificates) stands there
as <generated>.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from tools.cluster_tools import ToolMissing, helm_path

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy/helm/infermesh"
GOLDEN = ROOT / "deploy/helm/tests/golden"
BASE = "trial"
"""The case that the others are compared with."""
RELEASE = "infermesh"
NAMESPACE = "mesh"
KUBE_VERSION = "1.34.0"
GENERATED = "<generated>"
_VOLATILE = ("checksum/secrets", "infermesh.dev/renew-after")
# Readers of what is rendered need no cluster, and must not happen to find one.
_NO_CLUSTER = {"KUBECONFIG": "/dev/null", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}

Object = dict[str, object]


class ChartError(RuntimeError):
    """Helm refused. The text is what it said."""


def helm(*arguments: str) -> str:
    """Runs helm without a cluster; what it printed.

    Raises:
        ChartError: it failed.
    """
    with tempfile.TemporaryDirectory() as home:
        folders = {f"HELM_{kind}_HOME": home for kind in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(helm_path()), *arguments],
            capture_output=True,
            text=True,
            env=_NO_CLUSTER | folders,
            check=False,
        )
    if done.returncode != 0:
        raise ChartError((done.stderr or done.stdout).strip())
    return done.stdout


def render(
    values: Mapping[str, object] | None = None,
    *,
    files: Sequence[Path] = (),
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    kube_version: str = KUBE_VERSION,
) -> list[Object]:
    """The objects of a release, in helm's order.

    Args:
        values: over those of the chart and of `files`.
        files: with values.
        release: its name.
        namespace: where it would be installed.
        kube_version: of the cluster it would be installed in.

    Raises:
        ChartError: the values are refused, or the chart is wrong.
    """
    command = ["template", release, str(CHART), "--namespace", namespace]
    command += ["--kube-version", kube_version]
    for file in files:
        command += ["--values", str(file)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as given:
        yaml.safe_dump(dict(values or {}), given)
        given.flush()
        text = helm(*command, "--values", given.name)
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def masked(objects: Sequence[Object]) -> list[Object]:
    """The same without what differs from one rendering to the next."""
    return [_masked(part) for part in objects]


def _masked(part: Object) -> Object:
    part = dict(part)
    if part["kind"] == "Secret":
        for field in ("data", "stringData"):
            values = part.get(field)
            if isinstance(values, dict):
                part[field] = dict.fromkeys(values, GENERATED)
    if part["kind"] == "ConfigMap" and isinstance(data := part.get("data"), dict):
        part["data"] = {name: _referred(str(text)) for name, text in data.items()}
    return _without_volatile(part)


def _referred(text: str) -> str:
    """Long files of the chart stand once in the repository."""
    for file in (CHART / "dashboards").iterdir():
        if text.strip() == file.read_text("utf-8").strip():
            return f"<{file.relative_to(CHART)}>"
    return text


def _without_volatile(part: Object) -> Object:
    result: Object = {}
    for name, value in part.items():
        if name in _VOLATILE:
            result[name] = GENERATED
        elif isinstance(value, dict):
            result[name] = _without_volatile(value)
        else:
            result[name] = value
    return result


class _Dumper(yaml.CSafeDumper):
    """Texts of several lines as such, and no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def identifier(part: Object) -> str:
    """Kind and name of an object."""
    metadata = part["metadata"]
    return f"{part['kind']}/{metadata['name'] if isinstance(metadata, dict) else ''}"


def as_text(objects: Sequence[Object], base: Sequence[Object] = ()) -> str:
    """Objects as a golden file has them: masked, and of those in `base` only what differs."""
    known = {identifier(part): part for part in masked(base)}
    found = masked(objects)
    gone = set(known) - {identifier(part) for part in found}
    changed = [part for part in found if known.get(identifier(part)) != part]
    text = "".join(f"# not rendered: {name}\n" for name in sorted(gone))
    return text + yaml.dump_all(
        changed, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True
    )


def cases() -> list[str]:
    """Names of the golden cases."""
    return sorted(path.parent.name for path in GOLDEN.glob("*/values.yaml"))


def values_of(case: str) -> Path:
    """The values of a golden case."""
    return GOLDEN / case / "values.yaml"


def rendered_of(case: str) -> Path:
    """What the chart rendered of them."""
    return GOLDEN / case / "rendered.yaml"


def golden_texts() -> Iterator[tuple[str, str]]:
    """Each case, and what its rendered.yaml should say."""
    base = render(files=[values_of(BASE)])
    for case in cases():
        objects = base if case == BASE else render(files=[values_of(case)])
        yield case, as_text(objects, () if case == BASE else base)


def differences() -> Iterator[str]:
    """What to say of each golden file that is not what the chart renders."""
    for case, text in golden_texts():
        wanted = rendered_of(case)
        if not wanted.exists():
            yield f"{wanted.relative_to(ROOT)} is missing"
        elif wanted.read_text("utf-8") != text:
            yield f"{wanted.relative_to(ROOT)} is not what the chart renders"
    for folder in sorted(GOLDEN.iterdir()):
        if not (folder / "values.yaml").exists():
            yield f"{folder.relative_to(ROOT)} has no values.yaml"


def lint() -> int:
    """Helm's checks of the chart with the values of every case."""
    arguments = ["lint", "--strict", str(CHART), "--kube-version", KUBE_VERSION]
    for case in cases():
        helm(*arguments, "--values", str(values_of(case)))
    print(helm(*arguments).strip())
    return 0


def check() -> int:
    """Prints what differs; 1 if anything does."""
    found = list(differences())
    for line in found:
        print(line, file=sys.stderr)
    if found:
        print("Look at what changed, then: python -m tools.chart update", file=sys.stderr)
    return 1 if found else 0


def update() -> int:
    """Writes the golden files."""
    for case, text in golden_texts():
        rendered_of(case).write_text(text, "utf-8")
    return 0


def main(arguments: Sequence[str]) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.chart", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("command", choices=["lint", "check", "update"])
    command: str = parser.parse_args(arguments).command
    try:
        return {"lint": lint, "check": check, "update": update}[command]()
    except (ChartError, ToolMissing) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
