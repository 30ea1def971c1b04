"""Mode `reference` from checkpoint files to pictures, against recorded runs of StreamDiffusionV2.

The recordings hold every random number that the reference drew; with the same ones every latent,
cached key and picture must agree to rounding in float32.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sdv2_host.gpu.wan_spec import GEOMETRY, TIMESTEPS, reference_rules
from sdv2_host.params import Params
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.reference_cache import ReferenceKVCache
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.stream.state import StreamState
from sdv2_host.types import Layout
from sdv2_host.wan.dims import WanDims, WanVAEDims
from sdv2_host.wan.streaming_vae import Decoded, Encoded, VAECache
from sdv2_host.wan.vae import WanVAE
from sdv2_host.wan.weights import load_dit, load_wan_vae

VECTORS = Path(
    os.environ.get("SDV2_VECTORS", Path(__file__).parents[2] / "shared" / "reference" / "vectors")
)
needs_recordings = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="no recorded reference tensors here; set SDV2_VECTORS to them"
)
HEIGHT_PX, WIDTH_PX = 64, 96
LIMIT = 1e-5


class Listening:
    """The autoencoder, with a note of the latents that went through."""

    def __init__(self, vae: WanVAE) -> None:
        self._vae = vae
        self.encoded: list[Tensor] = []
        self.to_decode: list[Tensor] = []

    def init_cache(self, *args: Any, **kwargs: Any) -> VAECache:
        return self._vae.init_cache(*args, **kwargs)

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        encoded = self._vae.encode(frames_BTCHW, cache, is_first)
        self.encoded.append(encoded.z_BFCHW)
        return encoded

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        self.to_decode.append(z_BFCHW)
        return self._vae.decode(z_BFCHW, cache, is_first)


class OnePrompt:
    def __init__(self, rows_1KT: Tensor) -> None:
        self._rows_1KT = rows_1KT

    def encode(self, prompt: str) -> Tensor:
        del prompt
        text = torch.zeros(1, 512, 4096)
        text[:, : self._rows_1KT.shape[1]] = self._rows_1KT
        return text


@dataclass
class Worst:
    """Largest relative error seen, per kind of tensor."""

    errors: dict[str, float]

    def see(self, kind: str, got: Tensor, want: Tensor) -> None:
        error = float((got - want).abs().max() / want.abs().max())
        self.errors[kind] = max(self.errors.get(kind, 0.0), error)


class Recording:
    """One recorded run: its tensors, and its decisions per tick."""

    def __init__(self, tag: str) -> None:
        self.tensors = load_file(VECTORS / f"{tag}.safetensors")
        meta = json.loads((VECTORS / f"{tag}.json").read_text())
        self.ticks = meta["ticks"]
        self.steps = meta["step"]
        self.layout = Layout.SERIAL if meta["wo_batch"] else Layout.BATCH
        inputs = load_file(VECTORS / "inputs.safetensors")
        self.video_BTCHW = inputs["video"].transpose(1, 2)
        self.prompt = OnePrompt(inputs["prompt_a"])

    def noise(self, chunk_index: int, seed: int, step: int, like: Tensor) -> Tensor:
        """What the reference drew there. In a batch a chunk takes one step per tick."""
        del seed
        late = max(step - 1, 0) if self.layout is Layout.BATCH else 0
        tick = "prepare" if chunk_index == 0 else f"tick{chunk_index - 1 + late:03d}"
        return self.tensors[f"{tick}.randn{step}"].reshape(like.shape)

    def frames(self, index: int) -> Tensor:
        first = 5 + 4 * (index - 1)
        return self.video_BTCHW[:, first : first + 4] if index else self.video_BTCHW[:, :5]

    def pipeline(self, vae: Listening) -> StreamPipeline:
        common = StreamSpec(
            HEIGHT_PX,
            WIDTH_PX,
            GEOMETRY,
            self.layout,
            timesteps=TIMESTEPS[: self.steps],
            timestep_offset=100.0,
        )
        dims = WanDims(dim=256, num_heads=2, ffn_dim=512, num_layers=3)
        dit = load_dit(VECTORS / "generator.safetensors", dims)
        return StreamPipeline(dit, vae, self.prompt, reference_rules(common), noise=self.noise)


def see_cache(state: StreamState, tick: dict[str, Any], tensors: dict[str, Tensor]) -> list[Any]:
    """Kinds and pairs of recorded keys and values; the decisions are compared here."""
    kv = state.kv
    assert isinstance(kv, ReferenceKVCache)
    # The recording after the first chunk has one queue, not copied to the other rows yet.
    num_rows = len(tick["evict_idx"][0])
    ends = [[[24 * end for end in queue] for queue in rows[:num_rows]] for rows in kv.queues]
    assert ends == tick["evict_idx"], tick["name"]
    assert [24 * count for count in kv.num_filled[:num_rows]] == tick["local_end"][0][:num_rows]
    pairs = []
    for kind, blocks in (("k", kv.k_RSHD), ("v", kv.v_RSHD)):
        for block, held in enumerate(blocks):
            want = tensors.get(f"{tick['name']}.kv{block}.{kind}")
            if want is not None:
                pairs.append(("cached", held.reshape(want.shape), want))
    return pairs


@needs_recordings
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("tag", ["batch1", "batch2", "wo2"])
def test_a_stream_agrees_with_the_recorded_run(tag: str) -> None:
    recording = Recording(tag)
    tensors, worst = recording.tensors, Worst({})
    vae = Listening(load_wan_vae(VECTORS / "vae.safetensors", dims=WanVAEDims(base=16)))
    pipeline = recording.pipeline(vae)
    state = pipeline.fresh_state()
    params = Params(prompt="a", steps=recording.steps, noise_s_min=0.7, noise_s_max=0.8)

    for index, tick in enumerate(recording.ticks):
        name, num_decoded = tick["name"], len(vae.to_decode)
        frames = pipeline.step(state, recording.frames(index), params)

        assert float(state.motion.noise_scale) == pytest.approx(tick["noise_scale"], abs=1e-6)
        worst.see("encoded", vae.encoded[-1], tensors[f"{name}.latent_mu"].transpose(1, 2))
        assert len(vae.to_decode) - num_decoded == tick["n_dec"], name
        if f"{name}.dec0.z" in tensors:
            worst.see("denoised", vae.to_decode[-1], tensors[f"{name}.dec0.z"])
        if f"{name}.out_frames" in tensors:
            shown_THWC = (frames[0] * 0.5 + 0.5).permute(0, 2, 3, 1)
            worst.see("pictures", shown_THWC, tensors[f"{name}.out_frames"])
        for pair in see_cache(state, tick, tensors):
            worst.see(*pair)

    report = ", ".join(f"{kind} {error:.1e}" for kind, error in worst.errors.items())
    print(f"{tag}: {len(recording.ticks)} chunks, worst relative error: {report}")
    assert max(worst.errors.values()) < LIMIT, worst.errors


@needs_recordings
def test_the_refresh_of_positions_is_among_the_recorded_ticks() -> None:
    tensors = Recording("batch2").tensors

    starts = [int(tensors[f"tick{n:03d}.call0.current_start"][0]) // 24 for n in (47, 48, 49)]

    assert starts == [49, 5, 6]
