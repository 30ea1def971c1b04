"""InputRing: pictures of the application into the ring that its host reads."""

from __future__ import annotations

from pathlib import Path

from sdv2_host.client.mailbox import Picture
from sdv2_host.clock import NS_PER_S
from sdv2_host.errors import AlreadyRunningError, RingError
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.ipc.host_file import input_stream
from sdv2_host.ipc.ring_descriptor import lock_path
from sdv2_host.ipc.ring_layout import MAX_SIDE_PX
from sdv2_host.ipc.run_dir import default_run_dir, is_lock_held
from sdv2_host.types import FrameFlags, FrameMeta

DEFAULT_SLOTS = 4
RETRY_NS = NS_PER_S
HEARTBEAT_NS = NS_PER_S // 10
PAUSE_NS = NS_PER_S
"""Without a picture for so long, the source has paused."""


class InputRing:
    """The writer of NAME-in, as soon as a picture comes and nobody else writes there.

    Fields, per host name and directory: the writer; why pictures do not go out; since when they
    do; when to try again and to give a sign of life.
    """

    def __init__(self, host: str, directory: Path | None) -> None:
        self.trouble = ""
        """Why the last picture was not published, and what to do; '' = it was."""
        self.began_ns = 0
        """Since when pictures have been going out without a pause."""
        self._host = host
        self._directory = directory if directory is not None else default_run_dir()
        self._writer: FrameWriter | None = None
        self._slots = DEFAULT_SLOTS
        self._published_ns = 0
        self._next_try_ns = 0
        self._next_heartbeat_ns = 0

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def frames(self) -> int:
        """Published since it was opened."""
        return self._writer.frame if self._writer is not None else 0

    def sending_s(self, now: int) -> float:
        """For how long pictures have been going out; 0 = they do not."""
        if not self.began_ns or now - self._published_ns > PAUSE_NS:
            return 0.0
        return (now - self.began_ns) / NS_PER_S

    def publish(self, picture: Picture, flags: FrameFlags, now: int) -> int:
        """The picture's number in the ring; 0 = it did not get there, `trouble` says why."""
        if now < self._next_try_ns:
            return 0
        try:
            number = self._publish(picture, flags, now)
        except AlreadyRunningError:
            self._fail(self._taken(), now)
            return 0
        except RingError as error:
            self._fail(f"Frames do not go out: {error}.", now)
            return 0
        if now - self._published_ns > PAUSE_NS:
            self.began_ns = now
        self._published_ns, self.trouble = now, ""
        return number

    def _publish(self, picture: Picture, flags: FrameFlags, now: int) -> int:
        """Raises: RingError."""
        height, width = picture.pixels.shape[:2]
        if max(width, height) > MAX_SIDE_PX:
            raise RingError(f"the picture is {width}x{height}, a side may have {MAX_SIDE_PX} px")
        meta = FrameMeta(
            width,
            height,
            picture.pixel_format,
            picture.alpha,
            picture.orientation,
            flags,
            capture_ts_ns=picture.capture_ts_ns,
        )
        return self._opened(picture.pixels.nbytes).publish(picture.pixels, meta)

    def _opened(self, capacity_bytes: int) -> FrameWriter:
        """Raises: RingError."""
        if self._writer is None:
            stream = input_stream(self._host)
            # Asked before: the writer's own try for a lock that is held takes a tenth of a second.
            if is_lock_held(lock_path(self._directory, stream)):
                raise AlreadyRunningError(stream)
            self._writer = FrameWriter(
                stream,
                slot_count=self._slots,
                capacity_bytes=capacity_bytes,
                run_dir=self._directory,
            )
        return self._writer

    def make_room(self, num_slots: int) -> None:
        """From the next picture on the ring holds this many; that one begins a new ring."""
        if num_slots > self._slots:
            self.close()
            self._slots = num_slots

    def try_now(self) -> None:
        """The next picture is tried at once."""
        self._next_try_ns = 0

    def heartbeat(self, now: int) -> None:
        """The host sees that we live, though nothing new came."""
        if self._writer is not None and now >= self._next_heartbeat_ns:
            self._next_heartbeat_ns = now + HEARTBEAT_NS
            self._writer.heartbeat()

    def give_up(self) -> None:
        """Frames shall not go out: another program may write here, and nothing is amiss."""
        self.close()
        self.trouble, self.began_ns, self._next_try_ns = "", 0, 0

    def close(self) -> None:
        """The ring is free for another program."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _fail(self, trouble: str, now: int) -> None:
        self.trouble = trouble
        self._next_try_ns = now + RETRY_NS

    def _taken(self) -> str:
        return (
            f"Frames do not go out: another program already sends to '{self._host}'. Only its "
            "picture is shown here; close it, or turn off the input here."
        )
