"""Lanes: where the three parts of a step run, so that neighbouring chunks overlap.

Chunk n + 1 is encoded while chunk n is denoised and chunk n - 1 decoded. Each kind of part has a
lane, runs there in the chunks' order, and begins when the chunk's part before it has ended.

On CUDA a lane is a stream, and the engine's thread, the only one that touches the device, queues
all parts of a chunk at once. On a CPU a lane is a thread with its share of the cores. Why threads:
there is nobody else to compute meanwhile, torch releases the interpreter while it does, and two
lanes on a core each need no barriers, which is where two cores on one lane lose their time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple, Protocol, TypeVar, cast

import torch

from sdv2_host.gpu.overlap import BUSY_LANES

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")

LANES = ("encode", "denoise", "decode")


class Lanes(Protocol):
    """Used by one thread, which gives chunk after chunk."""

    def give(
        self, begin: Callable[[], A], denoise: Callable[[A], B], decode: Callable[[B], R]
    ) -> Future[R]:
        """The parts of the next chunk, each given what the one before made. The last one's result
        comes. After a part that raised, none runs until `drop`: its error comes in their place."""

    def drop(self) -> None:
        """Nothing runs, and what was given has ended, well or not. Waits for that."""


class OneLane:
    """All parts run at once, one after the other, in the thread that gives them."""

    def give(
        self, begin: Callable[[], A], denoise: Callable[[A], B], decode: Callable[[B], R]
    ) -> Future[R]:
        """Raises: whatever a part does."""
        made: Future[R] = Future()
        made.set_result(decode(denoise(begin())))
        return made

    def drop(self) -> None:
        return


class StreamLanes:
    """A stream of a CUDA device per lane. A part is queued, and its result is a promise of what
    the stream makes.

    Whoever gives holds on to what is handed from lane to lane until the device is done with it:
    its memory goes back to the stream that made it, which may be ahead of those that read it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams: list[torch.cuda.Stream] = [
            torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            for _ in LANES
        ]

    def give(
        self, begin: Callable[[], A], denoise: Callable[[A], B], decode: Callable[[B], R]
    ) -> Future[R]:
        """Raises: whatever a part does while it is queued."""
        encoding, denoising, decoding = self._streams
        # What was done between two chunks, to weights or to the stream's state.
        encoding.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(encoding):
            begun = begin()
        denoising.wait_stream(encoding)
        with torch.cuda.stream(denoising):
            clean = denoise(begun)
        decoding.wait_stream(denoising)
        made: Future[R] = Future()
        with torch.cuda.stream(decoding):
            made.set_result(decode(clean))
        return made

    def drop(self) -> None:
        for stream in self._streams:
            stream.synchronize()


class ThreadLanes:
    """A thread of a CPU per lane, with its share of the giver's threads of torch. They end with
    this value.

    Fields: the pools of one thread; what was given and may not have ended; how many chunks were
    given; the first of them that failed, and how, since `drop`.
    """

    def __init__(self) -> None:
        whole = torch.get_num_threads()
        self._pools = [
            ThreadPoolExecutor(
                1, f"lane-{name}", torch.set_num_threads, (threads_of_a_lane(whole),)
            )
            for name in LANES
        ]
        # A pool starts its thread at the first task. The number is kept per thread, but what was
        # set last holds for threads that never set it.
        wait([pool.submit(torch.get_num_threads) for pool in self._pools])
        torch.set_num_threads(whole)
        self._given: list[Future[object]] = []
        self._num_given = 0
        self._failure: _Failure | None = None

    def give(
        self, begin: Callable[[], A], denoise: Callable[[A], B], decode: Callable[[B], R]
    ) -> Future[R]:
        encoding, denoising, decoding = self._pools
        turn = _Turn(self._num_given, threads_of_a_lane(torch.get_num_threads()))
        self._num_given += 1
        begun = encoding.submit(self._run, turn, begin)
        # A lane is first come, first served, and what a part waits for was given before it.
        clean = denoising.submit(self._run, turn, lambda: denoise(begun.result()))
        made = decoding.submit(self._run, turn, lambda: decode(clean.result()))
        self._given = [one for one in self._given if not one.done()]
        self._given += [cast(Future[object], one) for one in (begun, clean, made)]
        return made

    def _run(self, turn: _Turn, part: Callable[[], A]) -> A:
        """A part of that chunk. Not where one before it failed: the state may be half changed."""
        if self._failure is not None and self._failure.chunk < turn.chunk:
            raise self._failure.error
        if torch.get_num_threads() != turn.num_threads:
            torch.set_num_threads(turn.num_threads)
        try:
            return part()
        except BaseException as error:
            if self._failure is None or turn.chunk < self._failure.chunk:
                self._failure = _Failure(turn.chunk, error)
            raise

    def drop(self) -> None:
        wait(self._given)
        self._given.clear()
        self._failure = None


class _Turn(NamedTuple):
    chunk: int
    """Its number."""
    num_threads: int
    """Of torch, for each part of it."""


class _Failure(NamedTuple):
    chunk: int
    """Its number."""
    error: BaseException


def threads_of_a_lane(num_threads: int) -> int:
    """Of torch, where all lanes have so many together."""
    return max(1, num_threads // BUSY_LANES)


def lanes_of(device: torch.device) -> Lanes:
    """Lanes that overlap, where the device has any. Torch's threads of the caller are shared."""
    if device.type == "cuda":
        return StreamLanes(device)
    if device.type == "cpu":
        return ThreadLanes()
    return OneLane()
