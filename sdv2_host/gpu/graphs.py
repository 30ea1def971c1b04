"""Calls of the models, recorded once and played again: hundreds of kernels for one launch.

A 1.3B forward is about a thousand kernels of microseconds each, which a host launches no faster
than a GPU runs them. A recording has fixed addresses, so what a call is given is copied into
memory of its own first, and what it remembers is written in place.

# B rows  T pixel frames  F latent frames  C channels  H W size
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.stream.cached_call import CachedCall, CallTensors, PastCall
from sdv2_host.stream.model_calls import ModelCalls
from sdv2_host.wan.model import TextByBlock, TextKV
from sdv2_host.wan.rope import Rotary
from sdv2_host.wan.streaming_vae import VAECache

log = logging.getLogger(__name__)

CANNOT_RECORD = (
    "calls cannot be recorded here (%s): kernels are launched one by one, which is slower"
)

Replay = Callable[[], Tensor]
"""Does all that was recorded once more; the tensor is the same one every time."""


class Recorder(Protocol):
    """Records calls that never run at the same time as each other."""

    def record(self, run: Callable[[], Tensor]) -> Replay:
        """`run` is looked at, and has changed nothing when this returns."""


class CudaGraphs:
    """CUDA graphs that share one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(self, run: Callable[[], Tensor]) -> Replay:
        current = torch.cuda.current_stream(self._device)
        # A recording that fails leaves its own stream in place of the current one.
        with torch.cuda.device(self._device), torch.cuda.stream(current):
            graph = torch.cuda.CUDAGraph()
            # Other threads of the process may ask the driver for things meanwhile.
            with torch.cuda.graph(graph, self._pool, self._stream, "thread_local"):
                out = run()

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay


class Recorders(NamedTuple):
    """One for each kind of call: those of neighbouring chunks may overlap."""

    encode: Recorder
    predict: Recorder
    decode: Recorder


def cuda_recorders(device: torch.device) -> Recorders:
    return Recorders(CudaGraphs(device), CudaGraphs(device), CudaGraphs(device))


class _Played(NamedTuple):
    """A recording and the memory that its inputs are copied into."""

    inputs: list[Tensor]
    replay: Replay


class _Tape:
    """Recordings of one kind of call, by what tells them apart."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._played: dict[Hashable, _Played] = {}
        self._seen: set[Hashable] = set()
        self._memory: dict[Hashable, Tensor] = {}
        self._is_able = True
        self.num_missed = 0

    def find(self, key: Hashable, is_recording: bool, given: Sequence[Tensor]) -> list[Tensor]:
        """Where the inputs of the call go that is recorded, or is to be; else nothing."""
        known = self._played.get(key)
        if known is not None:
            return known.inputs
        if is_recording and self._is_able:
            return [self._place(index, tensor) for index, tensor in enumerate(given)]
        if not is_recording:
            self.num_missed += 1
            if key not in self._seen:
                log.info("no recording of %s: it runs kernel by kernel", key)
        self._seen.add(key)
        return []

    def _place(self, index: int, like: Tensor) -> Tensor:
        """Memory for input number `index`: recordings of one kind do not run at the same time, so
        those of equal shapes share it.

        In the order that the input itself has: what is compiled for that order would be compiled
        again for another one, in the middle of a recording.
        """
        key = (index, like.shape, like.stride(), like.dtype)
        if key not in self._memory:
            self._memory[key] = torch.empty_like(like)
        return self._memory[key]

    def play(
        self,
        key: Hashable,
        inputs: list[Tensor],
        given: Sequence[Tensor],
        run: Callable[[], Tensor],
    ) -> Tensor:
        """What `run` gives with the inputs as given.

        The first time it runs as it is, with the very inputs that it is recorded with.
        """
        torch._foreach_copy_(inputs, list(given))
        known = self._played.get(key)
        if known is None and key not in self._seen:
            self._seen.add(key)
            return run()
        if known is None:
            replay = self._recorded(run)
            if replay is None:
                return run()
            known = self._played[key] = _Played(inputs, replay)
        return known.replay().clone()

    def _recorded(self, run: Callable[[], Tensor]) -> Replay | None:
        """None: it cannot be, nor will any other be tried. Drivers and compilers refuse in many
        ways, and none is worth a show."""
        try:
            return self._recorder.record(run)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._is_able = False
            log.warning(CANNOT_RECORD, " ".join(str(error).split("\n")[:2]))
            return None

    @property
    def num_recorded(self) -> int:
        return len(self._played)


class StaticText:
    """A prompt's keys and values in one place, whichever prompt it is."""

    def __init__(self, like: TextByBlock, num_blocks: int) -> None:
        self.blocks = [TextKV(*map(torch.empty_like, like[index])) for index in range(num_blocks)]
        self._held: TextByBlock | None = None

    def hold_(self, text: TextByBlock) -> None:
        """Copied where it is another than the one here."""
        if text is self._held:
            return
        parts = [text[index] for index in range(len(self.blocks))]
        torch._foreach_copy_(
            [tensor for block in self.blocks for tensor in block],
            [tensor for part in parts for tensor in part],
        )
        self._held = text


class GraphedCalls:
    """`ModelCalls` that are recorded while `preparing` and played from then on.

    A call is recorded when it comes for the second time: the first one loads kernels and chooses
    algorithms, which no recording may. What was never recorded runs as before, and so does a past
    that asks the device (`ReferenceKVCache`).
    """

    def __init__(self, inner: ModelCalls, recorders: Recorders) -> None:
        self._inner = inner
        self._is_recording = False
        self._encode, self._predict, self._decode = map(_Tape, recorders)
        self._texts: dict[int, StaticText] = {}
        """By how many rows they have."""

    @property
    def num_rehearsals(self) -> int:
        return max(2, self._inner.num_rehearsals)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Inside, what comes for the second time is recorded. Outside nothing is, as that takes
        as long as a chunk or two."""
        self._is_recording = True
        try:
            with self._inner.preparing():
                yield
        finally:
            self._is_recording = False

    @property
    def num_recorded(self) -> int:
        return sum(tape.num_recorded for tape in (self._encode, self._predict, self._decode))

    @property
    def num_missed(self) -> int:
        """Calls that were not recorded and came when nothing is any more."""
        return sum(tape.num_missed for tape in (self._encode, self._predict, self._decode))

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        def run(x: Tensor) -> Tensor:
            return self._inner.encode(x, cache, is_first)

        return self._half(self._encode, frames_BTCHW, (is_first, _address(cache.encoder)), run)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        def run(x: Tensor) -> Tensor:
            return self._inner.decode(x, cache, is_first)

        return self._half(self._decode, z_BFCHW, (is_first, _address(cache.decoder)), run)

    def _half(
        self, tape: _Tape, x: Tensor, which: Hashable, run: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """One half of the autoencoder, at work on `x`."""
        key = (x.shape, which)
        inputs = tape.find(key, self._is_recording, [x])
        if not inputs:
            return run(x)
        return tape.play(key, inputs, [x], lambda: run(*inputs))

    def predict(self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: PastCall) -> Tensor:
        if not isinstance(past, CachedCall):
            return self._inner.predict(x_BFCHW, t_BF, text, past)
        num_rows = text[0].k_BKND.shape[0]
        key = (x_BFCHW.shape, num_rows, past.shape, _address(past.memory.k_RSHD))
        given = [x_BFCHW, t_BF, *_flat(past.tensors)]
        inputs = self._predict.find(key, self._is_recording, given)
        if not inputs:
            return self._inner.predict(x_BFCHW, t_BF, text, past)
        held = self._text_of(text, num_rows, len(past.memory.k_RSHD))
        x, t, *numbers = inputs
        static = past._replace(tensors=_like(past.tensors, numbers))
        return self._predict.play(
            key, inputs, given, lambda: self._inner.predict(x, t, held.blocks, static)
        )

    def _text_of(self, text: TextByBlock, num_rows: int, num_blocks: int) -> StaticText:
        if num_rows not in self._texts:
            self._texts[num_rows] = StaticText(text, num_blocks)
        held = self._texts[num_rows]
        held.hold_(text)
        return held


def _address(memories: list[Tensor]) -> int:
    """Of a stream's memory, which stays where it is for the stream's life."""
    return memories[0].data_ptr() if memories else 0


def _flat(tensors: CallTensors) -> list[Tensor]:
    angles = [part for rotary in (*tensors.queries, *tensors.keys) for part in rotary]
    limits = [one for one in (tensors.limits_B, tensors.forced_B) if one is not None]
    return [tensors.places_2BS, *angles, *limits]


def _like(tensors: CallTensors, flat: list[Tensor]) -> CallTensors:
    """`tensors` with those of `flat` in their places."""
    rest = iter(flat)
    places_2BS = next(rest)
    queries, keys = (
        [Rotary(next(rest), next(rest)) for _ in rotaries]
        for rotaries in (tensors.queries, tensors.keys)
    )
    limits_B, forced_B = (
        None if one is None else next(rest) for one in (tensors.limits_B, tensors.forced_B)
    )
    return CallTensors(places_2BS, queries, keys, limits_B, forced_B)
