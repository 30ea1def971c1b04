"""Compiled calls against the models' own: which are made when, and that the pictures are equal."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdv2_host.gpu.compiled import CompiledCalls
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.model_calls import EagerCalls
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.types import Layout
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from tests.gpu.traced import traced_models
from tests.toys import PARAMS, TOY_DIT, TOY_TEXT, TOY_VAE, changing_params

SPEC = StreamSpec(32, 48, CacheGeometry(num_sinks=1, window=3), dtype=torch.float64)
FILL = SPEC.geometry.num_slots
"""Chunks until a stream is steady."""


class Beside:
    """A toy stream with compiled calls, beside one without."""

    def __init__(self, spec: StreamSpec = SPEC) -> None:
        torch.manual_seed(3)
        models = StreamModels(CausalWanModel(TOY_DIT), TinyVAE(TOY_VAE), TinyTextEncoder(TOY_TEXT))
        for module in (models.dit, models.vae, models.text):
            module.double().eval().requires_grad_(False)  # type: ignore[attr-defined]
        eager = EagerCalls(models.dit, models.vae)
        self.calls = CompiledCalls(traced_models(models, SPEC), eager)
        dit, vae, text = models.dit, models.vae, models.text
        self._compiled = StreamPipeline(dit, vae, text, spec, calls=self.calls)
        self._plain = StreamPipeline(dit, vae, text, spec)
        self._states = [one.fresh_state() for one in (self._compiled, self._plain)]

    def session(
        self,
        params: list[Params],
        layout: Layout = Layout.SERIAL,
        lengths: tuple[int, ...] = (4,),
    ) -> None:
        """One session of both, from a reset: the traces are what is written, so bit for bit."""
        for state in self._states:
            state.reset_()
        for index, one in enumerate(params):
            frames = clip(lengths[index % len(lengths)] if index else 1, seed=index)
            compiled, plain = (
                pipeline.step(state, frames, one, layout)
                for pipeline, state in zip((self._compiled, self._plain), self._states, strict=True)
            )
            assert torch.equal(compiled, plain), f"chunk {index}"


def clip(num_frames: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (1, num_frames, 3, SPEC.height_px, SPEC.width_px)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.fixture(scope="module")
def beside() -> Beside:
    return Beside()


def test_every_call_of_a_steady_stream_is_compiled(beside: Beside) -> None:
    beside.session([PARAMS] * FILL)
    inner, compiled = beside.calls.num_inner, beside.calls.num_compiled

    beside.session([PARAMS] * (FILL + 10))

    per_chunk = 2 + PARAMS.steps
    assert beside.calls.num_inner - inner == inner
    assert beside.calls.num_compiled - compiled == compiled + 10 * per_chunk


def test_changing_parameters_make_no_difference(beside: Beside) -> None:
    beside.session(changing_params(40))


def test_sinks_that_are_replaced_are_seen_by_the_compiled_calls_that_follow(
    beside: Beside,
) -> None:
    replaced = PARAMS.model_copy(update={"sink_mode": "adaptive", "sink_threshold": 1.0})

    beside.session([*[PARAMS] * 6, *[replaced] * 3, *[PARAMS] * 6])


def test_a_past_that_is_seen_anew_is_seen_by_the_compiled_calls_that_follow(
    beside: Beside,
) -> None:
    cut = PARAMS.model_copy(
        update={"prompt": "pixel art", "recache": "window", "recache_frames": 2}
    )

    beside.session([*[PARAMS] * 6, *[cut] * 8])


def test_a_watchdog_that_acts_makes_no_difference(beside: Beside) -> None:
    beside.session([PARAMS.model_copy(update={"drift": "act"})] * 8)


def test_batches_and_longer_chunks_go_the_written_way_between_compiled_ones(
    beside: Beside,
) -> None:
    beside.session([PARAMS] * 12, lengths=(4, 4, 8))
    beside.session([PARAMS] * 8, Layout.BATCH)
    beside.session([PARAMS] * 8)


def test_a_stream_of_another_size_goes_the_written_way() -> None:
    other = StreamSpec(48, 48, SPEC.geometry, dtype=SPEC.dtype)
    torch.manual_seed(3)
    models = StreamModels(CausalWanModel(TOY_DIT), TinyVAE(TOY_VAE), TinyTextEncoder(TOY_TEXT))
    for module in (models.dit, models.vae, models.text):
        module.double().eval().requires_grad_(False)  # type: ignore[attr-defined]
    calls = CompiledCalls(traced_models(models, SPEC), EagerCalls(models.dit, models.vae))
    pipeline = StreamPipeline(models.dit, models.vae, models.text, other, calls=calls)
    state = pipeline.fresh_state()
    frames = torch.zeros(1, 4, 3, 48, 48, dtype=torch.float64)

    for index in range(FILL + 1):
        pipeline.step(state, frames[:, : 4 if index else 1], PARAMS)

    assert calls.num_compiled == 0


def test_the_references_cache_goes_the_written_way() -> None:
    beside = Beside(
        StreamSpec(32, 48, SPEC.geometry, cache=CacheMode.REFERENCE, dtype=torch.float64)
    )

    beside.session([PARAMS.model_copy(update={"drift": "off"})] * 8)


LIVE = st.builds(
    lambda steps, mode, drift, seed: PARAMS.model_copy(
        update={"steps": steps, "sink_mode": mode, "drift": drift, "seed": seed}
    ),
    st.integers(1, 4),
    st.sampled_from(["fixed", "fixed", "adaptive"]),
    st.sampled_from(["off", "watch", "act"]),
    st.integers(0, 3),
)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(LIVE, min_size=FILL, max_size=12),
    st.sampled_from(list(Layout)),
    st.lists(st.sampled_from([4, 4, 8]), min_size=1, max_size=3),
)
def test_any_stream_is_as_without(
    beside: Beside, params: list[Params], layout: Layout, lengths: list[int]
) -> None:
    beside.session(params, layout, tuple(lengths))
