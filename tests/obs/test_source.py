"""What the OBS source shows of a host's output ring."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pythonosc.osc_message import OscMessage

from sdv2_host.types import AlphaMode, Orientation, PixelFormat
from tests.hosts import unique_name
from tests.obs.numbered import number_of, numbered
from tests.obs.obs_process import needs_obs
from tests.obs.stage import Stage
from tests.obs.toy_host import ToyHost

pytestmark = needs_obs

PICTURE = numbered(0xA5C3F1, 640, 480)


def as_format(rgba: NDArray[np.uint8], pixel_format: PixelFormat) -> NDArray[np.generic]:
    """The same picture in another format of the ring."""
    if pixel_format is PixelFormat.BGRA8:
        return np.ascontiguousarray(rgba[..., [2, 1, 0, 3]])
    if pixel_format is PixelFormat.RGBA16:
        return rgba.astype(np.uint16) * 257
    if pixel_format is PixelFormat.RGBA16F:
        return (rgba / 255).astype(np.float16)
    if pixel_format is PixelFormat.RGBA32F:
        return (rgba / 255).astype(np.float32)
    return rgba


@pytest.mark.parametrize("pixel_format", [f for f in PixelFormat if f is not PixelFormat.R8])
def test_every_pixel_is_shown_as_it_was_sent(stage: Stage, pixel_format: PixelFormat) -> None:
    with ToyHost(unique_name()) as host:
        host.show(as_format(PICTURE, pixel_format), pixel_format=pixel_format)

        source = stage.add_source(host.name)

        assert stage.picture(source, PICTURE) == 0
        assert stage.picture(stage.scene, PICTURE) == 0


def test_grey_is_shown_as_grey(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        host.show(PICTURE[..., 1:2], pixel_format=PixelFormat.R8)

        source = stage.add_source(host.name)

        grey = np.repeat(PICTURE[..., 1:2], 3, axis=2)
        assert stage.picture(source, np.dstack([grey, PICTURE[..., 3]])) == 0


def test_a_picture_that_is_upside_down_in_the_ring_is_upright(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        host.show(PICTURE[::-1].copy(), orientation=Orientation.BOTTOM_FIRST)

        source = stage.add_source(host.name)

        assert stage.picture(source, PICTURE) == 0


def with_holes() -> NDArray[np.uint8]:
    """The picture with a quarter each of alpha 255, 192, 64 and 0, straight."""
    picture = PICTURE.copy()
    for index, alpha in enumerate((255, 192, 64, 0)):
        picture[:, index * 160 : (index + 1) * 160, 3] = alpha
    return picture


def as_obs_shows(stage: Stage, tmp_path: Path, straight: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The scene with OBS's own image source showing this picture."""
    path = tmp_path / "own.png"
    Image.fromarray(straight).save(path)
    own = stage.add("image_source", "own", file=str(path), linear_alpha=True)
    stage.show_item(own, True)
    time.sleep(0.2)
    shown = stage.obs.screenshot(stage.scene)
    stage.show_item(own, False)
    return shown


def test_straight_alpha_blends_as_that_of_obs_s_own_sources(stage: Stage, tmp_path: Path) -> None:
    straight = with_holes()
    wanted = as_obs_shows(stage, tmp_path, straight)
    with ToyHost(unique_name()) as host:
        host.show(straight, alpha=AlphaMode.STRAIGHT)

        stage.add_source(host.name)

        assert stage.picture(stage.scene, wanted) <= 1


def test_premultiplied_alpha_blends_like_the_straight_picture(stage: Stage, tmp_path: Path) -> None:
    straight = with_holes()
    wanted = as_obs_shows(stage, tmp_path, straight)
    premultiplied = straight.copy()
    levels = straight[..., :3] * (straight[..., 3:] / 255)
    premultiplied[..., :3] = np.rint(levels).astype(np.uint8)
    with ToyHost(unique_name()) as host:
        host.show(premultiplied, alpha=AlphaMode.PREMULTIPLIED)

        stage.add_source(host.name)

        # A level that was multiplied by 64 / 255 came back within 2 of 255.
        assert stage.picture(stage.scene, wanted, near=2) <= 2


def test_alpha_that_is_not_meant_is_not_seen(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        host.show(with_holes(), alpha=AlphaMode.OPAQUE)
        as_sent = stage.add_source(host.name, "as sent")
        assert stage.picture(as_sent, PICTURE) == 0

        host.show(with_holes(), alpha=AlphaMode.STRAIGHT)
        ignored = stage.add_source(host.name, "ignored", alpha="ignore")

        assert stage.picture(ignored, PICTURE) == 0


def test_the_size_changes_while_it_is_shown(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        host.show(numbered(1, 512, 512))
        source = stage.add_source(host.name)
        assert stage.picture(source, numbered(1, 512, 512)) == 0

        host.show(numbered(2, 832, 480))  # larger: another segment

        assert stage.picture(source, numbered(2, 832, 480)) == 0
        host.show(numbered(3, 250, 130))
        assert stage.picture(source, numbered(3, 250, 130)) == 0


def test_two_sources_show_one_host_and_a_third_another(stage: Stage) -> None:
    with ToyHost(unique_name()) as one, ToyHost(unique_name()) as other:
        sources = [stage.add_source(one.name, f"source {index}") for index in range(2)]
        third = stage.add_source(other.name, "third")

        one.show(PICTURE)
        other.show(numbered(7, 320, 240))

        assert [stage.picture(source, PICTURE) for source in sources] == [0, 0]
        assert stage.picture(third, numbered(7, 320, 240)) == 0


def test_a_source_goes_over_to_another_host(stage: Stage) -> None:
    with ToyHost(unique_name()) as one, ToyHost(unique_name()) as other:
        one.show(PICTURE)
        other.show(numbered(8, 640, 480))
        source = stage.add_source(one.name)
        assert stage.picture(source, PICTURE) == 0

        stage.set(source, host=other.name)

        assert stage.picture(source, numbered(8, 640, 480)) == 0


def test_a_host_is_found_when_it_starts_and_again_when_it_is_replaced(stage: Stage) -> None:
    name = unique_name()
    source = stage.add_source(name)
    for number in range(1, 5):
        with ToyHost(name) as host:
            host.show(numbered(number, 320, 240))
            assert stage.picture(source, numbered(number, 320, 240)) == 0


def test_while_the_host_is_away_the_source_shows_what_was_chosen(stage: Stage) -> None:
    name = unique_name()
    with ToyHost(name) as host:
        host.show(PICTURE)
        choices = ("hold", "transparent", "card")
        held, cleared, card = (stage.add_source(name, away, away=away) for away in choices)
        assert [stage.picture(source, PICTURE) for source in (held, cleared, card)] == [0, 0, 0]

    assert stage.picture(cleared, np.zeros_like(PICTURE)) == 0
    assert stage.picture(held, PICTURE) == 0
    tells = stage.obs.screenshot(card)
    assert tells.shape == PICTURE.shape
    assert (tells[..., 3] == 255).all()
    dark, light = (
        (tells[..., :3].max(axis=2) < 60).mean(),
        (tells[..., :3].min(axis=2) > 200).mean(),
    )
    assert dark > 0.8  # the card
    assert light > 0.005  # with something written on it
    with ToyHost(name) as host:
        host.show(numbered(9, 640, 480))
        back = [stage.picture(source, numbered(9, 640, 480)) for source in (held, cleared, card)]
    assert back == [0, 0, 0]


def test_a_source_whose_host_never_ran_says_so(stage: Stage) -> None:
    source = stage.add_source(unique_name())
    time.sleep(1.5)

    shown = stage.obs.screenshot(source)

    assert shown.shape == (512, 512, 4)
    assert (shown[..., :3].min(axis=2) > 200).any()


def test_no_torn_frame_is_ever_shown_however_fast_the_host_writes(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = stage.add_source(host.name)
        stop = threading.Event()

        def race() -> None:
            for level in itertools.count():
                if stop.is_set():
                    return
                host.show(np.full((720, 1280, 4), level % 256, np.uint8))

        writer = threading.Thread(target=race)
        writer.start()
        try:
            time.sleep(0.5)
            levels = [np.unique(stage.obs.screenshot(source)[..., :3]) for _ in range(20)]
        finally:
            stop.set()
            writer.join()

        assert [len(found) for found in levels] == [1] * 20
        assert len({int(found[0]) for found in levels}) > 2


def test_without_a_name_the_first_host_is_shown_and_kept_while_it_restarts(stage: Stage) -> None:
    # '-' sorts before all that other tests on this machine may call their hosts.
    first, second = f"--0-{unique_name()}", f"--1-{unique_name()}"
    pictures = [numbered(number, 160, 64) for number in range(3)]
    with ToyHost(second) as other:
        other.show(pictures[0])
        with ToyHost(first) as one:
            one.show(pictures[1])
            source = stage.add_source("")
            assert stage.picture(source, pictures[1]) == 0
        time.sleep(1)
        with ToyHost(first) as one:
            one.show(pictures[2])
            assert number_of(stage.obs.screenshot(source)) in (1, 2)  # never the other's
            assert stage.picture(source, pictures[2]) == 0

        assert stage.picture(source, pictures[0], within_s=10) == 0  # it is gone for good


def test_the_running_hosts_are_offered(stage: Stage) -> None:
    gone = unique_name()
    with ToyHost(gone):
        pass
    with ToyHost(unique_name()) as one, ToyHost(unique_name()) as other:
        source = stage.add_source(one.name)

        answer = stage.obs.call(
            "GetInputPropertiesListPropertyItems", inputName=source, propertyName="host"
        )

        names = [item["itemValue"] for item in answer["propertyItems"]]
        assert {one.name, other.name} <= set(names)
        assert gone not in names
        assert names == sorted(names)


def test_what_the_user_changes_goes_to_the_host_as_osc(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = stage.add_source(host.name, prompt="of the collection", strength=0.25)
        assert host.is_told_nothing(1.2)  # the host keeps the look that it has

        stage.set(source, prompt="neon city, größer")
        assert read(host) == ("/sdv2/prompt", ["neon city, größer"])
        stage.set(source, preset="Neon Rain")
        assert read(host) == ("/sdv2/preset/load", ["Neon Rain"])
        stage.set(source, strength=0.5)
        assert read(host) == ("/sdv2/output/mix", [0.5])

        stage.set(source, strength=0.5, away="card")
        assert host.is_told_nothing(1.2)


def test_a_prompt_is_sent_once_when_the_typing_rests(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = stage.add_source(host.name)
        for end in range(1, 10):
            stage.set(source, prompt="watercolor"[:end])

        assert read(host) == ("/sdv2/prompt", ["watercolo"])
        assert host.is_told_nothing(1.2)


def test_what_is_typed_while_the_host_is_away_is_said_when_it_runs(stage: Stage) -> None:
    name = unique_name()
    source = stage.add_source(name)
    stage.set(source, prompt="aquarelle")
    time.sleep(1.2)
    with ToyHost(name) as host:
        assert read(host) == ("/sdv2/prompt", ["aquarelle"])
        assert host.is_told_nothing(1)


def read(host: ToyHost) -> tuple[str, list[object]]:
    message = OscMessage(host.received())
    return message.address, message.params


def test_a_playing_host_is_shown_frame_by_frame(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = stage.add_source(host.name)
        host.play(640, 480, 30)
        time.sleep(1)

        seen = [number_of(stage.obs.screenshot(source)) for _ in range(10)]

        assert seen == sorted(seen)
        assert len(set(seen)) >= 5
