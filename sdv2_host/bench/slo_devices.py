"""Step times of GPUs, as a model with stated sources: for simulations, never for a claim of speed.

All at 512x512, per latent (4 frames), in milliseconds. Wan's autoencoder takes 5.27 TFLOP to encode
and 8.88 to decode, at 45 % of the dense peak (convolutions). A call of the DiT on m latents takes
a + b m: on an H200 7.0 ms for one and 4 x 5.4 for four with 1.3B, 47 and 4 x 41 with 14B, with
65 % of the peak in matrix products. b goes with the peak, a (weights and launches) with the
bandwidth. Each stage costs 0.6 ms more. This gives 99, 84 and 64 fps for 1, 2 and 4 steps of 1.3B
on an H200, where the estimate it is made from says 100, 87, 68, and 17 fps for one step on a 4090,
where the paper's authors published 16.6.

14B does not fit into a 4090 in bfloat16 (28 GB of 24); its numbers there are for fp8 linears, which
are 1.5 times as fast.

Of smaller sizes and other autoencoders: TAEHV takes 0.16 TFLOP to encode and 0.36 to decode. A call
goes with the pixels but for attention, which goes with their square; from 512x512 to 832x480 the
work grows by 1.76 with 1.3B (3.82 to 6.74 TFLOP) and by 1.66 with 14B, so attention is 30 % and
17 % of it at 512x512. A worker that is prepared takes 5 s for Python, torch and warm-up, and reads
its weights at 2 GB a second: assumed, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sdv2_host.stream.setups import VAE_TFLOP, Setup
from sdv2_host.types import Layout, Shape, Size

ASKED = Setup("wan", Size(512, 512))
VAES = ("wan", "hybrid", "taehv")
VAE_EFFICIENCY = 0.45
STAGE_MS = 0.6
START_S, READ_GB_PER_S = 5.0, 2.0
H200_TFLOPS, H200_TBPS = 990.0, 4.8
LONGEST_CHUNK = 2
"""Latents: `StreamSpec.longest_chunk` of the Wan engines."""


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    tflops: float
    """Dense peak in bfloat16, accumulated in float32."""
    tbps: float


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    constant_ms: float
    latent_ms: float
    """A call on an H200: constant + latent x m."""
    max_steps: int
    attention: float
    """Of a call's time at 512x512, without the constant."""
    weights_gb: float
    is_fp8: bool = False


RTX_4090, H100, H200 = (
    Device("4090", 165.0, 1.008),
    Device("H100", 990.0, 3.35),
    Device("H200", H200_TFLOPS, H200_TBPS),
)
WAN_1_3B = Model("1.3B", 2.13, 4.87, 4, 0.30, 2.8)
WAN_14B = Model("14B", 8.0, 39.0, 2, 0.17, 28.1)
WAN_14B_FP8 = Model("14B fp8", 8.0, 39.0, 2, 0.17, 28.1, is_fp8=True)


@dataclass(frozen=True, slots=True)
class StageTimes:
    """One model on one device, in one setup."""

    name: str
    encode_ms: float
    decode_ms: float
    constant_ms: float
    latent_ms: float
    max_steps: int
    attention: float
    prepare_s: float
    """Until a worker is ready, beside the one at work."""

    def at(self, setup: Setup) -> StageTimes:
        """The same in another setup than `ASKED`, which these times are of."""
        pixels = setup.size.width * setup.size.height / (ASKED.size.width * ASKED.size.height)
        tflop = zip(VAE_TFLOP[setup.vae], VAE_TFLOP[ASKED.vae], strict=True)
        encode, decode = (pixels * ours / theirs for ours, theirs in tflop)
        return replace(
            self,
            encode_ms=STAGE_MS + (self.encode_ms - STAGE_MS) * encode,
            decode_ms=STAGE_MS + (self.decode_ms - STAGE_MS) * decode,
            latent_ms=self.latent_ms * pixels * (1 - self.attention + self.attention * pixels),
        )

    def call_ms(self, num_latents: int) -> float:
        return STAGE_MS / 2 + self.constant_ms + self.latent_ms * num_latents

    def step_ms(self) -> dict[Shape, float]:
        """The table that a warm-up would measure: what `StreamEngine.step_ms` holds."""
        coding_ms = self.encode_ms + self.decode_ms
        table = {
            Shape(4 * k, Layout.SERIAL, steps): coding_ms * k + steps * self.call_ms(k)
            for k in range(1, LONGEST_CHUNK + 1)
            for steps in range(1, self.max_steps + 1)
        }
        for steps in range(2, self.max_steps + 1):
            table[Shape(4, Layout.BATCH, steps)] = coding_ms + self.call_ms(steps)
        return table


def stage_times(device: Device, model: Model) -> StageTimes:
    by_compute = H200_TFLOPS / device.tflops
    by_bandwidth = H200_TBPS / device.tbps
    coding_ms_per_tflop = 1000 / (VAE_EFFICIENCY * device.tflops)
    fp8_gain, fp8_bytes = (1.5, 0.5) if model.is_fp8 else (1.0, 1.0)
    encode_tflop, decode_tflop = VAE_TFLOP[ASKED.vae]
    return StageTimes(
        f"{device.name} {model.name}",
        STAGE_MS + encode_tflop * coding_ms_per_tflop,
        STAGE_MS + decode_tflop * coding_ms_per_tflop,
        model.constant_ms * by_bandwidth * fp8_bytes,
        model.latent_ms * by_compute / fp8_gain,
        model.max_steps,
        model.attention,
        START_S + model.weights_gb / READ_GB_PER_S,
    )


ALL = [
    stage_times(RTX_4090, WAN_1_3B),
    stage_times(H100, WAN_1_3B),
    stage_times(H200, WAN_1_3B),
    stage_times(RTX_4090, WAN_14B_FP8),
    stage_times(H100, WAN_14B),
    stage_times(H200, WAN_14B),
]
