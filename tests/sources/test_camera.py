"""Cameras: picked by number from a list; FFmpeg's lavfi stands for a device."""

from __future__ import annotations

import itertools

import pytest

from sdv2_host.errors import SourceError
from sdv2_host.sources.camera import Camera, CameraDevice, list_cameras, pick_camera

FRONT = CameraDevice("v4l2", "/dev/video0", "Front")
REAR = CameraDevice("v4l2", "/dev/video2", "Rear")
FAKE = CameraDevice("lavfi", "testsrc=size=48x32:rate=20:duration=0.25", "Fake")


def test_listing_cameras_works_on_a_machine_without_any() -> None:
    assert all(isinstance(camera, CameraDevice) for camera in list_cameras())


def test_numbers_count_from_zero_in_list_order() -> None:
    assert pick_camera(1, [FRONT, REAR]) == REAR


def test_no_camera_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(SourceError, match=r"no camera was found; .*--input FILE$"):
        pick_camera(0, [])


@pytest.mark.parametrize("number", [2, -1])
def test_a_wrong_number_lists_what_is_there(number: int) -> None:
    with pytest.raises(SourceError, match="0 = Front; 1 = Rear"):
        pick_camera(number, [FRONT, REAR])


def test_camera_pictures_are_rgba_and_due_at_once() -> None:
    camera = Camera(FAKE)

    frames = list(itertools.islice(camera.frames(), 3))
    camera.close()

    assert camera.fps == 20.0
    assert {f.pixels.shape for f in frames} == {(32, 48, 4)}
    assert [f.due_s for f in frames] == [0.0, 0.0, 0.0]


def test_a_camera_that_stops_is_an_error_not_an_end() -> None:
    with pytest.raises(SourceError, match="Fake sends no more pictures"):
        list(Camera(FAKE).frames())


def test_a_camera_that_will_not_open_is_one_line() -> None:
    with pytest.raises(SourceError, match=r"camera Gone cannot be opened"):
        Camera(CameraDevice("lavfi", "nosuchfilter=1", "Gone"))
