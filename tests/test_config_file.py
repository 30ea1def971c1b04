"""config.toml: what it may hold, that the command line wins, and that mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdv2_host.commands.config_file import with_config_file
from sdv2_host.commands.options import PICTURE
from sdv2_host.commands.settings import (
    given_params,
    make_config,
    make_params,
    style_prompts,
)
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


def test_what_is_painted_can_stand_in_the_file(tmp_path: Path) -> None:
    text = "prompt = 'gold'\nsteps = 3\nnoise_s_min = 0.2\nseed = 7\nlora_strength = 1\n"

    options = with_config_file({"steps": None, "seed": 8}, write(tmp_path, text))
    params = make_params(options)

    assert (params.prompt, params.steps, params.noise_s_min) == ("gold", 3, 0.2)
    assert (params.seed, params.lora_strength) == (8, 1.0)
    asked = {"prompt", "steps", "noise_s_min", "seed", "lora_strength"}
    assert given_params(options) == asked  # they win over the last run's, as options do


@pytest.mark.parametrize("name", PICTURE)
def test_every_option_of_the_picture_is_a_key(tmp_path: Path, name: str) -> None:
    value = "'neon'" if name in ("prompt", "style", "lora") else "1"

    options = with_config_file({}, write(tmp_path, f"{name} = {value}"))

    assert options[name] in ("neon", 1)


@pytest.mark.parametrize(
    ("text", "option", "prompt"),
    [
        ("style = 'neon'", {"prompt": "gold"}, "gold"),
        ("prompt = 'gold'", {"style": "neon"}, style_prompts()["neon"]),
        ("style = 'neon'", {}, style_prompts()["neon"]),
    ],
)
def test_a_style_and_a_prompt_are_one_setting(
    tmp_path: Path, text: str, option: dict[str, str], prompt: str
) -> None:
    assert make_params(with_config_file(option, write(tmp_path, text))).prompt == prompt


@pytest.mark.parametrize(
    ("text", "option", "bounds"),
    [
        ("noise_s_min = 0.5", {"noise_s_max": 0.3}, (0.3, 0.3)),
        ("noise_s_max = 0.5", {"noise_s_min": 0.9}, (0.9, 0.9)),
        ("noise_s_min = 0.2", {"noise_s_max": 0.3}, (0.2, 0.3)),
    ],
)
def test_a_noise_bound_of_the_command_line_pushes_that_of_the_file(
    tmp_path: Path, text: str, option: dict[str, float], bounds: tuple[float, float]
) -> None:
    params = make_params(with_config_file(option, write(tmp_path, text)))

    assert (params.noise_s_min, params.noise_s_max) == bounds


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
        ("steps = 9", r"config.toml: steps = 9, expected 1\.\.4"),
        ("steps = 2.5", "config.toml: steps = 2.5, expected"),
        ("steps = '3'", "config.toml: steps = '3', expected"),
        ("steps = true", "config.toml: steps = True, expected"),
        ("seed = [1]", r"config.toml: seed = \[1\], expected"),
        ("noise_s_max = nan", "config.toml: .*noise.s_max = nan, expected"),
        ("prompt = 3", "config.toml: prompt = 3, expected a text"),
        ("style = 'neo'", "config.toml: style = 'neo': unknown style, known are .*neon"),
        ("style = 'neon'\nprompt = 'x'", "config.toml: style and prompt both say"),
        ("lora = 'a:x'", "config.toml: .*lora"),
        ("mix = 1", "unknown key 'mix', known are .*seed"),
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


@pytest.mark.parametrize(
    ("asked", "bounds"),
    [
        ({}, (0.7, 0.8)),
        ({"noise_s_max": 0.3}, (0.3, 0.3)),
        ({"noise_s_min": 0.9}, (0.9, 0.9)),
        ({"noise_s_min": 0.2, "noise_s_max": 0.3}, (0.2, 0.3)),
    ],
)
def test_a_noise_bound_that_is_asked_for_pushes_the_engine_s_own_along(
    asked: dict[str, float], bounds: tuple[float, float]
) -> None:
    params = make_params({"engine": "wan-1.3b", **asked})

    assert (params.noise_s_min, params.noise_s_max) == bounds
