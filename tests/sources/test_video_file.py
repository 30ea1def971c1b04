"""Video files: every frame once per pass, paced by its time, faults in one line."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdv2_host.errors import SourceError
from sdv2_host.sources.video_file import VideoFile
from tests.sources.clips import write_clip, write_sound_only


def greys(source: VideoFile, count: int) -> list[int]:
    return [int(f.pixels[-1, -1, 0]) for f in itertools.islice(source.frames(), count)]


def test_once_gives_each_frame_once_with_its_time(tmp_path: Path) -> None:
    source = VideoFile(write_clip(tmp_path / "a.mp4", 5), loop=False)

    frames = [(int(f.pixels[-1, -1, 0]), f.due_s) for f in source.frames()]

    assert [grey for grey, _ in frames] == [8, 16, 24, 32, 40]
    assert [due_s for _, due_s in frames] == pytest.approx([n / 30 for n in range(5)], abs=1e-3)
    assert source.fps == 30.0


def test_a_loop_goes_on_at_the_same_pace(tmp_path: Path) -> None:
    source = VideoFile(write_clip(tmp_path / "a.mp4", 3))

    frames = list(itertools.islice(source.frames(), 8))

    assert [int(f.pixels[-1, -1, 0]) for f in frames] == [8, 16, 24, 8, 16, 24, 8, 16]
    assert np.diff([f.due_s for f in frames]) == pytest.approx([1 / 30] * 7, abs=1e-3)


def test_fps_given_replaces_the_file_s_own(tmp_path: Path) -> None:
    source = VideoFile(write_clip(tmp_path / "a.mp4", 3), fps=10.0)

    due_s = [f.due_s for f in itertools.islice(source.frames(), 5)]

    assert due_s == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("size", [(33, 17), (1, 1), (2, 300)])
def test_odd_and_tiny_sizes_are_read_whole(tmp_path: Path, size: tuple[int, int]) -> None:
    source = VideoFile(write_clip(tmp_path / "odd.mp4", 2, size), loop=False)

    shapes = {f.pixels.shape for f in source.frames()}

    assert shapes == {(size[1], size[0], 4)}


def test_a_still_picture_plays_for_ever(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (7, 7, 7)).save(tmp_path / "still.png")

    assert greys(VideoFile(tmp_path / "still.png"), 4) == [7, 7, 7, 7]


def test_a_truncated_file_plays_what_is_there(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", 30, (320, 240))
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])

    shown = greys(VideoFile(broken, loop=False), 60)

    assert 0 < len(shown) < 30
    assert shown == [8 * n + 8 for n in range(len(shown))]


def test_a_file_whose_tags_are_no_utf_8_plays(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 3)
    clip.write_bytes(clip.read_bytes().replace(b"Lav", b"L\xe4v"))

    assert greys(VideoFile(clip, loop=False), 4) == [8, 16, 24]


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^\S+no\.mp4 does not exist, .*$"):
        VideoFile(tmp_path / "no.mp4")


def test_a_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is a directory, expected a video file$"):
        VideoFile(tmp_path)


def test_a_zero_length_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()

    with pytest.raises(SourceError, match=r"zero length"):
        VideoFile(tmp_path / "empty.mp4")


def test_noise_named_mp4_is_one_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 20_000, dtype=np.uint8)
    (tmp_path / "noise.mp4").write_bytes(noise.tobytes())

    with pytest.raises(SourceError, match=r"noise\.mp4 is not a video"):
        VideoFile(tmp_path / "noise.mp4")


def test_sound_without_picture_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no video stream"):
        VideoFile(write_sound_only(tmp_path / "sound.wav"))
