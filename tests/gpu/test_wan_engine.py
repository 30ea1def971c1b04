"""Wan engines from files at toy sizes: autoencoders, modes, layouts, and memory that runs out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sdv2_host.config import Config
from sdv2_host.config_checks import check_ring
from sdv2_host.errors import ConfigError, DeviceError, DeviceMemoryError, ModelError
from sdv2_host.gpu import wan_engine
from sdv2_host.gpu.device import GIB, DeviceMemory
from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.memory_plan import plan_memory
from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.gpu.wan_engine import check_memory, load_wan_engine
from sdv2_host.gpu.wan_models import Placement, WanFamily, check_fp8
from sdv2_host.models.catalogue import Role
from sdv2_host.models.store import ModelFiles, needed_parts
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta
from sdv2_host.wan.dims import TinyVAEDims, WanDims, WanVAEDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import WanVAE

FAMILY = WanFamily(
    WanDims(dim=24, num_heads=2, ffn_dim=32, num_layers=2, text_dim=8, text_len=4, freq_dim=8),
    WanVAEDims(base=8),
    TinyVAEDims(encoder_width=8, decoder_widths=(8, 8, 8, 8), num_mem_blocks=1),
)
WIDTH_PX, HEIGHT_PX = 80, 64
PARAMS = Params(prompt="a", steps=2, noise_s_min=0.7, noise_s_max=0.8)


class Words:
    def encode(self, prompt: str) -> Tensor:
        generator = torch.Generator().manual_seed(len(prompt))
        return torch.randn(1, 4, 8, generator=generator)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """As they are published: a wrapped model.pt, a plain .pth, a .safetensors."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(5)
    dit = CausalWanModel(FAMILY.dit).state_dict()
    torch.save({"generator": {f"model.{k}": v for k, v in dit.items()}}, folder / "model.pt")
    torch.save(whole(WanVAE(FAMILY.vae)), folder / "Wan2.1_VAE.pth")
    save_file(whole(TinyVAE(FAMILY.taehv)), folder / "taew2_1.safetensors")
    paths = (folder / name for name in ("model.pt", "Wan2.1_VAE.pth", "taew2_1.safetensors"))
    return ModelFiles(*paths, text=None, tokenizer=None)


def whole(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in module.state_dict().items()}


def config_of(**changes: object) -> Config:
    fixed = {"engine": "wan-1.3b", "width": WIDTH_PX, "height": HEIGHT_PX, "device": "cpu"}
    return Config.model_validate({**fixed, "max_steps": 2, **changes})


def engine_of(files: ModelFiles, **changes: object) -> StreamEngine:
    return load_wan_engine(config_of(**changes), files, FAMILY, Words(), lambda text, done: None)


def clip(engine: StreamEngine, num_chunks: int) -> list[list[Frame]]:
    random = np.random.default_rng(1)
    meta = FrameMeta(WIDTH_PX, HEIGHT_PX)
    counts = [engine.first_chunk_frames, *[engine.chunk_frames] * (num_chunks - 1)]
    shape = (HEIGHT_PX, WIDTH_PX, 4)
    return [
        [Frame(meta, random.integers(0, 256, shape, dtype=np.uint8)) for _ in range(count)]
        for count in counts
    ]


def play(engine: StreamEngine, num_chunks: int = 9) -> np.ndarray:
    chunks = clip(engine, num_chunks)
    return np.concatenate([engine.step(chunk, PARAMS).frames for chunk in chunks])


@pytest.mark.parametrize("vae", ["wan", "hybrid", "taehv"])
@pytest.mark.parametrize("mode", ["corrected", "reference"])
def test_frames_out_equal_frames_in_and_a_reset_engine_equals_a_new_one(
    files: ModelFiles, vae: str, mode: str
) -> None:
    engine = engine_of(files, vae=vae, mode=mode)

    first = play(engine)
    engine.reset()

    assert engine.first_chunk_frames == (5 if mode == "reference" else 1)
    assert first.shape == (engine.first_chunk_frames + 8 * 4, HEIGHT_PX, WIDTH_PX, 4)
    assert np.array_equal(play(engine), first)
    assert np.array_equal(play(engine_of(files, vae=vae, mode=mode)), first)


def test_the_modes_and_autoencoders_make_different_pictures(files: ModelFiles) -> None:
    pictures = [
        play(engine_of(files, vae=vae, mode=mode))[-4:]
        for vae, mode in (
            ("wan", "corrected"),
            ("wan", "reference"),
            ("hybrid", "corrected"),
            ("taehv", "corrected"),
        )
    ]

    for index, one in enumerate(pictures):
        assert not any(np.array_equal(one, other) for other in pictures[index + 1 :])


@pytest.mark.parametrize("mode", ["corrected", "reference"])
def test_pictures_hardly_depend_on_what_computes_attention(files: ModelFiles, mode: str) -> None:
    usual, naive = (
        play(engine_of(files, attention=attention, mode=mode), 4) for attention in ("flash", "math")
    )

    assert np.abs(usual.astype(int) - naive).max() <= 1


def test_attention_that_is_not_there_is_refused_by_name(files: ModelFiles) -> None:
    with pytest.raises(DeviceError, match="--attention cudnn does not run on CPU"):
        engine_of(files, attention="cudnn")


def test_8_bits_are_refused_where_nothing_multiplies_them() -> None:
    told = r"needs an NVIDIA card of compute capability 8\.9 or more .*; CPU is none: use --linears"

    with pytest.raises(DeviceError, match=told):
        Placement.of(config_of(linears="fp8"))


def test_8_bits_are_refused_on_several_devices() -> None:
    with pytest.raises(ConfigError, match="--devices: --linears fp8 runs on one device; leave"):
        check_ring(config_of(linears="fp8", devices="cpu,cpu"))


def test_8_bits_go_with_bfloat16_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    card = torch.device("cuda:0")

    check_fp8(card, torch.bfloat16)
    with pytest.raises(ConfigError, match="goes with --dtype bfloat16, not with float16"):
        check_fp8(card, torch.float16)


@pytest.mark.parametrize("mode", ["corrected", "reference"])
def test_a_batch_hands_out_its_first_chunk_at_once_and_then_runs_a_chunk_late(
    files: ModelFiles, mode: str
) -> None:
    engine = engine_of(files, layout="batch", mode=mode)

    counts = [len(engine.step(chunk, PARAMS).frames) for chunk in clip(engine, 4)]

    assert counts == [engine.first_chunk_frames, 0, 4, 4]


@pytest.mark.parametrize("layout", ["serial", "batch"])
@pytest.mark.parametrize("mode", ["corrected", "reference"])
def test_no_picture_needs_more_further_frames_than_the_delay(
    files: ModelFiles, layout: str, mode: str
) -> None:
    engine = engine_of(files, vae="taehv", layout=layout, mode=mode)
    delays: list[int] = []
    num_given = 0

    for chunk, num_steps in zip(clip(engine, 5), (1, 2, 2, 1, 2), strict=True):
        num_given += len(chunk)
        styled = engine.step(chunk, PARAMS.model_copy(update={"steps": num_steps}))
        delays += [num_given - len(delays) - 1 - k for k in range(len(styled.frames))]

    assert max(delays) == engine.delay_frames


def test_a_batch_equals_serial_steps(files: ModelFiles) -> None:
    serial, batch = play(engine_of(files)), play(engine_of(files, layout="batch"))

    difference = serial[: len(batch)].astype(int) - batch.astype(int)
    assert np.abs(difference).max() <= 1


def test_steps_change_live_in_mode_reference(files: ModelFiles) -> None:
    for layout in ("serial", "batch"):
        engine = engine_of(files, mode="reference", layout=layout)
        chunks = clip(engine, 16)
        frames = [
            engine.step(chunk, PARAMS.model_copy(update={"steps": 1 + index // 3 % 2})).frames
            for index, chunk in enumerate(chunks)
        ]
        assert sum(map(len, frames)) in (5 + 15 * 4, 5 + 14 * 4)


def test_bfloat16_runs_and_is_near_float32(files: ModelFiles) -> None:
    exact = play(engine_of(files)).astype(float)
    rounded = play(engine_of(files, dtype="bfloat16")).astype(float)

    assert 0 < np.abs(exact - rounded).mean() < 6


def test_only_the_parts_in_use_are_needed() -> None:
    assert needed_parts(config_of(vae="wan")) == (Role.DIT, Role.VAE)
    assert needed_parts(config_of(vae="hybrid")) == (Role.DIT, Role.VAE, Role.TAEHV)
    assert needed_parts(config_of(vae="taehv")) == (Role.DIT, Role.TAEHV)


def test_another_model_in_the_place_of_the_dit_is_named(files: ModelFiles) -> None:
    with pytest.raises(ModelError, match="VAE"):
        engine_of(files._replace(dit=files.vae))


def test_what_is_sure_not_to_fit_is_refused_before_loading() -> None:
    config = config_of(engine="wan-14b", width=2048, height=2048, dtype="float32")

    with pytest.raises(DeviceMemoryError) as refusal:
        check_memory(config, Placement.of(config))

    assert "wan-14b at 2048x2048 with up to 2 steps needs" in str(refusal.value)
    assert "GiB are free on CPU" in str(refusal.value)


@pytest.mark.parametrize(("free_gib", "graphs"), [(80, "auto"), (14, "off")])
def test_calls_are_recorded_where_there_is_room(
    free_gib: int, graphs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(engine="wan-1.3b", width=832, height=480, max_steps=2)
    cuda = torch.device("cuda:0")
    plan = plan_memory(config, cuda, torch.bfloat16)
    monkeypatch.setattr(
        wan_engine, "device_memory", lambda _: DeviceMemory(80 * GIB, free_gib * GIB)
    )

    fitting = wan_engine._with_graphs_that_fit(config, plan, cuda)

    assert plan.total < 14 * GIB < plan.total + plan.recordings
    assert fitting.graphs == graphs


def test_memory_that_runs_out_in_a_chunk_has_a_name_and_a_remedy(files: ModelFiles) -> None:
    engine = load_wan_engine(config_of(), files, FAMILY, Greedy(), lambda text, done: None)
    chunk = clip(engine, 1)[0]

    with pytest.raises(DeviceMemoryError) as refusal:
        engine.step(chunk, PARAMS)

    assert str(refusal.value).startswith("wan-1.3b at 80x64 ran out of memory on cpu: ")
    assert "fit" in str(refusal.value)


class Greedy:
    """A prompt that takes more memory than any machine has: a real refusal of the allocator."""

    def encode(self, prompt: str) -> Tensor:
        del prompt
        return torch.empty(1 << 60, dtype=torch.float32)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: torch.empty(1 << 60), True),
        (lambda: torch.ones(2) @ torch.ones(3), False),
    ],
)
def test_running_out_of_memory_is_told_apart(make: Callable[[], object], expected: bool) -> None:
    with pytest.raises(RuntimeError) as raised:
        make()

    assert is_out_of_memory(raised.value) is expected
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by setrlimit")
def test_loading_into_too_little_memory_ends_in_a_named_error(files: ModelFiles) -> None:
    code = f"""
import resource, torch
from pathlib import Path
from sdv2_host.errors import DeviceMemoryError
from sdv2_host.gpu.memory_plan import plan_memory
from tests.gpu.test_wan_engine import FAMILY, ModelFiles, Words, config_of, load_wan_engine
files = ModelFiles(Path({str(files.dit)!r}), Path({str(files.vae)!r}), None, None, None)
config = config_of(width=2048, height=2048)
plan_memory(config, torch.device("cpu"), torch.float32)  # as a worker does before it loads
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), -1))
try:
    load_wan_engine(config, files, FAMILY, Words(), lambda text, done: None)
except DeviceMemoryError as error:
    print("refused:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.startswith("refused: wan-1.3b"), done.stderr[-2000:]
    assert "ran out of memory on cpu" in done.stdout
    assert done.stdout.count("\n") == 1
