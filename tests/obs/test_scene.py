"""The ready scene, against a small OBS of our own."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from sdv2_host.errors import ConfigError
from sdv2_host.obs.client import ObsAddress, ObsClient
from sdv2_host.obs.inventory import take_inventory
from sdv2_host.obs.scene import Wish, set_up
from sdv2_host.types import Size
from tests.obs.fake_obs import FakeObs, Studio

PLUGIN = Wish("stage1", filter_on="Camera")
NO_PLUGIN = Wish("stage1", has_plugin=False, feed_port=9410, picture=Size(512, 288))


class Obs:
    """The small OBS and a client of it."""

    def __init__(self, fake: FakeObs) -> None:
        self.fake = fake
        self.studio = fake.studio
        self.client = ObsClient.connect(ObsAddress("127.0.0.1", fake.port), "")

    def set_up(self, wish: Wish) -> list[str]:
        """What it said."""
        said: list[str] = []
        set_up(self.client, wish, said.append)
        return said


@pytest.fixture
def obs() -> Iterator[Obs]:
    """It has the plug-in, and a camera in its scene."""
    studio = Studio()
    studio.add_plugin()
    studio.inputs["Camera"] = ("v4l2_input", {})
    with FakeObs(studio) as fake:
        one = Obs(fake)
        yield one
        one.client.close()


def test_setup_makes_scene_source_and_filter_and_says_each(obs: Obs) -> None:
    said = obs.set_up(PLUGIN)

    name = "StreamDiffusion stage1"
    assert obs.studio.inputs[name] == ("sdv2_source", {"host": "stage1"})
    assert obs.studio.filters["Camera"][name]["filterSettings"] == {"host": "stage1"}
    item = obs.studio.scenes["StreamDiffusion"][name]
    assert (item["boundsType"], item["boundsWidth"]) == ("OBS_BOUNDS_SCALE_INNER", 1280)
    assert said == [
        "OBS 29.0.2, WebSocket 5.1.0",
        "made scene 'StreamDiffusion'",
        f"made source {name!r} in it",
        "fitted it to the canvas, 1280x720",
        f"made filter {name!r} on 'Camera': its picture goes to host stage1",
    ]


@pytest.mark.parametrize("wish", [PLUGIN, NO_PLUGIN])
def test_a_second_run_changes_nothing(obs: Obs, wish: Wish) -> None:
    obs.set_up(wish)
    before = copy.deepcopy(obs.studio)
    obs.fake.requests.clear()

    said = obs.set_up(wish)

    assert obs.studio == before
    assert not [one for one in obs.fake.requests if one.startswith(("Create", "Set"))]
    assert not any(line.startswith(("made", "put", "fitted")) for line in said)


def test_without_the_plugin_the_media_source_is_told_size_and_port(obs: Obs) -> None:
    obs.set_up(NO_PLUGIN)

    kind, settings = obs.studio.inputs["StreamDiffusion stage1 (no plugin)"]
    assert kind == "ffmpeg_source"
    assert settings["input"] == "http://127.0.0.1:9410/512x288"
    assert "video_size=512x288 pixel_format=bgra framerate=120" in settings["ffmpeg_options"]


def test_another_size_changes_the_settings_alone(obs: Obs) -> None:
    obs.set_up(NO_PLUGIN)

    said = obs.set_up(NO_PLUGIN._replace(picture=Size(832, 480)))

    _, settings = obs.studio.inputs["StreamDiffusion stage1 (no plugin)"]
    assert settings["input"] == "http://127.0.0.1:9410/832x480"
    assert any("changed input, ffmpeg_options" in line for line in said)


def test_an_obs_that_lacks_the_plugin_gets_the_media_source_and_is_told(obs: Obs) -> None:
    obs.studio.input_kinds.remove("sdv2_source")

    said = obs.set_up(NO_PLUGIN._replace(has_plugin=True))

    assert "StreamDiffusion stage1 (no plugin)" in obs.studio.scenes["StreamDiffusion"]
    assert any("sdv2-host obs install" in line for line in said)


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        (NO_PLUGIN._replace(feed_port=0), "--obs-port 9410"),
        (NO_PLUGIN._replace(picture=None), "give --size"),
        (PLUGIN._replace(filter_on="Webcam"), "no such source, it has 'Camera'"),
    ],
)
def test_what_only_the_user_can_give_is_asked_for(obs: Obs, wish: Wish, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        obs.set_up(wish)


def test_a_filter_without_the_plugin_says_what_to_install(obs: Obs) -> None:
    obs.studio.filter_kinds.remove("sdv2_filter")

    with pytest.raises(ConfigError, match="sdv2-host obs install"):
        obs.set_up(PLUGIN)


def test_what_the_user_placed_stays_until_fit_is_asked_for(obs: Obs) -> None:
    obs.set_up(PLUGIN)
    item = obs.studio.scenes["StreamDiffusion"]["StreamDiffusion stage1"]
    item |= {"positionX": 100.0, "boundsWidth": 320.0}

    said = obs.set_up(PLUGIN)
    assert item["positionX"] == 100
    assert any("as you placed it" in line for line in said)

    obs.set_up(PLUGIN._replace(fit=True))
    assert (item["positionX"], item["boundsWidth"]) == (0, 1280)


def test_a_source_taken_out_of_the_scene_is_put_back_and_not_made_twice(obs: Obs) -> None:
    obs.set_up(PLUGIN)
    obs.studio.scenes["StreamDiffusion"].clear()

    obs.set_up(PLUGIN)

    assert list(obs.studio.scenes["StreamDiffusion"]) == ["StreamDiffusion stage1"]
    assert "CreateInput" in obs.fake.requests
    assert obs.fake.requests.count("CreateInput") == 1


def test_a_source_of_another_kind_with_our_name_is_not_touched(obs: Obs) -> None:
    obs.studio.inputs["StreamDiffusion stage1"] = ("color_source_v3", {"color": 1})

    with pytest.raises(ConfigError, match=r"another kind .color_source."):
        obs.set_up(PLUGIN)
    assert obs.studio.inputs["StreamDiffusion stage1"][1] == {"color": 1}


def test_the_inventory_tells_what_is_there(obs: Obs) -> None:
    obs.set_up(PLUGIN)
    obs.set_up(NO_PLUGIN._replace(host="stage2"))
    obs.studio.filters["Camera"]["StreamDiffusion stage1"]["filterEnabled"] = False

    inventory = take_inventory(obs.client)

    assert inventory.has_plugin
    assert inventory.host_names() == {"stage1", "stage2"}
    assert list(inventory.lines())[2:] == [
        "source 'StreamDiffusion stage1' shows host stage1",
        "media source 'StreamDiffusion stage2 (no plugin)' shows host stage2"
        " at http://127.0.0.1:9410/512x288",
        "filter 'StreamDiffusion stage1' on 'Camera' to host stage1, switched off",
    ]
