"""Sizes of the models. One frozen value per model; the same code serves all of them."""

from __future__ import annotations

from dataclasses import dataclass

LATENT_STRIDE_PX = 8
"""Pixels per latent cell, each side."""
FRAMES_PER_LATENT = 4
"""Pixel frames per latent frame, after the first."""


@dataclass(frozen=True, slots=True)
class WanDims:
    """A causal Wan 2.1 DiT. Source: config.json of Wan2.1-T2V, models/wan/causal_model.py."""

    dim: int
    num_heads: int
    ffn_dim: int
    num_layers: int
    text_dim: int = 4096
    text_len: int = 512
    in_dim: int = 16
    out_dim: int = 16
    freq_dim: int = 256
    patch: tuple[int, int, int] = (1, 2, 2)
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(f"dim {self.dim} must be num_heads {self.num_heads} x an even number")

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    def tokens_per_frame(self, height_px: int, width_px: int) -> int:
        cell = LATENT_STRIDE_PX * self.patch[1]
        return (height_px // cell) * (width_px // cell)


@dataclass(frozen=True, slots=True)
class TinyVAEDims:
    """An autoencoder of the TAEHV architecture; the defaults are taew2_1's. Source: taehv.py.

    `encoder_strides` and `decoder_strides` are (time, space) per stage; with `patch` they must
    multiply to 4 in time and 8 in space.
    """

    latent_dim: int = 16
    patch: int = 1
    encoder_width: int = 64
    encoder_strides: tuple[tuple[int, int], ...] = ((2, 2), (2, 2), (1, 2))
    decoder_widths: tuple[int, ...] = (256, 128, 64, 64)
    decoder_strides: tuple[tuple[int, int], ...] = ((1, 2), (2, 2), (2, 2))
    num_mem_blocks: int = 3
    latent_scale: float = 1.0
    """Latents handed to the DiT are this many times the autoencoder's own."""

    def __post_init__(self) -> None:
        for name, strides in (("encoder", self.encoder_strides), ("decoder", self.decoder_strides)):
            time, space = 1, self.patch
            for stride in strides:
                time, space = time * stride[0], space * stride[1]
            if (time, space) != (FRAMES_PER_LATENT, LATENT_STRIDE_PX):
                raise ValueError(
                    f"{name} strides give {time}x{space}, expected 4 in time, 8 in space"
                )
        if any(space not in (1, 2) for _, space in self.decoder_strides):
            raise ValueError("each decoder stride in space must be 1 or 2")
        if len(self.decoder_widths) != len(self.decoder_strides) + 1:
            raise ValueError("decoder_widths needs one width more than decoder_strides")


@dataclass(frozen=True, slots=True)
class WanVAEDims:
    """The Wan 2.1 autoencoder. Source: Wan-AI/Wan2.1 wan/modules/vae.py, diffusers' config.

    The encoder halves the picture after every stage but the last, and the number of frames too
    where `temporal_downsample` says so; the decoder is its mirror.
    """

    base: int = 96
    """Channels at the full picture; every other width is a multiple."""
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    latent_mean: tuple[float, ...] = (
        *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
        *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
    )
    latent_std: tuple[float, ...] = (
        *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
        *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
    )

    def __post_init__(self) -> None:
        strides = (2 ** sum(self.temporal_downsample), 2 ** (len(self.dim_mult) - 1))
        if strides != (FRAMES_PER_LATENT, LATENT_STRIDE_PX):
            raise ValueError(
                f"strides {strides[0]} in time, {strides[1]} in space, expected 4 and 8"
            )
        if len(self.temporal_downsample) != len(self.dim_mult) - 1:
            raise ValueError("temporal_downsample needs one entry less than dim_mult")
        if not len(self.latent_mean) == len(self.latent_std) == self.z_dim:
            raise ValueError(f"latent_mean and latent_std need z_dim = {self.z_dim} entries each")


@dataclass(frozen=True, slots=True)
class TinyTextDims:
    """The embedded model's text encoder."""

    num_buckets: int = 4096
    bucket_dim: int = 64
    text_len: int = 16
    text_dim: int = 192
    num_heads: int = 4


WAN_1_3B = WanDims(dim=1536, num_heads=12, ffn_dim=8960, num_layers=30)
WAN_14B = WanDims(dim=5120, num_heads=40, ffn_dim=13824, num_layers=40)
WAN_VAE = WanVAEDims()
TAEW2_1 = TinyVAEDims()

TINY_DIT = WanDims(
    dim=192, num_heads=3, ffn_dim=576, num_layers=5, text_dim=192, text_len=16, freq_dim=64
)
TINY_VAE = TinyVAEDims(
    patch=4,
    encoder_width=48,
    encoder_strides=((2, 2), (2, 1)),
    decoder_widths=(96, 64, 32),
    decoder_strides=((2, 1), (2, 2)),
    num_mem_blocks=2,
    latent_scale=4.5,
)
TINY_TEXT = TinyTextDims()
