"""The state folder, and the settings that name it."""

import os
import stat
from pathlib import Path

import pytest
from infermesh_local import SettingsInvalid, StateUnusable, load_local_settings
from infermesh_local.layout import StateLayout


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_for_the_user_alone(tmp_path: Path) -> None:
    layout = StateLayout.at(tmp_path / "deep" / "state")
    layout.create()
    for folder in (layout.root, layout.secrets, layout.logs, layout.data, layout.run):
        assert _mode(folder) == 0o700


def test_an_existing_root_keeps_its_permissions_and_the_rest_is_closed(tmp_path: Path) -> None:
    layout = StateLayout.at(tmp_path)
    layout.secrets.mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    layout.create()
    assert _mode(tmp_path) == 0o755
    assert _mode(layout.secrets) == 0o700


def test_a_file_in_the_place_of_a_folder_is_a_plain_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateUnusable, match="cannot be used: file exists"):
        StateLayout.at(tmp_path / "state").create()
    (tmp_path / "logs").write_text("")
    with pytest.raises(StateUnusable, match="logs cannot be used"):
        StateLayout.at(tmp_path).create()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    layout = StateLayout.at(tmp_path)
    layout.secrets.mkdir()
    os.chown(layout.secrets, 65534, 65534)
    with pytest.raises(StateUnusable, match="another user"):
        layout.create()


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\\b", "a\nb", "a ;b", "a #b", "a?b", "a%b"])
def test_a_path_that_configurations_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateUnusable, match="its path holds"):
        StateLayout.at(tmp_path / name).create()
    assert not (tmp_path / name).exists()


def test_the_socket_is_never_longer_than_a_socket_may_be(tmp_path: Path) -> None:
    short, long = StateLayout.at(Path("/s")), StateLayout.at(tmp_path / ("x" * 120))
    assert short.socket.parent == short.run
    assert len(os.fsencode(long.socket)) < 95
    assert long.socket == StateLayout.at(tmp_path / ("x" * 120)).socket
    assert long.socket != StateLayout.at(tmp_path / ("y" * 120)).socket


def test_the_state_folder_is_the_stated_one_or_the_users_own(tmp_path: Path) -> None:
    assert load_local_settings({"INFERMESH_STATE": str(tmp_path)}).state_dir == tmp_path
    assert load_local_settings({}).state_dir.name == "infermesh"


def test_settings_come_from_defaults_and_environment() -> None:
    assert load_local_settings({}).public_port == 8080
    assert load_local_settings({"INFERMESH_LOCAL__PUBLIC_PORT": "9000"}).public_port == 9000


@pytest.mark.parametrize(
    "variable", ["INFERMESH_LOCAL__PUBLIC_PORT", "INFERMESH_LOCAL__NO_SUCH_SETTING"]
)
def test_a_wrong_setting_is_named_without_its_value(variable: str) -> None:
    name = variable.removeprefix("INFERMESH_LOCAL__").lower()
    with pytest.raises(SettingsInvalid, match=name) as caught:
        load_local_settings({variable: "tell-nobody"})
    assert "tell-nobody" not in str(caught.value)


def test_the_key_of_a_provider_is_not_inherited_and_not_shown() -> None:
    settings = load_local_settings({"OPENAI_API_KEY": "sk-tell-nobody", "PATH": "/bin"})
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-tell-nobody"
    assert dict(settings.environment) == {"PATH": "/bin"}
    assert "sk-tell-nobody" not in repr(settings)
    assert load_local_settings({"OPENAI_API_KEY": " "}).openai_api_key is None
    other = load_local_settings({"INFERMESH_LOCAL__OPENAI_API_KEY": "sk-tell-nobody"})
    assert other.openai_api_key == settings.openai_api_key
    assert dict(other.environment) == {}
