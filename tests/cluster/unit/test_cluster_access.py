"""Which cluster is used, and how images get there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster.fake_commands import Commands
from tests.cluster.access import KITS_HOST, Cluster, NoCluster, reach
from tests.cluster.loaders import CommandLoader, ImageLoader, Provided, loader_for, provide
from tests.cluster.settings import SettingsWrong, read_settings
from tools.images.builders import Builder, Buildah, Kit
from tools.images.catalogue import Image

HELM, KUBECTL = Path("/helm"), Path("/kubectl")
NODES = {
    "items": [
        {
            "status": {
                "addresses": [
                    {"type": "Hostname", "address": "node"},
                    {"type": "InternalIP", "address": "192.0.2.7"},
                ]
            }
        }
    ]
}


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    for name in ("up", "lib.sh", "load-image", "build-image"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def answers(commands: Commands) -> Commands:
    commands.answer("get nodes", NODES)
    commands.answer("lib.sh", "KUBECONFIG=/kit/admin.conf\n")
    return commands


def test_without_variables_tests_need_no_cluster_and_images_are_built(tmp_path: Path) -> None:
    settings = read_settings({}, tmp_path / "repository")
    assert not settings.enabled and settings.build and not settings.keep
    assert settings.kubeconfig is None and settings.kit is None and settings.values == ()


def test_variables_are_read(kit: Path) -> None:
    settings = read_settings(
        {
            "INFERMESH_CLUSTER_TESTS": "1",
            "KUBECONFIG": "/a:/b",
            "INFERMESH_CLUSTER_KIT": str(kit),
            "INFERMESH_CLUSTER_IMAGES": "kind",
            "INFERMESH_CLUSTER_NAME": "ci",
            "INFERMESH_CLUSTER_BUILD": "no",
            "INFERMESH_CLUSTER_NODE": "192.0.2.9",
            "INFERMESH_CLUSTER_VALUES": "/v.yaml:/w.yaml",
            "INFERMESH_CLUSTER_KEEP": "yes",
        }
    )
    assert settings.enabled and settings.keep and not settings.build
    assert (settings.kubeconfig, settings.kit) == (Path("/a"), kit)
    assert (settings.loader, settings.cluster_name) == ("kind", "ci")
    assert settings.values == (Path("/v.yaml"), Path("/w.yaml"))
    assert settings.node_address == "192.0.2.9"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INFERMESH_CLUSTER_IMAGES", "docker"),
        ("INFERMESH_CLUSTER_IMAGES", "kit"),
        ("INFERMESH_CLUSTER_TESTS", "maybe"),
    ],
)
def test_a_value_that_cannot_be_is_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsWrong, match=name):
        read_settings({name: value}, tmp_path / "repository")


def test_the_kit_is_brought_up_when_no_cluster_is_named(kit: Path, answers: Commands) -> None:
    settings = read_settings({"INFERMESH_CLUSTER_KIT": str(kit)})
    cluster = reach(settings, HELM, KUBECTL, answers)
    assert str(kit / "up") in answers.run
    assert cluster == Cluster(Path("/kit/admin.conf"), "192.0.2.7", KITS_HOST, True, HELM, KUBECTL)
    assert cluster.kubectl("x").namespace == "x"
    cluster.helm("x")


def test_a_cluster_that_is_named_is_taken_and_nothing_brought_up(
    kit: Path, answers: Commands
) -> None:
    settings = read_settings({"INFERMESH_CLUSTER_KIT": str(kit), "KUBECONFIG": "/mine"})
    cluster = reach(settings, HELM, KUBECTL, answers)
    assert str(kit / "up") not in answers.run
    assert cluster == Cluster(Path("/mine"), "", "", False, HELM, KUBECTL)


def test_the_kits_cluster_is_known_when_it_is_named(kit: Path, answers: Commands) -> None:
    settings = read_settings({"INFERMESH_CLUSTER_KIT": str(kit), "KUBECONFIG": "/kit/admin.conf"})
    assert reach(settings, HELM, KUBECTL, answers).is_kits


def test_no_cluster_at_all_is_said(tmp_path: Path, answers: Commands) -> None:
    with pytest.raises(NoCluster, match="KUBECONFIG"):
        reach(read_settings({}, tmp_path / "repository"), HELM, KUBECTL, answers)


def loader(kit: Path, commands: Commands, is_kits: bool, **variables: str) -> ImageLoader | None:
    settings = read_settings({"INFERMESH_CLUSTER_KIT": str(kit), **variables})
    return loader_for(settings, Cluster(Path("/c"), "", "", is_kits, HELM, KUBECTL), commands)


@pytest.mark.parametrize(
    ("chosen", "command"),
    [
        ("kind", "kind load image-archive /a.tar --name ci"),
        ("minikube", "minikube image load /a.tar -p ci"),
    ],
)
def test_an_archive_gets_onto_the_nodes(
    kit: Path, commands: Commands, chosen: str, command: str
) -> None:
    variables = {"INFERMESH_CLUSTER_IMAGES": chosen, "INFERMESH_CLUSTER_NAME": "ci"}
    found = loader(kit, commands, False, **variables)
    assert found is not None
    found.load(Path("/a.tar"))
    assert commands.run == [command]


def test_the_kits_cluster_is_loaded_by_the_kit_and_others_by_nobody(
    kit: Path, commands: Commands
) -> None:
    found = loader(kit, commands, True)
    assert found is not None
    found.load(Path("/a.tar"))
    assert commands.run == [f"{kit}/load-image /a.tar"]
    assert loader(kit, commands, False) is None
    assert loader(kit, commands, True, INFERMESH_CLUSTER_IMAGES="none") is None


def test_images_are_built_saved_and_loaded(kit: Path, commands: Commands) -> None:
    (kit / "f").write_text("FROM base\nCOPY source /there\n")
    (kit / "source").write_text("print()")
    image = Image("router", "infermesh/router:1", Path("f"))
    said: list[str] = []

    def run(command: Sequence[str]) -> str:
        said.append(" ".join(command))
        return ""

    (kit / "lib.sh").write_text("BASE=registry.test/library/python:3.11\n")
    builders: list[Builder] = [Buildah(run, {}), Kit(run, kit)]
    for builder in builders:
        load = CommandLoader(["load"], run=commands)
        provided = Provided(kit / "provided.json", builder.name)
        for _ in range(2):
            found = provide([image], builder, load, kit, provided)
            assert found == {"router": "infermesh/router:1"}
    # The kit's builder has loaded it by itself.
    assert [command.split()[0] for command in commands.run] == ["load"]
    assert said[1].endswith("router.tar:infermesh/router:1")
    # The second time there was nothing to do; after a change there is.
    assert len(said) == 3
    (kit / "source").write_text("print(1)")
    provide([image], builders[1], CommandLoader([]), kit, Provided(kit / "provided.json", "kit"))
    assert len(said) == 4


def test_images_of_another_cluster_are_not_here(tmp_path: Path) -> None:
    image = Image("router", "infermesh/router:1", Path("f"))
    file = tmp_path / "build" / "provided.json"
    Provided(file, "one").add(image, "abc")
    assert Provided(file, "one").has(image, "abc") and not Provided(file, "one").has(image, "abd")
    assert not Provided(file, "two").has(image, "abc")
    file.write_text("not JSON")
    assert not Provided(file, "one").has(image, "abc")
