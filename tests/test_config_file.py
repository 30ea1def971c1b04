"""config.toml: what it may hold, that the command line wins, and that mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdv2_host.commands.config_file import with_config_file
from sdv2_host.commands.settings import given_params, make_config, make_params
from sdv2_host.config import SceneRule
from sdv2_host.errors import ConfigError
from sdv2_host.types import Size

WHOLE = """
name = "stage1"
size = "384x256"
port = 9500
virtual_camera = true
touch_shm = "show"
[camera]
device = "/dev/video10"
[obs]
follow = true
port = 9410
[obs.scenes]
"Talk" = { preset = "Neon Rain", fade = 2 }
"Break" = { cue = "next" }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_every_setting_can_stand_in_the_file(tmp_path: Path) -> None:
    config = make_config(with_config_file({}, write(tmp_path, WHOLE)))

    assert (config.name, config.size, config.port) == ("stage1", Size(384, 256), 9500)
    assert (config.virtual_camera, config.camera_device) == (True, "/dev/video10")
    assert (config.obs_follow, config.obs_port) == (True, 9410)
    assert config.touch_shm == "show"
    assert config.obs_scenes == {
        "Talk": SceneRule(preset="Neon Rain", fade=2),
        "Break": SceneRule(cue="next"),
    }


def test_the_command_line_wins(tmp_path: Path) -> None:
    options = {"name": "stage2", "size": None, "port": None, "obs_follow": False}

    config = make_config(with_config_file(options, write(tmp_path, WHOLE)))

    assert (config.name, config.port, config.obs_follow) == ("stage2", 9500, False)


def test_the_file_in_the_data_folder_is_read_by_itself(tmp_path: Path) -> None:
    write(tmp_path, "port = 9501")

    assert make_config(with_config_file({"data_dir": str(tmp_path)}, None)).port == 9501
    assert make_config(with_config_file({"data_dir": str(tmp_path / "none")}, None)).port == 9400


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("nme = 'x'", "unknown key 'nme', known are .*obs.port"),
        ("[obs]\nprt = 1", "unknown key 'obs.prt'"),
        ("width = 64", "unknown key 'width'"),
        ("port = 99999", "port = 99999: Input should be less than or equal to 65535"),
        ("touch_shm = 'a/b'", "touch_shm = 'a/b': expected up to 27 letters"),
        ("size = 512", "size = 512, expected a text like 512x512"),
        ("size = '100x100'", "the nearest is --size 96x96"),
        ("obs = 1", "unknown key 'obs'"),
        ("[obs.scenes]\nA = {}", "obs.scenes.A = .*expected either a preset or a cue"),
        ("[obs.scenes]\nA = { preset = 'x', cue = '1' }", "expected either a preset or a cue"),
        ("[obs.scenes]\nA = { cue = '1', fade = 1 }", "a cue brings its own fade"),
        ("[obs.scenes]\nA = { cue = 1 }", "obs.scenes.A.cue = 1"),
        ("port = ", "is not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        make_config(with_config_file({}, write(tmp_path, text)))


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.toml"):
        with_config_file({}, tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"engine": "passthrough", "size": "512x256"}, {"width": 512, "height": 256}),
        ({"engine": "passthrough"}, {}),
        ({"engine": "tiny", "size": "512x256"}, {}),
    ],
)
def test_the_size_of_passthrough_is_asked_for_as_a_live_one(
    options: dict[str, str], asked: dict[str, int]
) -> None:
    params = make_params(options)

    assert (params.width, params.height) == (asked.get("width", 0), asked.get("height", 0))
    assert given_params(options) == asked.keys()
