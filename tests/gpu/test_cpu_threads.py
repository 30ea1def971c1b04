"""torch's threads on a CPU that others use: fewer while they do, and the same pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from sdv2_host.cores import PERIOD_NS, FreeCores
from sdv2_host.gpu.cpu_threads import CpuThreads, set_threads
from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.overlap import Overlap
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.gpu.warm_up import blank_frames
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Layout, StyledChunk
from sdv2_host.wan.tiny_weights import TinyModels
from tests.gpu.test_engine_lora import SIZE, clip

PLAIN = Params(steps=2)
MOST = 4
ORDINARY = blank_frames(SIZE, 1)
LOCKSTEP = [Frame(FrameMeta(*SIZE, flags=FrameFlags.LOCKSTEP), ORDINARY[0].pixels)]


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def taking_turns(*free: int) -> CpuThreads:
    """So many of `MOST` cores are free, one number after the other, at each look."""
    taken = [0.0]
    for number in free:
        taken.append(taken[-1] + (MOST - number) * 0.5)
    looks, times = iter(taken), iter(range(0, PERIOD_NS * (len(taken) + 1), PERIOD_NS))
    set_threads(MOST)
    return CpuThreads(FreeCores(MOST, MOST, lambda: next(looks), lambda: next(times)))


def test_threads_are_as_many_as_have_a_core() -> None:
    cpu = taking_turns(4, 1, 1)
    seen = []
    for _ in range(3):
        cpu.heed_(ORDINARY, PLAIN)
        seen.append((torch.get_num_threads(), cpu.notes))

    assert seen == [(4, {"threads": 4.0}), (1, {"threads": 1.0}), (1, {"threads": 1.0})]


@pytest.mark.parametrize(
    ("frames", "params"), [(LOCKSTEP, PLAIN), (ORDINARY, Params(show="tonight"))]
)
def test_what_must_come_out_the_same_elsewhere_has_all_threads(
    frames: list[Frame], params: Params
) -> None:
    cpu = taking_turns(1, 1, 1)
    seen = []
    for order in [(ORDINARY, PLAIN), (frames, params), (ORDINARY, PLAIN)]:
        cpu.heed_(*order)
        seen.append(torch.get_num_threads())

    assert seen == [1, MOST, 1]


def test_asked_for_none_there_is_one_per_core() -> None:
    assert set_threads(3) == torch.get_num_threads() == 3
    assert set_threads(0) == torch.get_num_threads() >= 1


def played(engine: StreamEngine, chunks: list[list[Frame]]) -> list[StyledChunk]:
    engine.reset()
    return [*(engine.step(chunk, PLAIN) for chunk in chunks), engine.finish()]


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("overlap", ["off", "on"])
def test_pictures_are_the_same_while_the_number_of_threads_changes(
    models: TinyModels, layout: Layout, overlap: Overlap
) -> None:
    spec = tiny_spec({}, SIZE, layout=layout)
    torch.set_num_threads(1)
    expected = played(tiny_engine(models, spec), clip(7))
    cpu = taking_turns(4, 2, 1, 1, 1, 1, 1)
    engine = tiny_engine(models, spec, overlap=overlap, cpu=cpu)

    made = played(engine, clip(7))

    numbers = [chunk.notes["threads"] for chunk in made[:-1]]
    assert numbers == [4, 2, 1, 1, 1, 1, 1]
    assert np.array_equal(
        *(np.concatenate([one.frames for one in all_]) for all_ in (expected, made))
    )
