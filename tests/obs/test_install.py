"""Where the plug-in goes for each OBS, that it gets there, and that nothing else is touched."""

from __future__ import annotations

import plistlib
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sdv2_host.errors import ConfigError
from sdv2_host.obs import build as build_module
from sdv2_host.obs.build import Plugin, build, missing_tools, prebuilt
from sdv2_host.obs.find import (
    FLATPAK_ID,
    ObsInstall,
    linux_installs,
    macos_installs,
    major_of,
    windows_installs,
)
from sdv2_host.obs.install import layout, put, read_receipt, remove
from tests.hosts import sdv2_host

CMAKE = """
cmake_minimum_required(VERSION 3.25)
project(sdv2 LANGUAGES C)
add_library(sdv2 MODULE plugin.c)
set_target_properties(sdv2 PROPERTIES PREFIX "")
"""
LEGACY = ["sdv2/bin/64bit/sdv2.so", "sdv2/data/locale/en-US.ini"]

needs_cmake = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("cc") is None, reason="cmake or cc is missing"
)


def source(folder: Path, code: str = "int obs_module_ver(void) { return 1; }\n") -> Path:
    """A plug-in's source, small."""
    (folder / "data" / "locale").mkdir(parents=True)
    (folder / "data" / "locale" / "en-US.ini").write_text('Name="x"\n')
    (folder / "CMakeLists.txt").write_text(CMAKE)
    (folder / "plugin.c").write_text(code)
    return folder


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """As a build leaves it."""
    folder = source(tmp_path / "source")
    binary = tmp_path / "sdv2.so"
    binary.write_bytes(b"\x7fELF 1")
    return Plugin(binary, folder / "data")


@pytest.fixture
def obs(tmp_path: Path) -> ObsInstall:
    """With a plug-in of somebody else."""
    other = tmp_path / "obs" / "plugins" / "other" / "bin" / "64bit" / "other.so"
    other.parent.mkdir(parents=True)
    other.write_text("theirs")
    return ObsInstall("OBS 29.0.2", 29, tmp_path / "obs" / "plugins")


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def quiet(line: str) -> None:
    pass


def test_what_was_put_there_is_complete_and_taken_away_again(
    obs: ObsInstall, plugin: Plugin, tmp_path: Path
) -> None:
    before = files(obs.plugins)
    put(obs, plugin, tmp_path / "receipt.json", quiet)
    there = files(obs.plugins)
    count = remove(obs.plugins, tmp_path / "receipt.json", quiet)

    assert there == sorted(before + LEGACY)
    assert (count, files(obs.plugins)) == (2, before)
    assert not (obs.plugins / "sdv2").exists()
    assert not (tmp_path / "receipt.json").exists()


def test_a_second_install_writes_only_what_is_new(
    obs: ObsInstall, plugin: Plugin, tmp_path: Path
) -> None:
    said: list[str] = []
    put(obs, plugin, tmp_path / "receipt.json", quiet)
    plugin.binary.write_bytes(b"\x7fELF 2")
    put(obs, plugin, tmp_path / "receipt.json", said.append)

    assert (obs.plugins / LEGACY[0]).read_bytes() == b"\x7fELF 2"
    assert [line.split()[0] for line in said] == ["wrote", f"{obs.plugins / LEGACY[1]}"]


def test_an_obs_that_became_newer_gets_the_new_layout_and_the_old_one_goes(
    obs: ObsInstall, plugin: Plugin, tmp_path: Path
) -> None:
    put(obs, plugin, tmp_path / "receipt.json", quiet)
    newer = ObsInstall("OBS 33.0.0", 33, obs.plugins)
    put(newer, plugin, tmp_path / "receipt.json", quiet)

    ours = [name for name in files(obs.plugins) if name.startswith("sdv2")]
    assert ours == ["sdv2/data/locale/en-US.ini", "sdv2/sdv2.so"]
    assert remove(obs.plugins, tmp_path / "receipt.json", quiet) == 2


def test_what_somebody_else_put_there_stops_the_install(
    obs: ObsInstall, plugin: Plugin, tmp_path: Path
) -> None:
    foreign = obs.plugins / LEGACY[0]
    foreign.parent.mkdir(parents=True)
    foreign.write_text("a packager's")

    with pytest.raises(ConfigError, match="did not put it there"):
        put(obs, plugin, tmp_path / "receipt.json", quiet)
    assert foreign.read_text() == "a packager's"
    assert read_receipt(tmp_path / "receipt.json").installs == {}


def test_a_file_that_was_changed_since_is_left(
    obs: ObsInstall, plugin: Plugin, tmp_path: Path
) -> None:
    said: list[str] = []
    put(obs, plugin, tmp_path / "receipt.json", quiet)
    (obs.plugins / LEGACY[1]).write_text('Name="mine"\n')

    assert remove(obs.plugins, tmp_path / "receipt.json", said.append) == 1
    assert (obs.plugins / LEGACY[1]).read_text() == 'Name="mine"\n'
    assert any("left as it is" in line for line in said)


def test_a_bundle_of_macos_gets_its_data_inside(tmp_path: Path, plugin: Plugin) -> None:
    bundle = tmp_path / "sdv2.plugin"
    (bundle / "Contents" / "MacOS").mkdir(parents=True)
    (bundle / "Contents" / "MacOS" / "sdv2").write_bytes(b"mach-o")

    names = layout(ObsInstall("OBS", 30, tmp_path), Plugin(bundle, plugin.data))

    assert sorted(names) == [
        "sdv2.plugin/Contents/MacOS/sdv2",
        "sdv2.plugin/Contents/Resources/locale/en-US.ini",
    ]


def test_linux_has_the_systems_obs_and_a_flatpak(tmp_path: Path) -> None:
    (tmp_path / "var/lib/flatpak/app" / FLATPAK_ID).mkdir(parents=True)
    answers = {"obs": "OBS Studio - 29.0.2 (linux)", "flatpak": "ID: x\nVersion: 33.1.0\n"}

    def ask(command: Sequence[str]) -> str:
        return answers[command[0]]

    system, flatpak = linux_installs(tmp_path / "home", tmp_path, ask)

    assert (system.major, system.plugins.parts[-2:]) == (29, ("obs-studio", "plugins"))
    assert (flatpak.major, flatpak.is_flatpak) == (33, True)
    assert flatpak.plugins == (
        tmp_path / "home/.var/app" / FLATPAK_ID / "config/obs-studio/plugins"
    )


def test_no_obs_is_no_install(tmp_path: Path) -> None:
    assert linux_installs(tmp_path, tmp_path, lambda command: None) == []
    assert macos_installs(tmp_path) == []
    assert windows_installs(lambda key, name: "", tmp_path) == []


def test_macos_tells_the_version_by_the_bundle(tmp_path: Path) -> None:
    contents = tmp_path / "OBS.app" / "Contents"
    contents.mkdir(parents=True)
    with (contents / "Info.plist").open("wb") as file:
        plistlib.dump({"CFBundleShortVersionString": "30.2.3"}, file)

    (found,) = macos_installs(tmp_path)

    assert (found.title, found.major) == ("OBS 30.2.3", 30)


def test_windows_tells_the_version_by_the_registry(tmp_path: Path) -> None:
    values = {"": "C:\\obs-studio", "DisplayVersion": "33.0.1"}

    (found,) = windows_installs(lambda key, name: values[name], tmp_path)

    assert (found.title, found.major) == ("OBS 33.0.1 in C:\\obs-studio", 33)


@pytest.mark.parametrize(
    ("text", "major"), [("OBS Studio - 29.0.2.1-1+b1 (linux)", 29), ("32.0", 32), ("?", None)]
)
def test_the_version_is_read_from_what_obs_says(text: str, major: int | None) -> None:
    assert major_of(text) == major


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere cmake finds all but itself")
def test_what_a_build_lacks_is_named_with_the_line_that_installs_it(tmp_path: Path) -> None:
    tools = {"apt-get": "/usr/bin/apt-get"}

    text = missing_tools(tools.get, (tmp_path / "none.h",))

    assert text.endswith("are missing: sudo apt-get install cmake gcc make libobs-dev")
    assert missing_tools(
        {"dnf": "x", "cmake": "x", "cc": "x"}.get, (tmp_path / "none.h",)
    ).endswith("the headers of libobs are missing: sudo dnf install obs-studio-devel")
    assert missing_tools({"cmake": "x", "cc": "x"}.get, (tmp_path,)) == ""


@needs_cmake
def test_the_plugin_is_built_from_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "missing_tools", lambda: "")
    made = build(tmp_path / "build", tmp_path / "log", source(tmp_path / "source"))

    assert made.binary.read_bytes()[:4] == b"\x7fELF"
    assert made.data == tmp_path / "source" / "data"


@needs_cmake
def test_what_does_not_compile_says_why_and_where_the_rest_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "missing_tools", lambda: "")
    log = tmp_path / "log"
    with pytest.raises(
        ConfigError, match=r"does not build: .*error: expected expression"
    ) as caught:
        build(tmp_path / "build", log, source(tmp_path / "source", "nonsense;\nint x = ;\n"))

    assert str(log) in str(caught.value)
    assert "cmake --build" in log.read_text()


def test_without_source_the_answer_names_the_other_way(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--plugin"):
        build(tmp_path, tmp_path / "log", tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="expected an existing file named"):
        prebuilt(tmp_path / "x.so")


@pytest.mark.skipif(sys.platform != "linux", reason="names a file of Linux")
def test_the_commands_install_and_uninstall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: Plugin
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(plugin.data, plugin.binary.parent / "data")
    config = tmp_path / "obs-studio"
    config.mkdir()
    there = ("--obs", str(config))

    first = sdv2_host("obs", "install", "--plugin", str(plugin.binary), *there)
    installed = files(config)
    second = sdv2_host("obs", "uninstall")
    third = sdv2_host("obs", "uninstall")

    assert (first.returncode, second.returncode, third.returncode) == (0, 0, 0), first.stderr
    assert installed == [f"plugins/{name}" for name in LEGACY]
    assert files(config) == []
    assert len(re.findall("removed", second.stdout)) == 2
    assert "nothing to remove" in third.stdout
