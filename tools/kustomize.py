"""Makes deploy/kustomize out of the chart, so that both are one description.

`base` is the chart's rendering with `base/values.yaml`. A component is what its own `values.yaml`
changes of that. The values are written by hand, and so are the overlays; the rest is generated.

    python -m tools.kustomize generate      # writes
    python -m tools.kustomize check         # exit 1 when something is out of step
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.cluster_tools import ROOT, helm_path
from tools.manifest_diff import Object, merge_patch

CHART = ROOT / "deploy" / "helm" / "infermesh"
KUSTOMIZE = ROOT / "deploy" / "kustomize"
NAMESPACE = "infermesh"
HEADER = "# Made by `make kustomize` from the chart and values.yaml.\n"
# ConfigMaps whose files are settings: each component adds a file of its own, read after the others.
SETTINGS = {"infermesh-config": "infermesh", "infermesh-envoy": "parameters"}
_GENERATED = ("kustomization.yaml", "resources.yaml", "patches", "settings")
_CHECKSUM = "checksum/"
_WORKLOADS = "Deployment|StatefulSet"
Key = tuple[str, str]


def rendered(values: Iterable[Path]) -> dict[Key, Object]:
    """The objects of the chart, by kind and name, with the values files in their order."""
    command = [str(helm_path()), "template", "infermesh", str(CHART), "--namespace", NAMESPACE]
    for file in values:
        command += ["--values", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"helm template: {done.stderr.strip()}")
    objects = {}
    for document in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader):
        if document and not _is_hook(document):
            objects[document["kind"], document["metadata"]["name"]] = _plain(document)
    return objects


def _is_hook(document: Object) -> bool:
    return any(name.startswith("helm.sh/hook") for name in _annotations(document))


def _annotations(document: Object) -> dict[str, str]:
    found: dict[str, str] = document["metadata"].get("annotations") or {}
    return found


def _plain(document: Object) -> Object:
    """Without what only helm needs: who manages it, and sums that make pods roll.

    Kustomize names the settings by a sum of their own.
    """
    metadata = document["metadata"]
    metadata.get("labels", {}).pop("app.kubernetes.io/managed-by", None)
    for holder in (metadata, document.get("spec", {}).get("template", {}).get("metadata", {})):
        holder.get("labels", {}).pop("app.kubernetes.io/managed-by", None)
        annotations = holder.get("annotations") or {}
        for name in list(annotations):
            if name.startswith((_CHECKSUM, "helm.sh/", "meta.helm.sh/")):
                del annotations[name]
        if not annotations:
            holder.pop("annotations", None)
    return document


def settings_of(document: Object) -> dict[str, Any]:
    """The settings that a ConfigMap holds in its one file."""
    (text,) = document["data"].values()
    settings: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    return settings


def files_of_base(objects: Mapping[Key, Object]) -> dict[str, str]:
    """Files of `base` by their paths in it."""
    files, maps = {}, []
    for name, stem in SETTINGS.items():
        path = f"settings/10-{stem}.yaml"
        files[path] = _dump(settings_of(objects["ConfigMap", name]))
        maps.append({"name": name, "files": [path]})
    others = [o for k, o in objects.items() if k not in {("ConfigMap", name) for name in SETTINGS}]
    files["resources.yaml"] = _dump_all(others)
    crds = sorted(path.name for path in (CHART / "crds").glob("*.yaml"))
    files["kustomization.yaml"] = _dump(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": NAMESPACE,
            "resources": ["resources.yaml", *(f"crds/{name}" for name in crds)],
            "configMapGenerator": maps,
        }
    )
    for name in crds:
        files[f"crds/{name}"] = (CHART / "crds" / name).read_text()
    return files


def files_of_component(
    name: str, base: Mapping[Key, Object], new: Mapping[Key, Object]
) -> dict[str, str]:
    """Files of a component by their paths in it."""
    files: dict[str, str] = {}
    kustomization: Object = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
    }
    if added := [new[key] for key in new if key not in base]:
        files["resources.yaml"] = _dump_all(added)
        kustomization["resources"] = ["resources.yaml"]
    if maps := list(_settings_files(name, base, new, files)):
        kustomization["configMapGenerator"] = maps
    if patches := list(_patches(base, new, files)):
        kustomization["patches"] = patches
    files["kustomization.yaml"] = _dump(kustomization)
    return files


def _settings_files(
    name: str, base: Mapping[Key, Object], new: Mapping[Key, Object], files: dict[str, str]
) -> Iterator[Object]:
    for config, stem in SETTINGS.items():
        key = ("ConfigMap", config)
        operations: list[Object] = []
        changed = merge_patch(settings_of(base[key]), settings_of(new[key]), operations)
        for operation in operations:
            # A list of settings has no names: it is stated as a whole.
            _put(changed, operation["path"].split("/")[1:], settings_of(new[key]))
        if changed:
            path = f"settings/50-{stem}-{name}.yaml"
            files[path] = _dump(changed)
            yield {"name": config, "behavior": "merge", "files": [path]}


def _put(changed: Object, path: list[str], whole: Any) -> None:
    """Copies what stands at `path` of `whole`, up to the first list, into `changed`."""
    for part in path[:-1]:
        if not isinstance(whole[part], dict):
            changed[part] = whole[part]
            return
        changed, whole = changed.setdefault(part, {}), whole[part]
    changed[path[-1]] = whole[path[-1]]


def _patches(
    base: Mapping[Key, Object], new: Mapping[Key, Object], files: dict[str, str]
) -> Iterator[Object]:
    for (kind, name), old in base.items():
        if kind == "ConfigMap" and name in SETTINGS:
            continue
        # A component may have put one in place of the other.
        kinds = _WORKLOADS if kind in _WORKLOADS.split("|") else kind
        target = {"kind": kinds, "name": name}
        stem = f"patches/{kind.lower()}-{name.removeprefix('infermesh-')}"
        if (kind, name) not in new:
            head = {"apiVersion": old["apiVersion"], "kind": kind, "metadata": {"name": name}}
            files[f"{stem}.yaml"] = _dump({**head, "$patch": "delete"})
            yield {"path": f"{stem}.yaml", "target": {"kind": kind, "name": name}}
            continue
        operations: list[Object] = []
        patch = merge_patch(old, new[kind, name], operations)
        if patch:
            head = {"apiVersion": old["apiVersion"], "kind": kind}
            metadata = {**patch.pop("metadata", {}), "name": name}
            files[f"{stem}.yaml"] = _dump({**head, "metadata": metadata, **patch})
            yield {"path": f"{stem}.yaml", "target": target}
        if operations:
            files[f"{stem}-lists.yaml"] = _dump(operations)
            yield {"path": f"{stem}-lists.yaml", "target": target}


def _dump(value: object) -> str:
    return HEADER + yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, width=120)


def _dump_all(values: Iterable[object]) -> str:
    text = yaml.dump_all(values, Dumper=yaml.CSafeDumper, sort_keys=False, width=120)
    return HEADER + text


def generate(folder: Path) -> None:
    """Writes everything that is generated below `folder`, in which the values files stand."""
    values = folder / "base" / "values.yaml"
    base = rendered([values])
    _write(folder / "base", files_of_base(base))
    for component in sorted((folder / "components").iterdir()):
        new = rendered([values, component / "values.yaml"])
        _write(component, files_of_component(component.name, base, new))


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name in (*_GENERATED, "crds"):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def differing(folder: Path) -> list[str]:
    """Files that are not what would be generated."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary) / "kustomize"
        shutil.copytree(folder, fresh)
        generate(fresh)
        paths = {p.relative_to(r) for r in (folder, fresh) for p in r.rglob("*") if p.is_file()}
        return sorted(str(path) for path in paths if _text(folder / path) != _text(fresh / path))


def _text(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def main(arguments: list[str]) -> int:
    """Writes, or says what is out of step."""
    if arguments == ["generate"]:
        generate(KUSTOMIZE)
        return 0
    if arguments != ["check"]:
        print("say generate or check", file=sys.stderr)
        return 2
    if wrong := differing(KUSTOMIZE):
        print(
            "deploy/kustomize is out of step with the chart: run `make kustomize`", file=sys.stderr
        )
        print("\n".join(f"  {path}" for path in wrong), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
