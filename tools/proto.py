"""Generates the stubs in libs/protos from protos/, or checks that they are in step.

python tools/proto.py generate    writes libs/protos/src/infermesh
python tools/proto.py check       lint, breaking changes, drift of the stubs
python tools/proto.py release     makes the current contracts the baseline of `check`
"""

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import google.api
import grpc_tools

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUBS = ROOT / "libs/protos/src/infermesh"
THIRD_PARTY = ROOT / "build/third_party"
BASELINE = ROOT / "protos/baseline.binpb"
DESCRIPTOR = ROOT / "deploy/envoy/src/infermesh_envoy/infermesh.binpb"
BIN = Path(sys.executable).parent


def lay_down_third_party() -> None:
    """Copies google/api and google/rpc out of the googleapis-common-protos wheel."""
    source = Path(next(iter(google.api.__path__))).parent
    for package in ("api", "rpc"):
        target = THIRD_PARTY / "google" / package
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for proto in (source / package).glob("*.proto"):
            shutil.copy(proto, target)


def sources() -> list[str]:
    return sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))


def generate(stubs: Path, descriptor: Path) -> None:
    """Writes stubs below `stubs` and the transcoder's descriptor set to `descriptor`."""
    stubs.mkdir(parents=True, exist_ok=True)
    descriptor.parent.mkdir(parents=True, exist_ok=True)
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    protoc = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"-I{folder}" for folder in (PROTOS, THIRD_PARTY, well_known)),
    ]
    outputs = [
        f"--plugin=protoc-gen-mypy={BIN / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={BIN / 'protoc-gen-mypy_grpc'}",
        *(f"--{out}_out={stubs}" for out in ("python", "grpc_python")),
        *(f"--{out}_out=quiet:{stubs}" for out in ("mypy", "mypy_grpc")),
    ]
    subprocess.run([*protoc, *outputs, *sources()], check=True, cwd=PROTOS)
    # The transcoder also needs the types of error details, which no contract imports.
    described = ["--include_imports", f"--descriptor_set_out={descriptor}", *sources()]
    subprocess.run([*protoc, *described, "google/rpc/error_details.proto"], check=True, cwd=PROTOS)


def differences(left: Path, right: Path) -> list[str]:
    """Files below `right` that differ from, or lack, their counterpart below `left`."""
    names = {p.relative_to(root) for root in (left, right) for p in root.rglob("*_pb2*")}
    names = {name for name in names if "__pycache__" not in name.parts}
    same = [
        name
        for name in names
        if (left / name).is_file()
        and (right / name).is_file()
        and filecmp.cmp(left / name, right / name, shallow=False)
    ]
    return sorted(str(name) for name in names.difference(same))


def check() -> int:
    buf = str(BIN / "buf")
    subprocess.run([buf, "lint", "protos"], check=True, cwd=ROOT)
    against = BASELINE.relative_to(ROOT)
    subprocess.run([buf, "breaking", "protos", "--against", str(against)], check=True, cwd=ROOT)
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh / "stubs", fresh / "infermesh.binpb")
        drift = differences(STUBS, fresh / "stubs/infermesh")
        if not filecmp.cmp(DESCRIPTOR, fresh / "infermesh.binpb", shallow=False):
            drift.append(str(DESCRIPTOR.relative_to(ROOT)))
    if drift:
        print("Out of step with protos/, run `make proto`:", *drift, sep="\n  ", file=sys.stderr)
    return 1 if drift else 0


def main(verb: str) -> int:
    lay_down_third_party()
    if verb == "check":
        return check()
    if verb == "generate":
        for stale in STUBS.rglob("*_pb2*"):
            stale.unlink()
        generate(STUBS.parent, DESCRIPTOR)
        return 0
    if verb == "release":
        buf = str(BIN / "buf")
        subprocess.run([buf, "build", "protos", "-o", str(BASELINE)], check=True, cwd=ROOT)
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
