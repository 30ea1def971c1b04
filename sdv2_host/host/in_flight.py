"""Input frames whose pictures the engine owes, and what has been done for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sdv2_host.clock import NS_PER_US, US_PER_MS
from sdv2_host.types import Frame, FrameMeta, PartDone, StageTimes, StyledChunk


class Owed(NamedTuple):
    """The input frame of a picture that has come."""

    source: FrameMeta
    times: StageTimes
    is_repeated: bool = False
    """The frame was given before: nobody waits for this picture."""


class _Given(NamedTuple):
    source: FrameMeta
    is_repeated: bool


@dataclass(slots=True)
class _Step:
    """A step that the engine was given. Lifetime: until the last of its pictures has come."""

    begin_ns: int
    num_owed: int
    spans_us: dict[str, int] = field(default_factory=dict)
    is_done: bool = False


class InFlight:
    """Pictures come in the order of their frames, in whatever pieces: in a batch some steps after
    their own, where stages overlap with a later call.

    A step uploads and encodes its own frames. It denoises them and all in the batch before them,
    whose pictures have not come. What it decodes and downloads are the pictures it brings, its own
    or older ones.

    Fields, per session: frames, oldest first; the steps they were given with.
    """

    def __init__(self) -> None:
        self._given: deque[_Given] = deque()
        self._steps: deque[_Step] = deque()

    def __len__(self) -> int:
        return len(self._given)

    @property
    def sources(self) -> tuple[FrameMeta, ...]:
        """Frames whose pictures have not come, oldest first, each once."""
        return tuple(one.source for one in self._given if not one.is_repeated)

    def give(self, frames: list[Frame], begin_ns: int, num_repeated: int = 0) -> None:
        """The engine is given these at that time, the last so many of them once more."""
        num_fresh = len(frames) - num_repeated
        self._given.extend(
            _Given(frame.meta, index >= num_fresh) for index, frame in enumerate(frames)
        )
        self._steps.append(_Step(begin_ns, len(frames)))

    def take(self, styled: StyledChunk) -> list[Owed]:
        """What the chunk's frames were made from."""
        assert len(styled.frames) <= len(self._given), "engines return only what they got"
        if not styled.parts:
            return self._pop(len(styled.frames), {})
        return [one for part in styled.parts for one in self._take_part(part)]

    def clear(self) -> None:
        self._given.clear()
        self._steps.clear()

    def _take_part(self, part: PartDone) -> list[Owed]:
        spans_us = {name: int(ms * US_PER_MS) for name, ms in part.spans_ms.items()}
        if part.is_step:
            own = next(step for step in self._steps if not step.is_done)
            own.is_done = True
            for name in ("upload", "encode"):
                own.spans_us[name] = spans_us.get(name, 0)
        for step in self._steps:
            if step.is_done:
                in_all_us = step.spans_us.get("denoise", 0) + spans_us.get("denoise", 0)
                step.spans_us["denoise"] = in_all_us
        return self._pop(part.num_frames, spans_us)

    def _pop(self, num_frames: int, last_us: Mapping[str, int]) -> list[Owed]:
        popped: list[Owed] = []
        for _ in range(num_frames):
            step, (source, is_repeated) = self._steps[0], self._given.popleft()
            times = StageTimes(
                wait_us=step.begin_ns // NS_PER_US - source.captured_ns // NS_PER_US,
                upload_us=step.spans_us.get("upload", 0),
                encode_us=step.spans_us.get("encode", 0),
                denoise_us=step.spans_us.get("denoise", 0),
                decode_us=last_us.get("decode", 0),
                download_us=last_us.get("download", 0),
            )
            popped.append(Owed(source, times, is_repeated))
            step.num_owed -= 1
            if not step.num_owed:
                self._steps.popleft()
        return popped
