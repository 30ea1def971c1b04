"""Shared memory: whether rings of the wanted sizes can really be made, written and read back."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sdv2_host.checkup.finding import Finding, Subject
from sdv2_host.checkup.places import nearest_folder
from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.config import Config
from sdv2_host.errors import RingError
from sdv2_host.host.output_ring import output_slots
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter, list_streams
from sdv2_host.ipc.ring_descriptor import lock_path
from sdv2_host.ipc.ring_layout import plan_geometry
from sdv2_host.ipc.run_dir import is_lock_held, run_dirs, sandbox_run_dir
from sdv2_host.ipc.shm import FileSegmentStore, SegmentStore
from sdv2_host.types import FrameMeta, Size

GROUP = "Shared memory"
MIB = 2**20
INPUT_SIZE = Size(1920, 1080)
"""What cameras and TouchDesigner send."""
INPUT_SLOTS = 4
NUM_WORK_RINGS = 2
STREAM = "doctor"


def needed_bytes(config: Config) -> int:
    """Of all rings of a host that is sent pictures of INPUT_SIZE: input, output, and from the
    workers to the output, of which two run while one takes over from the other."""
    styled = INPUT_SIZE if config.engine == "passthrough" else config.size
    slots = output_slots(config)
    into = plan_geometry(INPUT_SLOTS, INPUT_SIZE.num_pixels * 4).segment_bytes
    out = plan_geometry(slots, styled.num_pixels * 4).segment_bytes
    return into + (1 + NUM_WORK_RINGS) * out


def check_space(config: Config) -> list[Finding]:
    """Where segments lie, and whether there is room."""
    store = store_of(config)
    return [space_finding(needed_bytes(config), store.free_bytes(), store.place())]


def store_of(config: Config) -> SegmentStore:
    """As a host of this config keeps its rings."""
    if config.file_rings and sys.platform != "win32":
        return FileSegmentStore(nearest_folder(sandbox_run_dir()))
    return SegmentStore()


def space_finding(needed: int, free: int | None, place: str) -> Finding:
    """`free` None = the system does not say."""
    subject = Subject(GROUP, "space")
    wanted = f"{needed / MIB:.0f} MiB are wanted for a {INPUT_SIZE} source"
    if free is None:
        return subject.ok(f"{wanted}; {place} does not say how much is free")
    seen = f"{free / MIB:.0f} MiB free in {place}; {wanted}"
    if free < needed:
        return subject.trouble(
            seen,
            "the host cannot start, or a larger source is shown small",
            "close programs that use it; in Docker: --shm-size=1g; else: sudo mount -o "
            "remount,size=2G /dev/shm",
        )
    if free < 2 * needed:
        return subject.warning(
            seen,
            "a second host, or a larger source, has no room",
            "close programs that use shared memory",
        )
    return subject.ok(seen)


def check_round_trip(config: Config) -> list[Finding]:
    """Rings of the wanted sizes are made, written and read back, and are gone then."""
    folder = Path(tempfile.mkdtemp(prefix="sdv2-doctor-"))  # 0700, as a run directory must be
    try:
        styled = INPUT_SIZE if config.engine == "passthrough" else config.size
        return [
            round_trip(folder, store_of_trip(config, folder), size, slots)
            for size, slots in ((INPUT_SIZE, INPUT_SLOTS), (styled, output_slots(config)))
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def store_of_trip(config: Config, folder: Path) -> SegmentStore:
    """As `store_of`, but files lie in `folder`: a host that runs must not see ours."""
    return FileSegmentStore(folder) if config.file_rings else SegmentStore()


def round_trip(folder: Path, store: SegmentStore, size: Size, slots: int) -> Finding:
    """One picture of random pixels through a ring of this size."""
    subject = Subject(GROUP, f"ring of {size}")
    pixels = np.random.default_rng(0).integers(0, 256, (size.height, size.width, 4), dtype=np.uint8)
    begin_ns = now_ns()
    try:
        with (
            FrameWriter(
                STREAM,
                slot_count=slots,
                capacity_bytes=pixels.nbytes,
                run_dir=folder,
                segments=store,
            ) as writer,
            FrameReader(STREAM, run_dir=folder, segments=store) as reader,
        ):
            writer.publish(pixels, FrameMeta(size.width, size.height))
            frame = reader.read_newest()
    except RingError as error:
        return subject.trouble(
            str(error), "pictures reach no other program", "as it says, then look again"
        )
    took_ms = (now_ns() - begin_ns) / NS_PER_MS
    if frame is None or not np.array_equal(frame.pixels, pixels):
        return subject.trouble(
            "made, but another picture came back than was written",
            "other programs see no pictures, or torn ones",
            "restart the computer; then please report this line",
        )
    return subject.ok(f"made, written and read back, {slots} slots, {took_ms:.0f} ms")


def check_leftovers() -> list[Finding]:
    """What hosts that died left, in all run directories."""
    dead = [name for folder in run_dirs() for name in dead_streams(folder)]
    return list(leftover_findings(sorted(dead)))


def dead_streams(folder: Path) -> list[str]:
    """Streams whose writer is gone but whose files are not."""
    with contextlib.suppress(OSError):
        return [name for name in list_streams(folder) if not is_lock_held(lock_path(folder, name))]
    return []


def leftover_findings(dead: list[str]) -> Iterator[Finding]:
    subject = Subject(GROUP, "left by dead hosts")
    if dead:
        yield subject.warning(
            f"{len(dead)} ring{'' if len(dead) == 1 else 's'}: {', '.join(dead[:5])}",
            "they hold memory until then",
            "nothing: the next host that starts removes them",
        )
    else:
        yield subject.ok("nothing")
