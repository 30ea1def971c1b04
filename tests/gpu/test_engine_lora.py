"""LoRAs in a live engine: frames at every chunk, and the pictures of a model built that way."""

from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from sdv2_host.errors import DeviceMemoryError, ModelError
from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.tiny_engine import build_tiny_engine, tiny_engine, tiny_spec
from sdv2_host.models.loras import find_lora
from sdv2_host.models.store import lora_dir
from sdv2_host.params import Params
from sdv2_host.stream.lora import LoraMerge
from sdv2_host.types import Frame, FrameMeta, Layout, Size
from sdv2_host.wan.dims import TINY_DIT
from sdv2_host.wan.lora import read_lora
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.tiny_weights import TinyModels
from tests.gpu.lora_engines import BUDGET_BYTES, lora_engine, write_loras
from tests.lora_files import factors, tensors_of, write
from tests.toys import TOY_DIT

SIZE = Size(32, 32)
PLAIN = Params(prompt="neon outline")
FADED = 9
"""Chunks after which a change is complete."""


def asking(lora: str, prompt: str = "neon outline", strength: float = 1.0) -> Params:
    return Params(prompt=prompt, lora=lora, lora_strength=strength)


def clip(num_chunks: int, seed: int = 0) -> list[list[Frame]]:
    random = np.random.default_rng(seed)
    meta = FrameMeta(32, 32)
    return [
        [Frame(meta, random.integers(0, 256, (32, 32, 4), dtype=np.uint8)) for _ in range(count)]
        for count in [1] + [4] * (num_chunks - 1)
    ]


def play(engine: StreamEngine, params: Params, num_chunks: int = 5) -> np.ndarray:
    """A session of its own."""
    engine.reset()
    return np.concatenate([engine.step(chunk, params).frames for chunk in clip(num_chunks)])


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return write_loras(tmp_path)


class ScarceMemory:
    """Where the model's own weights come from, and LoRAs: once or for good there is no room."""

    def __init__(self, models_dir: Path, dit: CausalWanModel) -> None:
        self._weights = {name: value.clone() for name, value in dit.state_dict().items()}
        self._models_dir = models_dir
        self.num_until_none: float = math.inf
        """Weights that can be merged, -1 of which none and no file."""
        self.is_for_good = False

    def base(self, name: str) -> torch.Tensor:
        self.num_until_none -= 1
        if self.num_until_none < 0:
            self.num_until_none = 0 if self.is_for_good else math.inf
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nsome MiB")
        return self._weights[name]

    def find(self, name: str) -> Path:
        if self.num_until_none == -1:
            raise MemoryError("no room for a file")
        return find_lora(self._models_dir, name)


def scarce_engine(models: TinyModels, models_dir: Path) -> tuple[StreamEngine, ScarceMemory]:
    own = models._replace(dit=copy.deepcopy(models.dit))
    memory = ScarceMemory(models_dir, own.dit)
    lora = LoraMerge(own.dit, memory.base, memory.find, BUDGET_BYTES)
    return tiny_engine(own, tiny_spec({}, SIZE), lora), memory


@pytest.mark.parametrize("num_merged", [0, 1, 5])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_lora_that_memory_runs_out_for_is_refused_and_the_model_is_its_own_again(
    models: TinyModels, models_dir: Path, num_merged: int, is_first: bool
) -> None:
    engine, memory = scarce_engine(models, models_dir)
    plain = play(lora_engine(models, models_dir), PLAIN)
    if not is_first:
        play(engine, asking("oil"), FADED)

    engine.reset()
    memory.num_until_none = num_merged
    styled = [engine.step(chunk, asking("ink, oil")) for chunk in clip(FADED)]
    anew = play(engine, asking("ink, oil"))

    assert sum(len(one.frames) for one in styled) == 1 + 4 * (FADED - 1)
    assert styled[-1].problem.startswith(
        "LoRA ink, oil: memory ran out while it was read or merged"
    )
    assert "(CUDA out of memory. Tried to allocate); fewer LoRAs" in styled[-1].problem
    assert np.array_equal(anew, plain)
    play(engine, asking("ink"), FADED)
    assert engine.step(clip(2)[1], asking("ink")).problem == ""


def test_a_lora_whose_file_memory_runs_out_for_leaves_those_in_use_as_they_are(
    models: TinyModels, models_dir: Path
) -> None:
    engine, memory = scarce_engine(models, models_dir)
    play(engine, asking("oil"), FADED)
    before = play(engine, asking("oil"))

    memory.num_until_none = -1
    after = play(engine, asking("oil, ink"))

    assert np.array_equal(after, before)


def test_memory_that_stays_out_ends_the_engine_with_its_name(
    models: TinyModels, models_dir: Path
) -> None:
    engine, memory = scarce_engine(models, models_dir)
    play(engine, asking("oil"), FADED)

    memory.num_until_none, memory.is_for_good = 0, True

    with pytest.raises(DeviceMemoryError, match=r"tiny at 32x32 ran out of memory on cpu: use a"):
        play(engine, asking("oil, ink"), FADED)


def merged_models(models: TinyModels, models_dir: Path, **strengths: float) -> TinyModels:
    """Models whose weights were changed before anything else happened."""
    dit = copy.deepcopy(models.dit)
    weights = dict(dit.named_parameters())
    for name, strength in strengths.items():
        lora = read_lora(lora_dir(models_dir) / f"{name}.safetensors", TOY_DIT)
        for key in lora.changes:
            lora.add_(weights[key].data, key, strength)
    return models._replace(dit=dit)


@pytest.mark.parametrize("layout", Layout)
def test_every_chunk_brings_its_frames_while_loras_come_change_and_go(
    models: TinyModels, models_dir: Path, layout: Layout
) -> None:
    engine = lora_engine(models, models_dir, layout)
    requests = [*[""] * 2, *["ink"] * 3, *["ink:0.5, oil"] * 6, "nosuch", *[""] * 5]

    counts = [
        len(engine.step(chunk, asking(lora)).frames)
        for chunk, lora in zip(clip(len(requests)), requests, strict=True)
    ]

    waiting = 0 if layout is Layout.SERIAL else 1
    assert counts == [1] + [0] * waiting + [4] * (len(requests) - 1 - waiting)


@pytest.mark.parametrize("layout", Layout)
def test_a_session_after_the_merge_equals_one_of_a_model_built_so(
    models: TinyModels, models_dir: Path, layout: Layout
) -> None:
    engine = lora_engine(models, models_dir, layout)
    wanted = asking("ink:0.5, oil:-0.25")
    play(engine, PLAIN, num_chunks=2)
    play(engine, wanted, FADED)

    live = play(engine, wanted)

    built = tiny_engine(
        merged_models(models, models_dir, ink=0.5, oil=-0.25), tiny_spec({}, SIZE, layout=layout)
    )
    assert np.array_equal(live, play(built, PLAIN))
    assert not np.array_equal(live, play(lora_engine(models, models_dir), PLAIN))


def test_prompts_of_before_are_asked_for_anew_after_the_merge(
    models: TinyModels, models_dir: Path
) -> None:
    engine = lora_engine(models, models_dir)
    for prompt in ("mosaic", "neon outline"):
        play(engine, asking("", prompt), num_chunks=2)
    play(engine, asking("ink", "neon outline"), FADED)

    live = play(engine, asking("ink", "mosaic"))

    built = tiny_engine(merged_models(models, models_dir, ink=1.0), tiny_spec({}, SIZE))
    assert np.array_equal(live, play(built, asking("", "mosaic")))


def test_after_removal_a_session_equals_the_one_before(
    models: TinyModels, models_dir: Path
) -> None:
    engine = lora_engine(models, models_dir)
    before = play(engine, PLAIN)
    play(engine, asking("ink, oil"), FADED)
    with_lora = play(engine, asking("ink, oil"))
    play(engine, PLAIN, FADED)

    after = play(engine, PLAIN)

    assert np.array_equal(before, after)
    assert not np.array_equal(with_lora, before)


def test_a_change_fades_in_over_chunks_and_then_rests(models: TinyModels, models_dir: Path) -> None:
    engine = lora_engine(models, models_dir)
    spans = [engine.step(chunk, PLAIN).spans_ms for chunk in clip(2)]
    assert all("lora" not in span for span in spans)

    chunks = clip(2 * FADED)[1:]
    works = ["lora" in engine.step(chunk, asking("ink")).spans_ms for chunk in chunks]

    num_working = works.index(False)
    assert 2 < num_working < FADED
    assert works == [True] * num_working + [False] * (len(works) - num_working)


def test_warm_up_merges_what_is_asked_from_the_start(models: TinyModels, models_dir: Path) -> None:
    engine = lora_engine(models, models_dir)
    engine.warm_up(asking("ink"), lambda text, fraction: None)

    live = play(engine, asking("ink"))

    built = tiny_engine(merged_models(models, models_dir, ink=1.0), tiny_spec({}, SIZE))
    assert np.array_equal(live, play(built, PLAIN))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_device_weights_are_merged_as_on_the_cpu(models: TinyModels, models_dir: Path) -> None:
    on_cpu = copy.deepcopy(models.dit)
    on_device = copy.deepcopy(models.dit).cuda()
    base = {name: value.clone() for name, value in models.dit.state_dict().items()}
    merges = [
        LoraMerge(dit, base.__getitem__, partial(find_lora, models_dir))
        for dit in (on_cpu, on_device)
    ]

    for merge in merges:
        merge.advance_(asking("ink:0.5, oil"))
    for name, value in on_cpu.state_dict().items():
        torch.testing.assert_close(on_device.state_dict()[name].cpu(), value, rtol=1e-3, atol=1e-3)

    while merges[1].is_due(PLAIN):
        merges[1].advance_(PLAIN)
    for name, value in base.items():
        assert torch.equal(on_device.state_dict()[name].cpu(), value)


def test_an_unknown_or_unfitting_lora_is_a_problem_and_changes_nothing(
    models: TinyModels, models_dir: Path
) -> None:
    write(
        lora_dir(models_dir) / "big.safetensors",
        tensors_of("kohya", factors(TINY_DIT, outside=False), None),
    )
    engine = lora_engine(models, models_dir)
    before = play(engine, PLAIN)
    first, second, *_ = clip(2)
    engine.reset()

    unknown = engine.step(first, asking("nosuch"))
    unfitting = engine.step(second, asking("big"))
    after = play(engine, asking("big"))
    resolved = engine.step(second, PLAIN)

    assert "no LoRA nosuch in" in unknown.problem
    assert "known are big, ink, oil" in unknown.problem
    assert "models import nosuch.safetensors" in unknown.problem
    assert "is for the embedded tiny model (dim 192)" in unfitting.problem
    assert resolved.problem == ""
    assert np.array_equal(before, after)


def test_without_a_folder_of_loras_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no LoRA ink in .*: there is none yet; add one with"):
        find_lora(tmp_path, "ink")


def test_the_embedded_model_takes_loras_and_gives_its_own_pictures_back(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = tensors_of("comfy", factors(TINY_DIT, outside=False, size=0.2), None)
    tensors["diffusion_model.text_embedding.0.diff_b"] = torch.randn(192, generator=generator)
    write(lora_dir(tmp_path) / "ink.safetensors", tensors)
    engine = build_tiny_engine(SIZE, threads=1, models_dir=str(tmp_path))

    before = play(engine, PLAIN, num_chunks=3)
    changed = play(engine, asking("ink"), num_chunks=3)
    play(engine, PLAIN, num_chunks=2)
    after = play(engine, PLAIN, num_chunks=3)

    assert np.array_equal(before, after)
    assert np.abs(changed.astype(int) - before.astype(int)).max() > 8
