"""What a stream needs, and the change of settings that is offered where memory is short."""

from __future__ import annotations

from bisect import bisect_left

import torch

from sdv2_host.config import Config
from sdv2_host.stages.choice import Device, Need, fits
from sdv2_host.stages.need import need_of, remedy
from sdv2_host.stages.work import DeviceTimes

FLOAT = torch.float32
TINY = DeviceTimes(30.0, (7.0,) * 5, 40.0)
WAN = DeviceTimes(20.0, (2.0,) * 30, 40.0)


def devices(times: DeviceTimes, *rooms: int) -> list[Device]:
    return [Device(f"gpu{index}", times, room) for index, room in enumerate(rooms)]


def least_room(times: DeviceTimes, need: Need) -> int:
    """What each of two devices must have."""
    rooms = range(0, 1 << 34, 1 << 14)
    found = bisect_left(rooms, True, key=lambda room: fits(devices(times, room, room), need))
    return rooms[found]


def test_the_largest_size_that_fits_is_offered() -> None:
    room = least_room(TINY, need_of(Config(width=96, height=96), FLOAT))

    said = remedy(Config(width=128, height=128), FLOAT, devices(TINY, room, room))

    assert said == "--size 96x96 fits"


def test_where_nothing_fits_more_devices_are_the_remedy() -> None:
    config = Config(width=80, height=80)

    assert remedy(config, FLOAT, devices(TINY, 1 << 20)) == "no size fits; add a device"


def test_of_a_wan_model_fewer_steps_are_offered_before_a_smaller_picture() -> None:
    config = Config(engine="wan-1.3b", width=128, height=128, max_steps=2, vae="taehv")
    dtype = torch.bfloat16
    two, one = (need_of(config.model_copy(update={"max_steps": steps}), dtype) for steps in (2, 1))
    room = least_room(WAN, one)
    assert not fits(devices(WAN, room, room), two)

    assert remedy(config, dtype, devices(WAN, room, room)) == "--max-steps 1 fits"


def test_a_smaller_model_is_named_where_there_is_one() -> None:
    config = Config(engine="wan-14b", width=64, height=64, max_steps=1, vae="taehv")

    said = remedy(config, torch.bfloat16, devices(WAN, 1 << 30))

    assert said == "no size fits; add a device, or use --engine wan-1.3b"
