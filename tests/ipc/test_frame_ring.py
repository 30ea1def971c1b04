"""Laws of the frame ring: what goes in comes out, newest first, whole or not at all."""

from __future__ import annotations

import json
import mmap
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.errors import AlreadyRunningError, RingError
from sdv2_host.ipc.frame_ring import (
    FrameReader,
    FrameWriter,
    RingStatus,
    list_streams,
    remove_all_stale,
    remove_stale,
)
from sdv2_host.ipc.ring_layout import (
    HEARTBEAT_WORD,
    PIXEL_LAYOUTS,
    SEGMENT_HEADER_BYTES,
    SLOT_HEADER_BYTES,
)
from sdv2_host.ipc.shm import SegmentStore
from sdv2_host.types import (
    AlphaMode,
    Frame,
    FrameFlags,
    FrameMeta,
    Orientation,
    PixelFormat,
)
from tests.ipc import ring_process
from tests.ipc.ring_process import PATTERN_PERIOD

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="segments are files of a folder only there"
)
U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)


FLAGS = [FrameFlags.NONE, FrameFlags.REPEATED, FrameFlags.LOCKSTEP, FrameFlags(0xFF00)]
"""The last one: what later versions may mean by it is not ours to refuse."""


class Place(NamedTuple):
    """A run directory and a segment directory of one test's own."""

    run_dir: Path
    segment_dir: Path

    def writer(self, stream: str = "s", **options: int) -> FrameWriter:
        segments = SegmentStore(self.segment_dir)
        return FrameWriter(stream, run_dir=self.run_dir, segments=segments, **options)

    def reader(self, stream: str = "s") -> FrameReader:
        return FrameReader(stream, run_dir=self.run_dir, segments=SegmentStore(self.segment_dir))

    def left(self) -> list[str]:
        return sorted(os.listdir(self.run_dir) + os.listdir(self.segment_dir))

    def has_one_segment(self) -> bool:
        """Whether that is all there is; elsewhere than on Linux it cannot be seen."""
        return sys.platform != "linux" or len(list(self.segment_dir.iterdir())) == 1

    def segment(self) -> Path:
        return next(self.segment_dir.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    run_dir, segment_dir = tmp_path / "run", tmp_path / "shm"
    run_dir.mkdir(mode=0o700)
    segment_dir.mkdir()
    return Place(run_dir, segment_dir)


def picture(value: int, width: int = 8, height: int = 8) -> NDArray[np.uint8]:
    return np.full((height, width, 4), value % PATTERN_PERIOD, np.uint8)


def publish(writer: FrameWriter, width: int = 8, height: int = 8) -> int:
    return writer.publish(picture(writer.frame + 1, width, height), FrameMeta(width, height))


def number(frame: Frame | None) -> int | None:
    """The frame's number, after a look at every byte."""
    if frame is None:
        return None
    assert (frame.pixels == frame.meta.frame % PATTERN_PERIOD).all()
    return frame.meta.frame


def drain(reader: FrameReader) -> list[int]:
    frames = []
    while (found := number(reader.read_next())) is not None:
        frames.append(found)
    return frames


def eventually(ask: Callable[[], Any], wanted: object, within_s: float = 15.0) -> None:
    deadline = time.monotonic() + within_s
    while (answer := ask()) != wanted:
        assert time.monotonic() < deadline, f"still {answer}, not {wanted}"
        time.sleep(0.01)


@st.composite
def frames(draw: st.DrawFn) -> tuple[FrameMeta, NDArray[Any]]:
    """Any picture in any format, as an array of any strides."""
    pixel_format = draw(st.sampled_from(PixelFormat))
    layout = PIXEL_LAYOUTS[pixel_format]
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    wide = rng.integers(0, 256, (height * 2, width * 3, layout.bytes_per_pixel), np.uint8)
    pixels = wide.view(layout.dtype)  # includes NaN and infinities
    cut = draw(st.sampled_from(["whole", "mirrored", "every third", "transposed"]))
    pixels = {
        "whole": pixels[:height, :width].copy(),
        "mirrored": pixels[height:, width : 2 * width][::-1, ::-1],
        "every third": pixels[::2, ::3],
        "transposed": pixels[:height, :width].transpose(1, 0, 2),
    }[cut]
    meta = FrameMeta(
        width=pixels.shape[1],
        height=pixels.shape[0],
        pixel_format=pixel_format,
        alpha=draw(st.sampled_from(AlphaMode)),
        orientation=draw(st.sampled_from(Orientation)),
        flags=draw(st.sampled_from(FLAGS)),
        dropped_before=draw(st.integers(0, 2**32 - 1)),
        capture_ts_ns=draw(I64),
        source_frame=draw(U64),
        source_capture_ts_ns=draw(I64),
        user_tag=draw(U64),
        present_ts_ns=draw(I64),
    )
    return meta, pixels


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(frames())
def test_a_frame_read_equals_the_frame_written(
    place: Place, given_frame: tuple[FrameMeta, NDArray[Any]]
) -> None:
    meta, pixels = given_frame

    with place.writer() as writer, place.reader() as reader:
        before_ns = now_ns()
        writer.publish(pixels, meta)
        frame = reader.read_newest()

    assert frame is not None
    assert frame.pixels.dtype == pixels.dtype
    assert frame.pixels.tobytes() == pixels.tobytes()
    assert frame.meta.frame == 1
    assert before_ns <= frame.meta.publish_ts_ns <= now_ns()
    for field in ("width", "height", "pixel_format", "alpha", "orientation", "flags", "user_tag",
                  "dropped_before", "capture_ts_ns", "source_frame", "source_capture_ts_ns",
                  "present_ts_ns"):  # fmt: skip
        assert getattr(frame.meta, field) == getattr(meta, field)


def test_the_newest_frame_wins_and_is_given_once(place: Place) -> None:
    with place.writer() as writer, place.reader() as reader:
        for _ in range(11):
            publish(writer)

        assert number(reader.read_newest()) == 11
        assert reader.read_newest() is None
        assert reader.lost == 0


def test_read_next_delivers_every_frame_when_it_keeps_up(place: Place) -> None:
    with place.writer(slot_count=4) as writer, place.reader() as reader:
        taken = []
        for _ in range(50):
            publish(writer)
            publish(writer)
            taken += drain(reader)

    assert taken == list(range(1, 101))
    assert reader.lost == 0


def test_read_next_counts_what_it_lost_when_it_is_lapped(place: Place) -> None:
    with place.writer(slot_count=4) as writer, place.reader() as reader:
        publish(writer)
        first = drain(reader)
        for _ in range(10):
            publish(writer)
        rest = drain(reader)

    assert (first, rest) == ([1], [8, 9, 10, 11])
    assert reader.lost == 6


def test_what_is_in_the_ring_before_a_reader_comes_is_not_lost(place: Place) -> None:
    with place.writer(slot_count=4) as writer, place.reader() as reader:
        for _ in range(10):
            publish(writer)

        assert drain(reader) == [7, 8, 9, 10]
        assert reader.lost == 0


def test_a_frame_once_read_never_changes(place: Place) -> None:
    with place.writer(slot_count=2) as writer, place.reader() as reader:
        publish(writer)
        frame = reader.read_newest()
        for _ in range(20):
            publish(writer)

        assert number(frame) == 1


def test_a_frame_begun_is_not_seen_before_it_is_committed(place: Place) -> None:
    with place.writer(slot_count=2) as writer, place.reader() as reader:
        publish(writer)
        payload = writer.begin(FrameMeta(8, 8), 8 * 8 * 4)
        payload[:] = 2
        seen_before = number(reader.read_newest())
        writer.commit()
        seen_after = number(reader.read_newest())

    assert (seen_before, seen_after) == (1, 2)


def test_a_frame_begun_twice_is_published_once(place: Place) -> None:
    with place.writer() as writer, place.reader() as reader:
        writer.begin(FrameMeta(8, 8), 8 * 8 * 4)[:] = 99
        publish(writer)

        assert number(reader.read_newest()) == 1


def test_rows_may_be_padded(place: Place) -> None:
    with place.writer() as writer, place.reader() as reader:
        rows = writer.begin(FrameMeta(3, 5), 5 * 20).reshape(5, 20)
        rows[:] = 77
        rows[:, :12] = 1
        writer.commit()

        assert number(reader.read_newest()) == 1


@pytest.mark.parametrize("slot_count", [2, 3])
def test_a_lapped_reader_never_sees_a_torn_frame(place: Place, slot_count: int) -> None:
    # 4 MB frames: long enough to copy that the writer really overtakes (checked once with the
    # last comparison of `FrameReader._take` removed: 4 to 9 torn frames in 1.5 s). On a busy
    # machine the writer may just keep up: it goes on until it has lapped us.
    process = ring_process.start("burst", *place, "s", 1024, 1024, slot_count)
    begin_ns = now_ns()
    with place.reader() as reader:
        taken, torn = 0, 0
        while now_ns() - begin_ns < NS_PER_S or not reader.lost + reader.retries:
            frame = reader.read_newest() if taken % 2 else reader.read_next()
            taken += frame is not None
            torn += (
                frame is not None and not (frame.pixels == frame.meta.frame % PATTERN_PERIOD).all()
            )
    process.communicate()

    assert taken > 0
    assert torn == 0


class LappingMap(mmap.mmap):
    """A mapping whose writer overtakes right after a slot header was copied from it."""

    overtake: Callable[[], None]

    def __getitem__(self, key: Any) -> Any:
        copied = super().__getitem__(key)
        if key.start and key.start >= SEGMENT_HEADER_BYTES:
            self.overtake()
        return copied


class LappingStore(SegmentStore):
    """Maps segments so that `overtake` runs in the middle of the first `times` copies."""

    def __init__(self, directory: Path, writer: FrameWriter, times: int) -> None:
        super().__init__(directory)
        self._path, self._writer, self._times = directory, writer, times

    def attach(self, name: str, num_bytes: int) -> mmap.mmap:
        with (self._path / name).open("rb") as file:
            mapping = LappingMap(file.fileno(), num_bytes, prot=mmap.PROT_READ)
        mapping.overtake = self._overtake
        return mapping

    def _overtake(self) -> None:
        if self._times:
            self._times -= 1
            publish(self._writer)
            publish(self._writer)


@on_linux
def test_a_frame_overtaken_while_it_is_copied_is_thrown_away(place: Place) -> None:
    with place.writer(slot_count=2) as writer:
        publish(writer)
        store = LappingStore(place.segment_dir, writer, times=2)

        with FrameReader("s", run_dir=place.run_dir, segments=store) as reader:
            assert number(reader.read_newest()) == 5
            assert reader.retries == 2


@on_linux
def test_a_reader_overtaken_every_time_gives_up_for_this_poll(place: Place) -> None:
    with place.writer(slot_count=2) as writer:
        publish(writer)
        store = LappingStore(place.segment_dir, writer, times=3)

        with FrameReader("s", run_dir=place.run_dir, segments=store) as reader:
            assert reader.read_newest() is None
            assert number(reader.read_newest()) == 7
            assert reader.retries == 3


def test_after_kill_9_a_restart_is_seen_and_nothing_leaks(place: Place) -> None:
    reader = place.reader()
    for restart in range(3):
        process = ring_process.start("hold", *place, "s", 5)
        eventually(lambda: number(reader.read_newest()), 5)
        eventually(lambda: reader.status, RingStatus.LIVE)

        process.kill()
        process.communicate()

        eventually(lambda: reader.status, RingStatus.DEAD)
        assert place.has_one_segment(), f"restart {restart}"
    with place.writer() as writer:
        publish(writer)
        eventually(lambda: number(reader.read_newest()), 1)
        assert place.has_one_segment()
        assert writer.generation == 4
    assert place.left() == []
    reader.close()


@on_linux
def test_a_writer_that_stops_is_stalled_not_dead(place: Place) -> None:
    with place.writer() as writer, place.reader() as reader:
        publish(writer)
        assert number(reader.read_newest()) == 1
        assert reader.status is RingStatus.LIVE

        _poke(place.segment(), HEARTBEAT_WORD * 8, (now_ns() - 3 * NS_PER_S).to_bytes(8, "little"))

        assert reader.status is RingStatus.STALLED
        writer.heartbeat()
        assert reader.status is RingStatus.LIVE


def test_a_reader_may_come_before_the_writer_and_stay_after_it(place: Place) -> None:
    with place.reader() as reader:
        assert (reader.status, reader.read_newest()) == (RingStatus.ABSENT, None)

        with place.writer() as writer:
            publish(writer)
            eventually(lambda: number(reader.read_newest()), 1)
        eventually(lambda: reader.status, RingStatus.CLOSED)
        assert reader.read_next() is None

        with place.writer() as writer:
            publish(writer)
            publish(writer)
            eventually(lambda: number(reader.read_next()), 1)


def test_a_peek_tells_how_many_were_published_and_takes_none(place: Place) -> None:
    with place.reader() as reader:
        assert reader.peek(may_leave=True) == 0

        with place.writer(capacity_bytes=256) as writer:
            publish(writer)
            eventually(lambda: reader.peek(may_leave=True), 1)
            publish(writer, 300, 200)  # in another segment

            assert reader.peek(may_leave=False) == 1
            eventually(lambda: reader.peek(may_leave=True), 2)
            assert number(reader.read_newest()) == 2


def test_frames_of_a_closed_stream_can_still_be_taken(place: Place) -> None:
    with place.reader() as reader:
        with place.writer() as writer:
            publish(writer)
            assert drain(reader) == [1]
            publish(writer)
            publish(writer)

        assert drain(reader) == [2, 3]
        assert reader.lost == 0


def test_a_larger_frame_makes_a_new_generation(place: Place) -> None:
    with place.writer(capacity_bytes=256) as writer, place.reader() as reader:
        publish(writer)
        first = number(reader.read_newest())
        publish(writer, 300, 200)
        grown = number(reader.read_newest())
        publish(writer)
        small_again = number(reader.read_newest())

        assert (first, grown, small_again) == (1, 2, 3)
        assert writer.generation == 2
        assert place.has_one_segment()


def test_read_next_misses_nothing_over_a_new_generation(place: Place) -> None:
    with place.writer(capacity_bytes=256) as writer, place.reader() as reader:
        publish(writer)
        taken = drain(reader)
        publish(writer)
        publish(writer)
        publish(writer, 64, 65)
        publish(writer)
        taken += drain(reader)

    assert taken == [1, 2, 3, 4, 5]
    assert reader.lost == 0


class LateWriter(FrameReader):
    """A reader whose writer publishes a frame and then grows the ring while it looks around."""

    def __init__(self, place: Place) -> None:
        super().__init__("s", run_dir=place.run_dir, segments=SegmentStore(place.segment_dir))
        self.late: Callable[[], None] = lambda: None

    def _look_around(self, frame: Frame | None, now: int, *, may_leave: bool) -> bool:
        late, self.late = self.late, lambda: None
        late()
        return super()._look_around(frame, now, may_leave=may_leave)


def test_read_next_leaves_no_segment_in_which_a_frame_came_since_it_looked(place: Place) -> None:
    with place.writer(capacity_bytes=256) as writer, LateWriter(place) as reader:

        def late() -> None:
            publish(writer)
            publish(writer, 64, 65)

        publish(writer)
        taken = drain(reader)
        reader.late = late
        taken += drain(reader)
        taken += drain(reader)

    assert taken == [1, 2, 3]
    assert reader.lost == 0


def test_read_next_counts_a_generation_it_never_saw_as_lost(place: Place) -> None:
    with place.writer(capacity_bytes=256) as writer, place.reader() as reader:
        publish(writer)
        taken = drain(reader)
        publish(writer, 64, 65)
        publish(writer, 640, 480)
        taken += drain(reader)

    assert taken == [1, 3]
    assert reader.lost == 1


def test_a_second_writer_is_refused_by_name_and_pid(place: Place) -> None:
    with place.writer() as writer, place.reader() as reader:
        with pytest.raises(AlreadyRunningError, match=rf"stream s .*process {os.getpid()}"):
            place.writer()

        publish(writer)
        assert number(reader.read_newest()) == 1


def test_nothing_is_left_when_all_are_closed(place: Place) -> None:
    reader = place.reader()
    with place.writer(capacity_bytes=256) as writer:
        publish(writer)
        publish(writer, 100, 100)
        view = writer.begin(FrameMeta(8, 8), 256)
        reader.read_newest()
    reader.close()
    reader.close()
    writer.close()

    view[:] = 1  # a view the caller kept is still memory of this process
    assert place.left() == []


def test_two_readers_get_the_same_frames(place: Place) -> None:
    with place.writer() as writer, place.reader() as one, place.reader() as two:
        for expected in range(1, 10):
            publish(writer)
            assert (number(one.read_newest()), number(two.read_newest())) == (expected, expected)


def test_streams_are_listed_and_leftovers_removed(place: Place) -> None:
    process = ring_process.start("hold", place.run_dir, "/dev/shm", "dead", 1)
    assert not remove_stale("dead", place.run_dir)
    process.kill()
    process.communicate()
    with place.writer("live"):
        assert list_streams(place.run_dir) == ["dead", "live"]

        assert remove_stale("dead", place.run_dir)
        assert not remove_stale("dead", place.run_dir)
        assert not remove_stale("live", place.run_dir)
        assert list_streams(place.run_dir) == ["live"]


@on_linux
def test_what_dead_writers_left_is_removed_and_the_living_go_on(place: Place) -> None:
    (place.run_dir / "half-made.pending").write_text("lfr.00000000000000000000\n")
    (place.run_dir / "half-made.pending").chmod(0o600)
    (place.run_dir / "No Stream.json").write_text("{}")
    dead = [ring_process.start("hold", place.run_dir, "/dev/shm", name, 1) for name in "ab"]
    segments = [_segment_of(place, name) for name in "ab"]
    for process in dead:
        process.kill()
        process.communicate()

    with place.writer("live") as writer, place.reader("live") as reader:
        assert remove_all_stale(place.run_dir) == ["a", "b", "half-made"]
        assert remove_all_stale(place.run_dir) == []
        publish(writer)
        assert number(reader.read_newest()) == 1
    assert place.left() == ["No Stream.json"]
    assert not any(segment.exists() for segment in segments)


def _segment_of(place: Place, stream: str) -> Path:
    descriptor = json.loads((place.run_dir / f"{stream}.json").read_text())
    segment = Path("/dev/shm", descriptor["segment"])
    assert segment.exists()
    return segment


@pytest.mark.parametrize(
    ("pixels", "meta"),
    [
        (np.zeros((8, 8, 3), np.uint8), FrameMeta(8, 8)),
        (np.zeros((8, 9, 4), np.uint8), FrameMeta(8, 8)),
        (np.zeros((8, 8, 4), np.float32), FrameMeta(8, 8)),
        (np.zeros((8, 8, 4), np.uint8), FrameMeta(8, 8, PixelFormat.RGBA32F)),
        (np.zeros((0, 8, 4), np.uint8), FrameMeta(8, 0)),
    ],
)
def test_pixels_that_contradict_their_meta_are_refused(
    place: Place, pixels: NDArray[Any], meta: FrameMeta
) -> None:
    with place.writer() as writer:
        with pytest.raises(RingError, match="stream s"):
            writer.publish(pixels, meta)

        assert publish(writer) == 1


@pytest.mark.parametrize("name", ["", "A", "a/b", "../x", "x" * 49, "a.b", "ü"])
def test_a_stream_name_that_is_no_file_name_is_refused(place: Place, name: str) -> None:
    with pytest.raises(RingError, match="stream name"):
        place.writer(name)
    with pytest.raises(RingError, match="stream name"):
        place.reader(name)


@on_linux
def test_a_run_directory_open_to_others_is_refused(place: Place) -> None:
    place.run_dir.chmod(0o755)

    with pytest.raises(RingError, match="chmod 700"):
        place.writer()
    with place.reader() as reader:
        assert reader.status is RingStatus.ABSENT
        assert "chmod 700" in reader.refusal


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"a small tmpfs needs root: {done.stderr.strip()}")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_full_shared_memory_is_one_clear_line_and_leaves_nothing(
    place: Place, small_tmpfs: Path
) -> None:
    small = Place(place.run_dir, small_tmpfs)

    with pytest.raises(RingError, match=r"stream s: .*\d+ bytes are needed in .*bytes are free"):
        small.writer(capacity_bytes=1 << 20)

    assert small.left() == []


def test_a_stream_that_cannot_grow_goes_on_as_it_was(place: Place, small_tmpfs: Path) -> None:
    small = Place(place.run_dir, small_tmpfs)
    with small.writer() as writer, small.reader() as reader:
        publish(writer)
        with pytest.raises(RingError, match="bytes are needed"):
            publish(writer, 1000, 1000)
        assert number(reader.read_newest()) == 1

        publish(writer)

        assert number(reader.read_newest()) == 2
        assert len(list(small_tmpfs.iterdir())) == 1
    assert small.left() == []


def _poke(segment: Path, offset: int, content: bytes) -> None:
    with segment.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
        mapping[offset : offset + len(content)] = content
        mapping.close()


def _mutate(content: bytes, rng: random.Random) -> bytes:
    """The content with bytes changed, words replaced by extremes, or cut."""
    mutated = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        match rng.randrange(4):
            case 0:
                mutated[rng.randrange(len(mutated))] = rng.randrange(256)
            case 1:
                start = rng.randrange(len(mutated)) & ~7
                word = rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, rng.getrandbits(64)])
                mutated[start : start + 8] = word.to_bytes(8, "little")
            case 2:
                start = rng.randrange(len(mutated)) & ~3
                word = rng.choice([0, 1, 3, 65, 16385, 2**31, 2**32 - 1, rng.getrandbits(32)])
                mutated[start : start + 4] = word.to_bytes(4, "little")
            case 3:
                mutated[rng.randrange(len(mutated))] ^= 1 << rng.randrange(8)
    return bytes(mutated[: len(content)])


@on_linux
def test_no_slot_header_can_harm_a_reader(place: Place) -> None:
    rng = random.Random(5)
    with place.writer(slot_count=2) as writer, place.reader() as reader:
        publish(writer)
        publish(writer)
        assert number(reader.read_newest()) == 2
        segment = place.segment()
        whole = segment.read_bytes()
        area = slice(SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + SLOT_HEADER_BYTES)
        file = segment.open("r+b")
        with file, mmap.mmap(file.fileno(), 0) as mapping:
            for attempt in range(2000):
                mapping[area] = _mutate(whole[area], rng)
                if attempt % 3:  # leave the frame acceptable but for what was mutated after it
                    mapping[area.start : area.start + 16] = whole[area][:16]
                with place.reader() as fresh:
                    fresh.read_newest()
                    fresh.read_next()
            mapping[:] = whole

        publish(writer)
        assert number(reader.read_newest()) == 3


@on_linux
def test_no_segment_header_can_harm_a_reader(place: Place) -> None:
    rng = random.Random(6)
    with place.writer(slot_count=2) as writer, place.reader() as attached:
        publish(writer)
        assert number(attached.read_newest()) == 1
        segment = place.segment()
        whole = segment.read_bytes()
        area = slice(0, 0x118)
        refused = 0
        file = segment.open("r+b")
        with file, mmap.mmap(file.fileno(), 0) as mapping:
            for _ in range(1500):
                mapping[area] = _mutate(whole[area], rng)
                with place.reader() as fresh:
                    fresh.read_newest()
                    fresh.read_next()
                    assert fresh.status in RingStatus
                    refused += fresh.refused
                attached.read_newest()
                attached.read_next()
                assert attached.status in RingStatus
            mapping[:] = whole

        assert refused > 500
        publish(writer)
        eventually(lambda: number(attached.read_newest()), 2)


def test_no_descriptor_can_harm_a_reader(place: Place) -> None:
    rng = random.Random(7)
    with place.writer(slot_count=2, capacity_bytes=256) as writer:
        publish(writer)
        path = place.run_dir / "s.json"
        whole = path.read_bytes()
        hostile = [b"", b"{", b"[]", b"null", b"[" * 4000, b'{"abi":[1,0]}', b"\xff" * 100,
                   whole + b" " * 5000, whole.replace(b'"generation": 1', b'"generation": 1e999'),
                   whole.replace(b'"lfr.', b'"../../etc/'), whole[: len(whole) // 2]]  # fmt: skip
        hostile += [_mutate(whole, rng) for _ in range(1000)]

        for content in hostile:
            path.write_bytes(content)
            with place.reader() as reader:
                reader.read_newest()
                assert reader.status in RingStatus

        path.write_bytes(whole)
        with place.reader() as reader:
            assert number(reader.read_newest()) == 1


@on_linux
def test_what_is_not_a_private_file_is_not_read(place: Place) -> None:
    path = place.run_dir / "s.json"
    with place.writer() as writer, place.reader() as reader:
        publish(writer)
        path.rename(place.run_dir / "elsewhere")
        path.symlink_to(place.run_dir / "elsewhere")
        assert reader.status is RingStatus.ABSENT
        path.unlink()
        os.mkfifo(path, 0o600)
        time.sleep(0.11)
        assert reader.status is RingStatus.ABSENT
        assert "regular" in reader.refusal
        path.unlink()
        (place.run_dir / "elsewhere").rename(path)
        path.chmod(0o644)
        time.sleep(0.11)
        assert reader.status is RingStatus.ABSENT
        assert "644" in reader.refusal
        path.chmod(0o600)
        eventually(lambda: number(reader.read_newest()), 1)


@on_linux
def test_a_truncated_segment_is_refused(place: Place) -> None:
    with place.writer() as writer, place.reader() as reader:
        publish(writer)
        os.truncate(place.segment(), SEGMENT_HEADER_BYTES + 4096)

        assert reader.read_newest() is None
        assert "bytes, expected at least" in reader.refusal


def test_a_hostile_leftover_cannot_make_us_unlink_other_files(place: Place) -> None:
    bystander = place.segment_dir / "precious"
    bystander.write_text("keep")
    pending = place.run_dir / "s.pending"
    pending.write_text("precious\n../run/x\nlfr.zzz\n")
    pending.chmod(0o600)

    with place.writer():
        pass

    assert bystander.read_text() == "keep"
