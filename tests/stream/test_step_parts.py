"""The three parts of a step, whenever each runs."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from typing import NamedTuple

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import CacheMode
from sdv2_host.stream.state import StreamState
from sdv2_host.stream.step_parts import Begun, Decoded, Denoised
from sdv2_host.types import Layout
from tests.stream.conftest import Toy
from tests.toys import PARAMS


class Given(NamedTuple):
    """What one step is given."""

    num_latents: int
    steps: int
    layout: Layout
    prompt: str
    drift: str
    recache: str


STEPS = st.builds(
    Given,
    st.integers(1, 3),
    st.sampled_from([1, 2, 2, 2, 4]),
    st.sampled_from([Layout.SERIAL, Layout.BATCH, Layout.BATCH]),
    st.sampled_from(["neon outline", "neon outline", "watercolor"]),
    st.sampled_from(["watch", "watch", "off", "act"]),
    st.sampled_from(["off", "window"]),
)


def params_of(step: Given) -> Params:
    changes = {"steps": step.steps, "prompt": step.prompt}
    return PARAMS.model_copy(update=changes | {"drift": step.drift, "recache": step.recache})


class Parts:
    """Steps whose parts have not all run, each kind in its order."""

    def __init__(self, pipeline: StreamPipeline, state: StreamState) -> None:
        self.pipeline, self.state = pipeline, state
        self.begun: deque[Begun] = deque()
        self.denoised: deque[Denoised] = deque()
        self.decoded: list[Decoded] = []

    def run_some(self, moves: Sequence[str]) -> None:
        """Parts that can run do, in this order."""
        for move in moves:
            if move == "denoise" and self.begun:
                self.denoised.append(self.pipeline.denoise_(self.state, self.begun.popleft()))
            if move == "decode" and self.denoised:
                self.decoded.append(self.pipeline.decode_(self.state, self.denoised.popleft()))

    def run_all(self) -> None:
        self.run_some(["denoise"] * len(self.begun))
        self.run_some(["decode"] * len(self.denoised))


def drift_of(state: StreamState) -> Tensor:
    return torch.cat([*map(torch.flatten, state.drift.bands.tensors), state.drift.counts_5])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(STEPS, st.lists(st.sampled_from(["denoise", "decode"]), max_size=5)),
        min_size=2,
        max_size=9,
    ),
    st.sampled_from([CacheMode.ROLLING, CacheMode.ROLLING, CacheMode.REFERENCE]),
)
def test_whenever_the_parts_run_the_pictures_are_those_of_whole_steps(
    toy: Toy, history: list[tuple[Given, list[str]]], cache: CacheMode
) -> None:
    is_reference = cache is CacheMode.REFERENCE
    pipeline = toy.pipeline(geometry=CacheGeometry(num_sinks=1, window=4), cache=cache)
    if is_reference:  # it knows one layout, and chunks of one latent
        history = [
            (step._replace(layout=Layout.SERIAL, num_latents=1), moves) for step, moves in history
        ]
    lengths = [1, *(4 * step.num_latents for step, _ in history[1:])]
    chunks = toy.clip(sum(lengths)).split(lengths, dim=1)
    serial, state = pipeline.fresh_state(), pipeline.fresh_state()
    parts = Parts(pipeline, state)

    whole = []
    for chunk, (step, moves) in zip(chunks, history, strict=True):
        params = params_of(step)
        whole.append(pipeline.step(serial, chunk, params, step.layout))
        if pipeline.waits_for_all(params):
            parts.run_all()
        parts.begun.append(pipeline.begin_(state, chunk, params, step.layout))
        parts.run_some(moves)
    parts.run_all()

    for one, other in zip(parts.decoded, whole, strict=True):
        assert torch.equal(one.frames_BTCHW, other)
    assert torch.equal(pipeline.flush(state), pipeline.flush(serial))
    assert torch.equal(drift_of(state), drift_of(serial))
    assert state.num_latents == serial.num_latents


@torch.inference_mode()
def test_what_a_chunk_tells_of_itself_is_not_changed_by_those_that_follow(toy: Toy) -> None:
    pipeline = toy.pipeline()
    state = pipeline.fresh_state()
    clip = toy.clip(9)
    pipeline.step(state, clip[:, :1], PARAMS)

    begun = pipeline.begin_(state, clip[:, 1:5], PARAMS)
    told, expected = begun.motion_2, begun.motion_2.clone()
    pipeline.begin_(state, clip[:, 5:] * 3, PARAMS)

    assert torch.equal(told, expected)
    assert not torch.equal(torch.stack([state.motion.noise_scale, state.motion.level]), expected)


@torch.inference_mode()
def test_what_a_part_was_handed_is_held_until_the_step_is_out(toy: Toy) -> None:
    """On CUDA a lane that is behind has still to read it, while the lane that made it would get its
    memory back for the next chunk: numbers of another kind, NaN among them."""
    pipeline = toy.pipeline(geometry=CacheGeometry(num_sinks=1, window=4))
    state = pipeline.fresh_state()
    clip = toy.clip(9)
    pipeline.step(state, clip[:, :1], PARAMS)
    pipeline.step(state, clip[:, 1:5], PARAMS)
    cut = PARAMS.model_copy(update={"prompt": "other", "recache": "window", "steps": 2})

    begun = pipeline.begin_(state, clip[:, 5:], cut)
    chunks = (*begun.chunk.past, begun.chunk)
    handed = [
        weakref.ref(value)
        for chunk in chunks
        for value in (getattr(chunk, field.name) for field in fields(chunk))
        if isinstance(value, torch.Tensor)
    ]
    first = [chunk.x_BFCHW for chunk in chunks]
    denoised = pipeline.denoise_(state, begun)
    changed = [now.x_BFCHW is not was for now, was in zip(chunks, first, strict=True)]
    del first, begun
    pipeline.decode_(state, denoised)

    assert len(chunks) > 1
    assert all(changed)
    assert all(ref() is not None for ref in handed)
