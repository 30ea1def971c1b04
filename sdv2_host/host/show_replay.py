"""A recorded show through an engine again: the same calls, in the same order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.errors import ConfigError
from sdv2_host.host.engine_memory import Remembering
from sdv2_host.host.show_format import MAX_STEP_FRAMES, Finish, SourceFrame, Step, digest_of
from sdv2_host.host.show_reader import Part, RecordedCall, feed
from sdv2_host.params import Params
from sdv2_host.types import Engine, StyledChunk

Change = Callable[[Params], Params]
"""What is to be other than in the show."""


class Picture(NamedTuple):
    """One of the show, made again."""

    pixels: NDArray[np.uint8]
    """[H, W, 4]."""
    source: SourceFrame
    """The frame it is made of."""
    is_lockstep: bool
    call: int
    """Number of the call that its frame was in, in its part."""
    recorded: str | None
    """Digest of the picture in the show; None: that one was never made, as its session was over
    before, or as the recording ended."""
    problem: str
    """What of the parameters the engine could not follow; '' = nothing."""

    @property
    def is_equal(self) -> bool:
        """To the one in the show."""
        return self.recorded is None or digest_of(self.pixels) == self.recorded


class _Owed(NamedTuple):
    source: SourceFrame
    is_lockstep: bool
    call: int
    ordinal: int


class _Digests:
    """Which frame each recorded digest is of: an engine returns pictures in the order of frames.

    A picture may be made earlier in a replay than it was, where stages do not overlap, so digests
    are read ahead of the calls they came from by whoever asks for all of them first.
    """

    def __init__(self) -> None:
        self._expected: deque[int] = deque()
        self._num_frames = 0
        self.by_ordinal: dict[int, str] = {}

    def see(self, recorded: RecordedCall) -> None:
        call = recorded.call
        if isinstance(call, Step):
            if call.begins_session:
                self._expected.clear()
            self._expected.extend(range(self._num_frames, self._num_frames + len(call.frames)))
            self._num_frames += len(call.frames)
        if len(call.out) > len(self._expected):
            raise ConfigError(f"call {recorded.number} has more pictures than frames")
        for digest in call.out:
            self.by_ordinal[self._expected.popleft()] = digest


def digests_in(calls: Iterator[RecordedCall]) -> dict[int, str]:
    """The digest of every picture of a part, by the number of its frame in the part, from 0.

    Raises:
        ConfigError: there are more pictures than frames.
    """
    digests = _Digests()
    for recorded in calls:
        digests.see(recorded)
    return digests.by_ordinal


def replay(
    part: Part, engine: Engine, digests: dict[int, str], change: Change | None = None
) -> Iterator[Picture]:
    """Every picture of the part, by an engine that is warm, in order.

    With a `change` it begins anew where the engine had been at work before: what it remembered is
    of the pictures as they were.

    Raises:
        ConfigError: a file of the show is not as written, or the engine takes other chunks.
        ModelError: what the engine remembered is of another one.
    """
    engine.reset()
    if part.memory is not None and change is None:
        if not isinstance(engine, Remembering):
            raise ConfigError(f"{part.folder}: engine {engine.name} has no memory to put back")
        engine.memory.recall(part.memory)
    owed: deque[_Owed] = deque()
    num_frames = 0
    is_begun = part.memory is not None and change is None
    for fed in feed(part):
        recorded, frames = fed
        call = recorded.call
        if isinstance(call, Finish):
            yield from _pictures(engine.finish(), owed, digests)
        if not isinstance(call, Step):
            continue
        if call.begins_session or not is_begun:
            # Ended as a whole: what the show lost here, nobody waited for.
            yield from _pictures(engine.finish(), owed, digests)
            engine.reset()
            owed.clear()
        is_late = not is_begun and not call.begins_session
        is_first = not is_begun or call.begins_session
        is_begun = True
        ordinals = range(num_frames, num_frames + len(frames))
        num_frames += len(frames)
        sources = call.frames
        if is_late:  # a first chunk is shorter than those in the middle of a session
            count = engine.first_chunk_frames
            frames, sources, ordinals = frames[-count:], sources[-count:], ordinals[-count:]
        _check_length(part, engine, fed.recorded.number, len(frames), is_first=is_first)
        for index, source in zip(ordinals, sources, strict=True):
            owed.append(_Owed(source, call.is_lockstep, recorded.number, index))
        params = recorded.params if change is None else change(recorded.params)
        yield from _pictures(engine.step(frames, params, call.layout), owed, digests)
    yield from _pictures(engine.finish(), owed, digests)


def _check_length(part: Part, engine: Engine, call: int, count: int, *, is_first: bool) -> None:
    """Raises: ConfigError: no chunk of this engine has so many frames."""
    usual = engine.first_chunk_frames if is_first else engine.chunk_frames
    most = max((shape.chunk_frames for shape in engine.step_ms), default=MAX_STEP_FRAMES)
    if count < usual or (count - usual) % engine.chunk_frames or count > max(usual, most):
        raise ConfigError(
            f"{part.folder}: call {call} gives {engine.name} {count} frames, expected {usual}"
            f"{'' if most <= usual else f' or further {engine.chunk_frames}, at most {most}'}"
        )


def _pictures(
    styled: StyledChunk, owed: deque[_Owed], digests: dict[int, str]
) -> Iterator[Picture]:
    for pixels in styled.frames:
        one = owed.popleft()
        digest = digests.get(one.ordinal)
        yield Picture(pixels, one.source, one.is_lockstep, one.call, digest, styled.problem)
