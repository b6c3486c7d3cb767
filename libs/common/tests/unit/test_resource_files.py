"""No file, however broken or hostile, harms the process or the resources of the other files."""

import json
from pathlib import Path

import pytest
import yaml

from infermesh_common.resources.resource_set import ResourceSet
from infermesh_common.resources.store import ResourceStore
from infermesh_common.telemetry.logs import configure_logs
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.resources import Document, resource

SECRET = "hunter2"
BASE = [resource("RoutePolicy", "default"), resource("CachePolicy", "default")]


def write(folder: Path, name: str, *documents: Document) -> None:
    (folder / name).write_text(yaml.safe_dump_all(documents))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with two valid files."""
    resources = tmp_path / "resources"
    resources.mkdir()
    write(resources, "base.yaml", *BASE)
    write(resources, "tenants.yml", resource("Tenant", "acme"))
    return resources


@pytest.fixture
def store(folder: Path, metrics: Metrics) -> ResourceStore:
    """Those resources, in force."""
    store = ResourceStore(folder, metrics)
    store.load()
    assert store.current.faults == ()
    return store


def laughs(depth: int = 12, width: int = 10) -> str:
    """A billion laughs: small as text, 10**12 items when written out."""
    lines = ["a0: &a0 [x]"]
    for number in range(1, depth):
        items = ", ".join([f"*a{number - 1}"] * width)
        lines.append(f"a{number}: &a{number} [{items}]")
    return "\n".join(lines)


def bomb(field: str) -> str:
    """A Tenant that holds the bomb in one field, under anchors of its own."""
    inside = "\n".join("  " + line for line in laughs().splitlines())
    tenant = {
        "kind": "apiVersion: infermesh.dev/v1alpha1\nkind: *a11\nmetadata: {name: acme}",
        "name": "apiVersion: infermesh.dev/v1alpha1\nkind: Tenant\nmetadata: {name: *a11}",
        "labels": "apiVersion: infermesh.dev/v1alpha1\nkind: Tenant\n"
        "metadata: {name: acme, labels: {a: *a11}}",
        "models": "apiVersion: infermesh.dev/v1alpha1\nkind: Tenant\nmetadata: {name: acme}\n"
        "spec: {allowedModels: *a11}",
    }[field]
    return f"x:\n{inside}\n{tenant}\n"


HOSTILE = {
    "not yaml": b"kind: [",
    "tabs": b"kind:\t- a\n\t- b",
    "undefined alias": f"kind: *{SECRET}".encode(),
    "unknown tag": f"kind: !{SECRET} x".encode(),
    "python object": b"!!python/object/apply:os.system ['true']",
    "latin-1": "kind: Ten\xe4nt".encode("latin-1"),
    "utf-16 cut short": "kind: Tenant".encode("utf-16")[:-1],
    "nul byte": b"kind: \x00",
    "no date": b"day: 2024-99-99",
    "huge number": b"number: " + b"1" * 10_000,
    "list as key": b"? [a, b]\n: c",
    "deep lists": b"[" * 200_000,
    "deep mappings": b"{a: " * 200_000,
    "deep blocks": "\n".join(" " * depth + "a:" for depth in range(1500)).encode(),
    "recursive": b"&a [*a]",
    "only a scalar": b"just text",
    "a list": b"- kind: Tenant",
    "no kind": b"metadata: {name: acme}",
    "numbers as keys": b"1: 2\nnull: 3",
    "bomb as kind": bomb("kind").encode(),
    "bomb as name": bomb("name").encode(),
    "bomb as labels": bomb("labels").encode(),
    "bomb as models": bomb("models").encode(),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_broken_file_keeps_what_it_held_and_harms_no_other(
    what: str, folder: Path, store: ResourceStore, metrics: Metrics
) -> None:
    before = store.current
    (folder / "tenants.yml").write_bytes(HOSTILE[what])
    store.load()
    assert store.current.by_key == before.by_key
    assert store.current.revision == before.revision
    (found,) = store.current.faults
    assert found.where == "tenants.yml" and SECRET not in found.message
    assert metrics.sample("infermesh_resources_invalid") == 1
    # Mended, it counts again.
    write(folder, "tenants.yml", resource("Tenant", "globex"))
    store.load()
    assert list(store.current.tenants) == ["globex"] and store.current.faults == ()
    assert metrics.sample("infermesh_resources_invalid") == 0


@pytest.mark.parametrize("what", HOSTILE)
def test_a_new_broken_file_adds_only_a_fault(what: str, folder: Path, store: ResourceStore) -> None:
    before = store.current
    (folder / "new.yaml").write_bytes(HOSTILE[what])
    store.load()
    assert store.current.by_key == before.by_key
    assert [found.where for found in store.current.faults] == ["new.yaml"]


def test_empty_files_and_documents_are_nothing(folder: Path, store: ResourceStore) -> None:
    (folder / "empty.yaml").write_text("")
    (folder / "comment.yaml").write_text("# nothing yet\n---\n---\n")
    store.load()
    assert store.current.faults == ()


def test_only_yaml_files_of_the_directory_itself_are_read(
    folder: Path, store: ResourceStore
) -> None:
    for name in ("notes.txt", ".base.yaml.swp", "base.yaml~", "base.json"):
        (folder / name).write_text("kind: [")
    (folder / "nested").mkdir()
    (folder / "nested" / "more.yaml").write_text("kind: [")
    (folder / "folder.yaml").mkdir()
    store.load()
    assert store.current.faults == ()


def test_a_file_that_cannot_be_read_any_more_keeps_what_it_held(
    folder: Path, store: ResourceStore
) -> None:
    before = store.current
    path = folder / "tenants.yml"
    path.unlink()
    path.symlink_to(folder / "nowhere.yml")
    store.load()
    assert store.current.tenants == {}, "a dangling link is a file that is gone"
    path.unlink()
    write(folder, "tenants.yml", resource("Tenant", "acme"))
    store.load()
    assert store.current.revision == before.revision


def test_a_fault_names_file_and_line_or_field_but_no_value(
    folder: Path, store: ResourceStore, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("test", "INFO")
    (folder / "broken.yaml").write_text(f"a: 1\nb: *{SECRET}\n")
    write(folder, "wrong.yaml", resource("Tenant", "x", suspended=SECRET))
    store.load()
    broken, wrong = store.current.faults
    assert (broken.where, broken.message) == (
        "broken.yaml",
        "cannot be read: ComposerError at line 2",
    )
    assert wrong.where == "wrong.yaml" and wrong.message.startswith("spec.suspended: ")
    output = capsys.readouterr().out
    assert SECRET not in output
    refused = [json.loads(line) for line in output.splitlines() if "resource_refused" in line]
    assert {line["where"] for line in refused} == {"broken.yaml", "wrong.yaml"}


def test_listeners_are_told_at_once_and_then_of_changes_only(
    folder: Path, store: ResourceStore
) -> None:
    seen: list[ResourceSet] = []
    store.subscribe(seen.append)
    assert seen == [store.current]
    store.load()
    (folder / "broken.yaml").write_text("kind: [")
    store.load()
    assert len(seen) == 1, "nothing that is in force has changed"
    write(folder, "tenants.yml", resource("Tenant", "globex"))
    store.load()
    assert len(seen) == 2 and seen[-1] is store.current


def test_a_listener_that_fails_does_not_keep_the_news_from_the_others(
    folder: Path, store: ResourceStore
) -> None:
    seen: list[ResourceSet] = []
    told: list[int] = []

    def fails_later(current: ResourceSet) -> None:
        told.append(len(current.tenants))
        if len(told) > 1:
            raise ValueError

    store.subscribe(fails_later)
    store.subscribe(seen.append)
    write(folder, "tenants.yml")
    with pytest.raises(ExceptionGroup):
        store.load()
    assert told == [1, 0] and seen[-1] is store.current
