"""What a show is on the disk: bit for bit what came, readable however its writer ended, and refused
where it is not as we write it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.host.show_engine import WAITS
from sdv2_host.host.show_format import Step, form_of, plain_params
from sdv2_host.host.show_part import Beginning, ShowPart, Stepped
from sdv2_host.host.show_reader import feed, open_show, read_calls
from sdv2_host.host.show_replay import digests_in, replay
from sdv2_host.host.show_video import VideoReader, VideoWriter, as_it_was, kind_of
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.params import Params
from sdv2_host.types import (
    AlphaMode,
    Frame,
    FrameMeta,
    Layout,
    Orientation,
    PixelFormat,
    Size,
    StyledChunk,
)
from tests.any_params import any_params
from tests.host.show_steps import CLOSE_S, frames_of, record_steps, recorded_engine, wait_for
from tests.naive_engine import NaiveEngine

DTYPES = {PixelFormat.RGBA16: np.uint16, PixelFormat.RGBA16F: np.float16}
FORMATS = [
    *(PixelFormat.RGBA8, PixelFormat.BGRA8, PixelFormat.R8, PixelFormat.RGBA16),
    PixelFormat.RGBA16F,
]


@settings(max_examples=25)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from(Orientation),
    st.sampled_from(AlphaMode),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
)
def test_every_format_comes_back_as_an_engine_sees_it(
    tmp_path_factory: pytest.TempPathFactory,
    pixel_format: PixelFormat,
    orientation: Orientation,
    alpha: AlphaMode,
    width: int,
    height: int,
    is_opaque: bool,
) -> None:
    """And in the memory order it came in, which resizing may hang on in the last bit."""
    channels = 1 if pixel_format is PixelFormat.R8 else 4
    dtype = DTYPES.get(pixel_format, np.uint8)
    noise = np.random.default_rng(width).random((height, width, channels))
    scale = 1.0 if dtype is np.float16 else np.iinfo(dtype).max
    pixels = (noise * scale).astype(dtype)
    pixels[..., -1] = scale if is_opaque and channels == 4 else pixels[..., -1]
    meta = FrameMeta(width, height, pixel_format, alpha, orientation)
    frame = Frame(meta, pixels)
    path = tmp_path_factory.mktemp("video") / "v.mkv"

    writer = VideoWriter(path, kind_of([to_rgba8(frame)]))
    writer.write(to_rgba8(frame), 5)
    writer.close()
    with contextlib.closing(VideoReader(path)) as reader:
        (read,) = reader.take(1)
    again = as_it_was(read, meta, form_of(frame))

    is_bytes = dtype is np.uint8
    assert np.array_equal(read, to_rgba8(frame))
    assert not is_bytes or np.array_equal(again.pixels, pixels)
    assert kind_of([to_rgba8(frame)]).has_alpha != (is_opaque or channels == 1)


def test_frames_of_other_sizes_and_with_alpha_are_in_files_of_their_own(tmp_path: Path) -> None:
    engine = recorded_engine()
    params = Params(show=str(tmp_path / "a.show"))
    sizes = [Size(24, 16), Size(24, 16), Size(8, 8), Size(24, 16)]
    given_frames = [frames_of(4 * n + 1, 4, *size) for n, size in enumerate(sizes)]
    given_frames[0] = given_frames[0][:1]
    for frames in given_frames:
        engine.step(frames, params)
        engine.reset()
    engine.close(CLOSE_S)

    (part,) = open_show(tmp_path / "a.show")
    read = [fed.frames for fed in feed(part)]

    assert [len(frames) for frames in read] == [1, 4, 4, 4]
    for ours, theirs in zip(read, given_frames, strict=True):
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(ours, theirs, strict=True))
        assert [a.meta.frame for a in ours] == [b.meta.frame for b in theirs]
    assert len(list(part.folder.glob("input-*.mkv"))) == 3


@settings(max_examples=15)
@given(st.lists(any_params(), min_size=1, max_size=4))
def test_parameters_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, params: list[Params]
) -> None:
    folder = tmp_path_factory.mktemp("show")
    engine = recorded_engine()
    for index, one in enumerate(params):
        showing = one.model_copy(update={"show": str(folder / "a.show")})
        engine.step(frames_of(1, 4 if index else 1, 2, 2), showing)
    engine.close(CLOSE_S)

    (part,) = open_show(folder / "a.show")

    assert [recorded.params for recorded in read_calls(part)] == params


def test_a_worker_that_is_killed_leaves_a_show_up_to_its_last_chunks(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time; from pathlib import Path\n"
        "from tests.host.show_steps import recorded_engine, frames_of\n"
        "from sdv2_host.params import Params\n"
        "engine = recorded_engine()\n"
        "for n in range(20): engine.step(frames_of(4 * n + 1, 4 if n else 1), "
        "Params(show=sys.argv[1]))\n"
        "while engine._part.num_steps < 20: time.sleep(0.01)\n"
        "os.kill(os.getpid(), 9 if os.name != 'nt' else signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.show")], check=False)
    record_steps(tmp_path / "a.show")  # the next worker, in the same show

    first, second = open_show(tmp_path / "a.show")
    pictures = list(replay(first, NaiveEngine(), digests_in(read_calls(first))))

    assert done.returncode != 0
    assert len(pictures) >= 4 * 18 - 3
    assert all(picture.is_equal for picture in pictures)
    assert sum(1 for _ in feed(second)) == 3


def test_a_line_that_was_being_written_is_left_out(tmp_path: Path) -> None:
    record_steps(tmp_path / "a.show")
    (part,) = open_show(tmp_path / "a.show")
    steps = part.folder / "steps.jsonl"
    steps.write_bytes(steps.read_bytes()[:-20])

    assert sum(1 for _ in read_calls(part)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="sets a limit on the size of files")
def test_a_disk_that_is_full_ends_the_recording_and_not_the_stream(tmp_path: Path) -> None:
    import resource  # noqa: PLC0415  (not on Windows)

    engine = recorded_engine()
    params = Params(show=str(tmp_path / "a.show"))
    engine.step(frames_of(1, 1), params)
    engine._part.join(0)  # type: ignore[union-attr]
    wait_for(lambda: engine._part is not None and engine._part.num_steps == 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        outs = [engine.step(frames_of(4 * n, 4), params) for n in range(1, 40)]
        wait_for(lambda: engine._part is None or engine._part.is_written)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    engine.follow(params)
    (news,) = engine.take_news()

    assert [len(out.frames) for out in outs] == [4] * 39
    assert news.has_failed
    assert "cannot write" in news.text
    assert "for sdv2-host replay" in news.text
    (part,) = open_show(tmp_path / "a.show")
    assert 1 <= sum(1 for _ in feed(part)) < 39


def test_a_disk_too_slow_ends_the_recording_and_makes_nobody_wait(tmp_path: Path) -> None:
    """The thread that writes is held up by the file it is to write into."""
    is_slow = threading.Event()
    waits = threading.Event()

    class SlowMemory:
        def write(self, path: Path) -> None:
            waits.set()
            is_slow.wait(CLOSE_S)
            path.write_bytes(b"")

    beginning = Beginning(Config(engine="passthrough"), Params(), 3, SlowMemory())
    part = ShowPart(tmp_path / "a.show", beginning, max_waiting_bytes=50_000)
    assert waits.wait(CLOSE_S)
    nothing = StyledChunk(np.empty((0, 1, 1, 4), np.uint8), {}, {})
    for number in range(20):
        part.put(Stepped(frames_of(number, 4), Params(), Layout.SERIAL, number == 0, nothing))
    is_slow.set()
    part.join(CLOSE_S)

    assert "too slow" in part.problem
    assert part.num_steps == 50_000 // (4 * 24 * 16 * 4)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    (news,) = record_steps(tmp_path / "file" / "a.show").take_news()

    assert news.has_failed
    assert "cannot write" in news.text


def test_two_workers_have_parts_of_their_own(tmp_path: Path) -> None:
    engines = [recorded_engine(), recorded_engine()]
    for engine in engines:
        engine.step(frames_of(1, 1), Params(show=str(tmp_path / "a.show")))
    for engine in engines:
        engine.close(CLOSE_S)

    assert len(open_show(tmp_path / "a.show")) == 2


def test_another_show_begins_where_one_ends(tmp_path: Path) -> None:
    engine = recorded_engine()
    engine.step(frames_of(1, 1), Params(show=str(tmp_path / "a.show")))
    engine.step(frames_of(2, 4), Params())
    engine.step(frames_of(6, 4), Params(show=str(tmp_path / "b.show")))
    engine.reset()
    engine.step(frames_of(10, 1), Params(show=str(tmp_path / "b.show")))
    engine.close(CLOSE_S)

    (first,), (second,) = open_show(tmp_path / "a.show"), open_show(tmp_path / "b.show")
    steps = [fed.recorded.call for fed in feed(second)]

    assert sum(1 for _ in feed(first)) == 1
    # This engine cannot say what it remembers, so it begins with a session.
    assert [isinstance(one, Step) and one.begins_session for one in steps] == [True]
    assert engine.take_news()[0].text == WAITS


Damage = Callable[[Path], None]


def rewrite(name: str, before: str, after: str, show: Path) -> None:
    path = show / name
    text = path.read_text()
    assert before in text, f"{before} is not in {text}"
    path.write_text(text.replace(before, after))


STEPS, PART = "part-001/steps.jsonl", "part-001/part.json"
HOSTILE: list[tuple[Damage, str]] = [
    (partial(rewrite, "show.json", '"sdv2-show"', '"other"'), "expected 'sdv2-show'"),
    (partial(rewrite, "show.json", '"version": 1', '"version": 99'), "update it"),
    (partial(rewrite, PART, '"engine": "passthrough"', '"engine": "evil"'), "engine"),
    (partial(rewrite, PART, '"devices": ""', '"models_dir": "/etc"'), "unknown setting"),
    (partial(rewrite, PART, '"width": 256', '"width": "x"'), "width"),
    (partial(rewrite, PART, '"width": 256', '"width": 99984'), "sides must be"),
    (partial(rewrite, PART, '"threads": 0', '"threads": 99999'), "allowed are 1024"),
    (partial(rewrite, PART, '"devices": ""', f'"devices": "{"cpu," * 99}cpu"'), "100 devices"),
    (partial(rewrite, PART, '"steps": 2', '"steps": 99'), "steps"),
    (partial(rewrite, STEPS, '"video":1', '"video":0'), "video"),
    (partial(rewrite, STEPS, '"video":1', '"video":"../../x"'), "video"),
    (partial(rewrite, STEPS, '"do":"step"', '"do":"exec"'), "line 1"),
    (partial(rewrite, STEPS, '"begins_session":true', '"begins_session":false'), "no session"),
    (partial(rewrite, STEPS, '"seed":2', '"seed":-1'), "line 3"),
    (partial(rewrite, STEPS, '"seed":2', '"sneed":1'), "line 3"),
    (partial(rewrite, STEPS, '"seed":2', '"lora":"../a"'), "line 3"),
    (partial(rewrite, STEPS, '"seed":2', '"steps":4,"seed":1e999'), "line 3"),
    (partial(rewrite, STEPS, '"out":["', '"out":["' + '0" ,"' * 9), "line 1"),
    (partial(rewrite, STEPS, '"out":["', '"out":["' + f'{"0" * 16}","' * 9), "more pictures"),
    (partial(rewrite, STEPS, '"do":"step"', '"do":' + "[" * 5000), "line 1"),
    (partial(rewrite, STEPS, '"do":"step"', '"x":"' + "y" * 300_000 + '","do":"step"'), "longer"),
    (lambda show: (show / STEPS).write_bytes(b"\xff\xfe\n"), "line 1"),
    (lambda show: (show / "part-001/input-001.mkv").write_bytes(b"#!/bin/sh"), "cannot read"),
    (lambda show: (show / STEPS).unlink(), "nothing was recorded"),
    (lambda show: (show / "show.json").unlink(), "is not a recorded show"),
]  # type: ignore[list-item]


def play_all(show: Path) -> None:
    for part in open_show(show):
        list(replay(part, NaiveEngine(), digests_in(read_calls(part))))


@pytest.mark.parametrize(("damage", "what"), HOSTILE)
def test_what_is_not_as_we_write_it_is_refused(tmp_path: Path, damage: Damage, what: str) -> None:
    show = tmp_path / "a.show"
    record_steps(show)
    damage(show)

    with pytest.raises(ConfigError, match=what):
        play_all(show)


@pytest.mark.parametrize(
    "name", ["show.json", "part-001/part.json", STEPS, "part-001/input-001.mkv", "part-001"]
)
def test_no_link_is_followed(tmp_path: Path, name: str) -> None:
    show = tmp_path / "a.show"
    record_steps(show)
    (show / name).rename(tmp_path / "elsewhere")
    (show / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError, match="is a link"):
        play_all(show)


@settings(max_examples=40)
@given(st.data())
def test_whatever_a_file_holds_it_is_played_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    show = tmp_path_factory.mktemp("show") / "a.show"
    record_steps(show, 2)
    name = data.draw(st.sampled_from(["show.json", PART, STEPS, "part-001/input-001.mkv"]))
    content = bytearray((show / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (show / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])

    try:
        play_all(show)
    except ConfigError:
        return


def test_a_video_whose_tags_are_no_utf_8_is_played(tmp_path: Path) -> None:
    show = tmp_path / "a.show"
    record_steps(show, 2)
    video = show / "part-001/input-001.mkv"
    video.write_bytes(video.read_bytes().replace(b"Lav", b"L\x80v"))

    play_all(show)


def test_nothing_of_the_machine_is_in_it(tmp_path: Path) -> None:
    record_steps(tmp_path / "a.show")

    text = (tmp_path / "a.show" / PART).read_text()

    assert str(tmp_path) not in text
    assert {"osc_to", "models_dir", "data_dir"}.isdisjoint(json.loads(text)["config"])
    assert plain_params(Params(show="/x"))["show"] == ""
