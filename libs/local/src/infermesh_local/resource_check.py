"""What is wrong with the resources of a folder, by the rules the services read them by."""

import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from infermesh_common.resources.resource_set import Document, ResourceSet, build

from infermesh_local.reports import Finding, Severity

_SUFFIXES = (".yaml", ".yml")
_REMEDY = "Correct it; it takes effect at once. Until then the last good version is in force."


def resource_findings(folder: Path) -> Iterator[Finding]:
    """Faults of the YAML files, each with the time since its file was changed."""
    if not folder.is_dir():
        return
    documents: list[tuple[str, Document]] = []
    faults: list[tuple[str, str]] = []
    for path in sorted(folder.iterdir()):
        if path.suffix not in _SUFFIXES or not path.is_file():
            continue
        try:
            parsed = list(yaml.load_all(path.read_text("utf-8"), Loader=yaml.CSafeLoader))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            faults.append((path.name, f"cannot be read: {type(error).__name__}"))
            continue
        documents += [(path.name, document) for document in parsed if document is not None]
    resources = build(documents, ResourceSet())
    faults += [(fault.where, fault.message) for fault in resources.faults]
    for where, message in faults:
        what = f"Resource refused: {where}{_age(folder / where)}: {message}."
        yield Finding(Severity.ERROR, what, _REMEDY)
    missing = list(_missing_secrets(resources))
    yield from missing
    if not faults and not missing:
        yield Finding(Severity.OK, f"{len(resources.by_key)} resources in {folder}")


def _missing_secrets(resources: ResourceSet) -> Iterator[Finding]:
    named = [(f"Provider {p.name}", p.spec.auth) for p in resources.providers.values()]
    named += [(f"ApiKey {k.name}", k.spec.secret_ref) for k in resources.api_keys.values()]
    for owner, reference in named:
        file = reference.file if reference is not None else None
        if file is not None and not Path(file).is_file():
            what = f"{owner} names a secret file that does not exist: {file}."
            yield Finding(Severity.ERROR, what, "Write the secret there, readable by you alone.")


def _age(path: Path) -> str:
    """Since when a file is as it is; nothing for what is not a file."""
    try:
        seconds = int(time.time() - path.stat().st_mtime)
    except OSError:
        return ""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f" (changed {seconds // length} {unit} ago)"
    return f" (changed {max(0, seconds)} s ago)"
