"""The same images come from whatever can build."""

import configparser
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tools.images.builders import Builder, NoBuilder, find_builder, kit_folder, run
from tools.images.catalogue import Image
from tools.images.pip_settings import PipSettings, as_secrets, pip_settings

IMAGE = Image("router", "infermesh/router:1", Path("f.Dockerfile"), {"SERVICE": "router"})
OFFICIAL = Image("redis", "redis:7", Path("redis.Dockerfile"))


class Commands:
    """Remembers commands; answers those that it knows."""

    def __init__(self, answers: dict[str, str] | None = None, broken: tuple[str, ...] = ()) -> None:
        self.answers = answers or {}
        self.broken = broken
        self.run: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> str:
        self.run.append(list(command))
        if command[0] in self.broken:
            raise subprocess.CalledProcessError(1, list(command))
        return next((text for part, text in self.answers.items() if part in command), "")

    @property
    def last(self) -> str:
        return " ".join(self.run[-1])


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    (tmp_path / "lib.sh").write_text("BASE=registry.test/library/python:3.11-slim-bookworm\n")
    (tmp_path / "build-image").touch()
    return tmp_path


def only(*there: str) -> Callable[[str], str | None]:
    return lambda command: f"/usr/bin/{command}" if command in there else None


@pytest.mark.parametrize(
    ("there", "broken", "has_kit", "expected"),
    [
        (("docker", "podman", "buildah"), (), True, "docker"),
        (("docker", "podman", "buildah"), ("docker",), True, "podman"),
        (("docker", "buildah"), ("docker",), True, "kit"),
        (("docker", "buildah"), ("docker",), False, "buildah"),
        (("buildah",), (), False, "buildah"),
    ],
)
def test_the_first_that_works_is_taken(
    kit: Path, there: tuple[str, ...], broken: tuple[str, ...], has_kit: bool, expected: str
) -> None:
    commands = Commands({"info": "{}"}, broken)
    folder = kit if has_kit else kit / "none"
    assert find_builder(None, folder, {}, run=commands, which=only(*there)).name == expected


def test_the_one_that_was_named_is_taken_and_an_unknown_one_refused(kit: Path) -> None:
    for name in ("docker", "podman", "buildah", "kit"):
        assert find_builder(name, kit, {}, run=Commands(), which=only()).name == name
    with pytest.raises(NoBuilder, match="kaniko"):
        find_builder("kaniko", kit, {}, run=Commands(), which=only())
    with pytest.raises(NoBuilder, match="none of them works"):
        find_builder(None, kit / "none", {}, run=Commands(), which=only())


def builder(name: str, kit: Path, commands: Commands) -> Builder:
    return find_builder(name, kit, {"PIP_INDEX_URL": "secret"}, run=commands, which=only())


@pytest.mark.parametrize("name", ["docker", "podman", "buildah"])
def test_pips_settings_are_handed_over_as_a_secret_only(kit: Path, name: str) -> None:
    commands = Commands()
    builder(name, kit, commands).build(IMAGE, Path("/root-of-it"))
    assert commands.run[-1][:2] == [name, "build"]
    assert "--secret id=pip,src=" in commands.last
    assert commands.last.endswith(
        "-t infermesh/router:1 -f /root-of-it/f.Dockerfile --build-arg SERVICE=router /root-of-it"
    )
    assert "secret/" not in commands.last and "PIP_INDEX_URL" not in commands.last


def test_the_kit_names_images_as_its_node_completes_them(kit: Path) -> None:
    commands = Commands()
    builder("kit", kit, commands).build(IMAGE, Path("/r"))
    assert commands.run[-1][:3] == [
        str(kit / "build-image"),
        "-t",
        "registry.test/infermesh/router:1",
    ]
    builder("kit", kit, commands).build(OFFICIAL, Path("/r"))
    assert "registry.test/library/redis:7" in commands.run[-1]
    (kit / "lib.sh").write_text("")
    with pytest.raises(NoBuilder, match="base image"):
        builder("kit", kit, commands).build(IMAGE, Path("/r"))


@pytest.mark.parametrize("name", ["podman", "buildah", "kit"])
def test_an_archive_has_the_name_that_pods_ask_for(kit: Path, name: str) -> None:
    commands = Commands()
    builder(name, kit, commands).save(IMAGE, Path("/a.tar"))
    assert commands.run[-1][-1] == "docker-archive:/a.tar:infermesh/router:1"


def test_docker_saves_by_itself(kit: Path) -> None:
    commands = Commands()
    builder("docker", kit, commands).save(IMAGE, Path("/a.tar"))
    assert commands.last == "docker save -o /a.tar infermesh/router:1"


LAYERS = '["sha256:1", "sha256:2"]'
BUILDAH = f'{{"OCIv1": {{"rootfs": {{"diff_ids": {LAYERS}}}}}}}'


@pytest.mark.parametrize(
    ("name", "said"),
    [("docker", LAYERS), ("podman", LAYERS), ("buildah", BUILDAH), ("kit", BUILDAH)],
)
def test_layers_of_the_base_are_known(kit: Path, name: str, said: str) -> None:
    commands = Commands({"inspect": said, "ls": "abc"})
    assert builder(name, kit, commands).base_layers() == ["sha256:1", "sha256:2"]


def test_docker_gets_a_base_that_it_has_only_used(kit: Path) -> None:
    commands = Commands({"inspect": "[]"})
    builder("docker", kit, commands).base_layers()
    assert [command[1] for command in commands.run] == ["image", "pull", "image"]


def test_settings_of_files_and_variables_are_put_together(tmp_path: Path) -> None:
    system, home = tmp_path / "pip.conf", tmp_path / "home"
    (home / ".config/pip").mkdir(parents=True)
    system.write_text("[global]\ncert = /system.pem\nindex-url = first\ntimeout = 5\n")
    (home / ".config/pip/pip.conf").write_text("[install]\nindex-url = second\nfind-links = /x\n")
    found = pip_settings({"PIP_TRUSTED_HOST": "host"}, home, system)
    read = configparser.RawConfigParser()
    read.read_string(found.text)
    assert dict(read["global"]) == {"index-url": "second", "timeout": "5", "trusted-host": "host"}
    assert found.certificates == Path("/system.pem")


def test_a_file_that_a_variable_names_and_variables_win(tmp_path: Path) -> None:
    (tmp_path / "other.conf").write_text("[global]\nindex-url = other\nretries = 1\n")
    variables = {"PIP_CONFIG_FILE": str(tmp_path / "other.conf"), "PIP_INDEX_URL": "variable"}
    text = pip_settings(variables, tmp_path, tmp_path / "none").text
    assert "variable" in text and "other" not in text and "retries = 1" in text


def test_secrets_are_gone_after_the_build(tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.touch()
    with as_secrets(PipSettings("[global]\n", certificates)) as options:
        file = Path(options[1].rpartition("src=")[2])
        assert file.read_text() == "[global]\n" and file.stat().st_mode & 0o077 == 0
        assert options[3] == f"id=ca,src={certificates}"
    assert not file.exists()


def test_the_kit_is_beside_the_repository_unless_it_is_said_where() -> None:
    assert kit_folder({"INFERMESH_CLUSTER_KIT": "/kit"}) == Path("/kit")
    assert kit_folder({}).parts[-2:] == ("shared", "cluster")


def test_output_of_a_command_that_fails_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["echo", "well"]) == "well\n"
    with pytest.raises(subprocess.CalledProcessError):
        run(["sh", "-c", "echo why; exit 3"])
    assert "why" in capsys.readouterr().err
