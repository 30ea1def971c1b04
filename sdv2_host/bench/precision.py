"""What a smaller number format costs: decoded frames against float32, stage by stage.

One clip runs seven times with equal noise: all in float32, then with the encoder, the denoiser, the
decoder, and everything in the smaller format; then with the DiT's large linears alone in 8 bits
(`--linears fp8`), and with everything small and those in 8 bits. So each stage's part of the error
is seen where it matters, in the frames. Products in 8 bits are made by hand (wan/fp8.py), so that
any machine can tell.

# B rows  T pixel frames  F latent frames  C channels  H W size
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from sdv2_host.bench.scores import psnr_db, squared_error
from sdv2_host.bench.world import Scene
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.params import Params
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import ProgressFn
from sdv2_host.wan.dims import FRAMES_PER_LATENT, WanDims
from sdv2_host.wan.fp8 import by_hand
from sdv2_host.wan.streaming_vae import Decoded, Encoded, StreamingVAE, VAECache

FPS, START_S, SEED = 30.0, 0.5, 20
NUM_TEXT_ROWS = 24
FULL = torch.float32
_M = TypeVar("_M", bound=nn.Module)


class StageDtypes(NamedTuple):
    """The number format of each stage."""

    encode: torch.dtype = FULL
    denoise: torch.dtype = FULL
    decode: torch.dtype = FULL
    linears8: bool = False
    """The DiT's large linears are in 8 bits."""


class MixedVAE:
    """An autoencoder whose halves may have another number format than the stream between them."""

    def __init__(self, encoder: StreamingVAE, decoder: StreamingVAE, dtypes: StageDtypes) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._dtypes = dtypes

    def init_cache(
        self,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = FULL,
    ) -> VAECache:
        """Each half's memories in its own format; `dtype`, the stream's, is not theirs."""
        del dtype
        size = (batch, height_px, width_px)
        encoding = self._encoder.init_cache(*size, device, self._dtypes.encode)
        decoding = self._decoder.init_cache(*size, device, self._dtypes.decode)
        return VAECache(encoding.encoder, decoding.decoder)

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        dtypes = self._dtypes
        encoded = self._encoder.encode(frames_BTCHW.to(dtypes.encode), cache, is_first)
        return Encoded(encoded.z_BFCHW.to(dtypes.denoise), encoded.cache)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        decoded = self._decoder.decode(z_BFCHW.to(self._dtypes.decode), cache, is_first)
        return Decoded(decoded.frames_BTCHW.to(FULL), decoded.cache)


class OneText:
    """A text encoder that gives the same random rows for every prompt."""

    def __init__(self, dims: WanDims) -> None:
        generator = torch.Generator().manual_seed(SEED)
        self._text = torch.zeros(1, dims.text_len, dims.text_dim)
        num_rows = min(NUM_TEXT_ROWS, dims.text_len)
        rows = torch.randn(num_rows, dims.text_dim, generator=generator)
        self._text[:, :num_rows] = rows * 0.2

    def encode(self, prompt: str) -> Tensor:
        del prompt
        return self._text


def run(
    models: StreamModels, spec: StreamSpec, params: Params, num_frames: int, progress: ProgressFn
) -> dict[str, Any]:
    """Errors of bfloat16 per stage, and of linears in 8 bits.

    `models` are in float32, `num_frames` is 1 + 4k.
    """
    small = torch.bfloat16
    frames_BTCHW = clip(num_frames, spec)
    plans = {
        "float32": StageDtypes(),
        "encode": StageDtypes(encode=small),
        "denoise": StageDtypes(denoise=small),
        "decode": StageDtypes(decode=small),
        "all": StageDtypes(small, small, small),
        "linears": StageDtypes(linears8=True),
        "all, linears": StageDtypes(small, small, small, linears8=True),
    }
    rows: list[dict[str, Any]] = []
    exact: Tensor | None = None
    for index, (stage, dtypes) in enumerate(plans.items()):
        text = "8 bits" if dtypes.linears8 else "bfloat16"
        progress(f"{text}: {stage}" if index else "float32", index / len(plans))
        styled = stream(models, spec, params, frames_BTCHW, dtypes)
        if exact is None:
            exact = styled
        else:
            rows.append({"stage": stage, **errors(styled, exact)})
    progress("done", 1.0)
    return {
        "size": f"{spec.width_px}x{spec.height_px}",
        "frames": num_frames,
        "steps": params.steps,
        "dtype": "bfloat16",
        "device": str(spec.device),
        "stages": rows,
    }


def clip(num_frames: int, spec: StreamSpec) -> Tensor:
    """[1, T, 3, H, W] in [-1, 1] on the stream's device: a scene of the procedural world."""
    scene = Scene.random(SEED, speed=60.0)
    made = scene.render(num_frames, spec.height_px, spec.width_px, start=START_S, fps=FPS)
    return (made.rgb_T3HW * 2 - 1).unsqueeze(0).to(spec.device)


@torch.inference_mode()
def stream(
    models: StreamModels,
    spec: StreamSpec,
    params: Params,
    frames_BTCHW: Tensor,
    dtypes: StageDtypes,
) -> Tensor:
    """Frames [T, 3, H, W] in 0..1 of the whole clip, as a viewer gets them: 8 bits."""
    mixed = MixedVAE(_half(models.vae, dtypes.encode), _half(models.vae, dtypes.decode), dtypes)
    dit = _in_dtype(models.dit, dtypes.denoise)
    if dtypes.linears8:
        dit = copy.deepcopy(dit)
        dit.quantise_(by_hand)
    pipeline = StreamPipeline(
        dit,
        mixed,
        models.text,
        replace(spec, dtype=dtypes.denoise),
    )
    state = pipeline.fresh_state()
    styled = [pipeline.step(state, chunk, params) for chunk in _chunks(frames_BTCHW)]
    styled.append(pipeline.flush(state))
    frames_TCHW = torch.cat(styled, dim=1)[0] / 2 + 0.5
    return (frames_TCHW * 255).round().clamp(0, 255) / 255


def errors(got_T3HW: Tensor, exact_T3HW: Tensor) -> dict[str, float]:
    """Of frames in 0..1: dB, and 8-bit steps on average, at the 99.9th percentile, and at most."""
    steps = (got_T3HW - exact_T3HW).abs().flatten() * 255
    rank = max(1, round(0.999 * len(steps)))
    squared = squared_error(got_T3HW, exact_T3HW)
    return {
        "psnr_db": psnr_db(squared.value),
        "mean_8bit": float(steps.mean()),
        "p999_8bit": float(steps.kthvalue(rank).values),
        "max_8bit": float(steps.max()),
        "equal": float((steps < 0.5).float().mean()),
    }


def format_table(result: dict[str, Any]) -> str:
    """The result as lines for a person."""
    lines = [
        f"{result['model']}, {result['size']}, {result['steps']} steps, {result['frames']} frames, "
        f"{result['device']}, {result['weights']} weights",
        f"{result['dtype']} in one stage, float32 in the others; decoded frames against float32 "
        "in all, in steps of 8 bits; linears: the DiT's large products by --linears fp8",
        "",
        f"{'stage':<14}{'PSNR dB':>9}{'mean':>8}{'p99.9':>8}{'most':>7}{'equal':>8}",
    ]
    for row in result["stages"]:
        lines.append(
            f"{row['stage']:<14}{row['psnr_db']:>9.1f}{row['mean_8bit']:>8.3f}"
            f"{row['p999_8bit']:>8.1f}{row['max_8bit']:>7.0f}{row['equal']:>8.1%}"
        )
    return "\n".join(lines)


def _chunks(frames_BTCHW: Tensor) -> Iterator[Tensor]:
    yield frames_BTCHW[:, :1]
    for first in range(1, frames_BTCHW.shape[1], FRAMES_PER_LATENT):
        yield frames_BTCHW[:, first : first + FRAMES_PER_LATENT]


def _half(vae: StreamingVAE, dtype: torch.dtype) -> StreamingVAE:
    assert isinstance(vae, nn.Module), "an autoencoder without weights"
    moved: Any = _in_dtype(vae, dtype)
    half: StreamingVAE = moved
    return half


def _in_dtype(module: _M, dtype: torch.dtype) -> _M:
    """The module itself where that is its format, else a copy."""
    if next(module.parameters()).dtype == dtype:
        return module
    return copy.deepcopy(module).to(dtype)
