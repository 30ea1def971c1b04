"""The layers of the Wan 2.1 autoencoder: causal in time, channels innermost in memory.

# B rows  T frames  C channels  O output channels  H W size

Between layers a clip is [T*B, C, H, W], time outermost, channels_last. A 3-D convolution is a 2-D
one over each frame stacked with the frames before it, [t-2, t-1, t] -> 3C channels: the same sums.
Memories are [P*B, C, H, W], the P frames before the clip, written in place; zeros before the first
frame. Source: Wan-AI/Wan2.1 wan/modules/vae.py (architecture, key names, caching rules).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdv2_host.wan.bands import WHOLE


class Call(NamedTuple):
    """What the layers need to know in one call of the encoder or the decoder."""

    num_rows: int
    is_first: bool
    """The clip starts with the session's frame 0, which passes every change of frame rate alone."""
    memories: Iterator[Tensor]
    """One per remembering layer, in the order the layers run."""
    kept: Iterator[slice] | None = None
    """Rows of what a `ResidualBlock`, an `Upsample` or the head makes that go on, in the order they
    run. None = all."""

    def next_kept(self) -> slice:
        return WHOLE if self.kept is None else next(self.kept)


def cropped(x: Tensor, kept: slice) -> Tensor:
    """These rows of x."""
    return x if kept == WHOLE else x[:, :, kept]


class CausalLayer(nn.Module):
    """A layer that is told of the call: forward(x, call) -> y."""

    def forward(self, x: Tensor, call: Call) -> Tensor:
        raise NotImplementedError


class Layers(CausalLayer):
    """Layers one after the other; `modules()` gives them in the order they run."""

    def __init__(self, *numbered: nn.Module, **named: nn.Module) -> None:
        super().__init__()
        for index, layer in enumerate(numbered):
            self.add_module(str(index), layer)
        for name, layer in named.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor, call: Call) -> Tensor:
        for layer in self.children():
            x = layer(x, call) if isinstance(layer, CausalLayer) else layer(x)
        return x


class CausalConv(CausalLayer):
    """A convolution over (time, height, width) that sees no later frame.

    `weight` has the checkpoint's shape [O, C, kt, kh, kw], in the memory order (O, kh, kw, kt, C):
    so the channels_last weight of the 2-D convolution over stacked frames is a view of it.
    """

    def __init__(
        self, dim_in: int, dim_out: int, kernel: tuple[int, int, int], stride: int = 1
    ) -> None:
        """`stride` is in time; in space it is 1, and pictures keep their size."""
        super().__init__()
        self.dim_in = dim_in
        self.window = kernel[0]
        self.stride = stride
        self.padding = (kernel[1] // 2, kernel[2] // 2)
        self.num_past = self.window - stride
        """Frames before the clip that its first output sees."""
        weight = nn.init.kaiming_uniform_(torch.empty(dim_out, dim_in, *kernel), a=5**0.5)
        self.weight = nn.Parameter(channels_innermost(weight))
        self.bias = nn.Parameter(torch.zeros(dim_out))

    def stacked_weight(self) -> Tensor:
        """[O, kt*C, kh, kw], channels_last: a view, never a copy.

        Raises:
            RuntimeError: the parameter was replaced by one in another memory order; the model's
                `restore_` puts it right.
        """
        dim_out, dim_in, window, *sides = self.weight.shape
        return self.weight.transpose(1, 2).view(dim_out, window * dim_in, *sides)

    def over(self, x: Tensor, memory: Tensor, num_rows: int) -> Tensor:
        """The convolution over memory and clip; the memory is now the clip's end.

        [T*B, C, H, W] -> [T//stride*B, O, H, W].
        """
        # Two forms of the same. torch.compile writes a whole new stack for each part that is copied
        # into one (six times as long); eager, joining moves a seventh more bytes than copying does.
        num_kept = memory.shape[0]
        if torch.compiler.is_compiling():
            frames = torch.cat([memory, x])
            memory.copy_(frames[-num_kept:])
            return self._conv(self._joined(frames, num_rows))
        stacked = self._filled(x, memory, num_rows)
        enough = x.shape[0] >= num_kept
        memory.copy_(x[-num_kept:] if enough else torch.cat([memory, x])[-num_kept:])
        return self._conv(stacked)

    def _joined(self, frames: Tensor, num_rows: int) -> Tensor:
        """[T//stride*B, kt*C, H, W]: each output's frames, oldest first, one pixel's side by side.

        Frame t*stride + k of memory and clip together is tap k of output t.
        """
        frames_FBCHW = frames.unflatten(0, (-1, num_rows))
        num_out = (frames_FBCHW.shape[0] - self.num_past) // self.stride
        taps = (frames_FBCHW[tap :: self.stride][:num_out] for tap in range(self.window))
        return torch.cat([tap_TBCHW.flatten(0, 1) for tap_TBCHW in taps], dim=1)

    def _filled(self, x: Tensor, memory: Tensor, num_rows: int) -> Tensor:
        """`_joined` of memory and clip, each frame copied once for each tap.

        The memory has frames 0..P-1, so of a tap's frames k, k+stride, ... its first `num_old` lie
        there.
        """
        past_PBCHW = memory.unflatten(0, (-1, num_rows))
        clip_TBCHW = x.unflatten(0, (-1, num_rows))
        num_out = clip_TBCHW.shape[0] // self.stride
        channels, height, width = x.shape[1:]
        stacked_TBHWKC = x.new_empty(num_out, num_rows, height, width, self.window, channels)
        for tap in range(self.window):
            out_TBCHW = stacked_TBHWKC[..., tap, :].permute(0, 1, 4, 2, 3)
            old_TBCHW = past_PBCHW[tap :: self.stride][:num_out]
            num_old = old_TBCHW.shape[0]
            first = tap + num_old * self.stride - self.num_past
            out_TBCHW[:num_old].copy_(old_TBCHW)
            out_TBCHW[num_old:].copy_(clip_TBCHW[first :: self.stride][: num_out - num_old])
        return stacked_TBHWKC.flatten(4).flatten(0, 1).permute(0, 3, 1, 2)

    def forward(self, x: Tensor, call: Call) -> Tensor:
        if self.num_past:
            return self.over(x, next(call.memories), call.num_rows)
        return self._conv(x)

    def _conv(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.stacked_weight(), self.bias, padding=self.padding)


def channels_innermost(weight: Tensor) -> Tensor:
    """Equal to `weight` [O, C, (kt,) kh, kw], with memory order (O, kh, kw, (kt,) C)."""
    if weight.ndim == 5:
        return weight.permute(0, 3, 4, 2, 1).contiguous().permute(0, 4, 3, 1, 2)
    return weight.contiguous(memory_format=torch.channels_last)


class RMSNorm(nn.Module):
    """Every pixel's channels to length sqrt(C), times gamma."""

    def __init__(self, dim: int, num_axes: int = 3) -> None:
        """`num_axes` behind the channels is how the checkpoint shapes gamma."""
        super().__init__()
        self.scale = dim**0.5
        self.gamma = nn.Parameter(torch.ones(dim, *[1] * num_axes))

    def forward(self, x: Tensor) -> Tensor:
        gamma = (self.gamma * self.scale).view(-1, 1, 1)
        return F.normalize(x, dim=1).mul_(gamma)


class ResidualBlock(CausalLayer):
    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.residual = Layers(
            RMSNorm(dim_in),
            nn.SiLU(inplace=True),
            CausalConv(dim_in, dim_out, (3, 3, 3)),
            RMSNorm(dim_out),
            nn.SiLU(inplace=True),
            nn.Identity(),  # the checkpoint counts a dropout here
            CausalConv(dim_out, dim_out, (3, 3, 3)),
        )
        self.shortcut = CausalConv(dim_in, dim_out, (1, 1, 1)) if dim_in != dim_out else None

    def forward(self, x: Tensor, call: Call) -> Tensor:
        y, kept = self.residual(x, call), call.next_kept()
        x = cropped(x, kept)
        return cropped(y, kept).add_(x if self.shortcut is None else self.shortcut(x, call))


class AttentionBlock(nn.Module):
    """One head over the pixels of each frame; frames do not see each other."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = RMSNorm(dim, num_axes=2)
        self.to_qkv = nn.Conv2d(dim, dim * 3, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        qkv_NHWC = self.to_qkv(self.norm(x)).permute(0, 2, 3, 1)
        q, k, v = qkv_NHWC.flatten(1, 2).unsqueeze(1).chunk(3, dim=-1)
        y_NSC = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        y = y_NSC.unflatten(1, x.shape[-2:]).permute(0, 3, 1, 2)
        return self.proj(y).add_(x)


class Downsample(CausalLayer):
    """Half the picture; with `in_time` also one frame of every two."""

    def __init__(self, dim: int, in_time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))
        self.time_conv = CausalConv(dim, dim, (3, 1, 1), stride=2) if in_time else None

    def forward(self, x: Tensor, call: Call) -> Tensor:
        x = self.resample(x)
        if self.time_conv is None:
            return x
        memory, num_rows = next(call.memories), call.num_rows
        if not call.is_first:
            return self.time_conv.over(x, memory, num_rows)
        # Frame 0 is its own output, and the past of the pair that follows it.
        frame_0, later = x[:num_rows], x[num_rows:]
        memory.copy_(frame_0)
        if not later.shape[0]:
            return frame_0
        return torch.cat([frame_0, self.time_conv.over(later, memory, num_rows)])


class Upsample(CausalLayer):
    """Twice the picture, half the channels; with `in_time` also two frames for each one."""

    def __init__(self, dim: int, in_time: bool) -> None:
        super().__init__()
        self.time_conv = CausalConv(dim, dim * 2, (3, 1, 1)) if in_time else None
        # The checkpoint counts a layer that repeats pixels.
        self.resample = nn.Sequential(nn.Identity(), EnlargingConv(dim, dim // 2))

    def forward(self, x: Tensor, call: Call) -> Tensor:
        return cropped(self.resample(self._more_frames(x, call)), call.next_kept())

    def _more_frames(self, x: Tensor, call: Call) -> Tensor:
        num_rows = call.num_rows
        if self.time_conv is None:
            return x
        memory = next(call.memories)
        if not call.is_first:
            return split_frames(self.time_conv.over(x, memory, num_rows), 2, num_rows)
        # Frame 0 stays one frame and is not remembered: the next one's past is zeros.
        frame_0, later = x[:num_rows], x[num_rows:]
        if not later.shape[0]:
            return frame_0
        later = split_frames(self.time_conv.over(later, memory, num_rows), 2, num_rows)
        return torch.cat([frame_0, later])


class EnlargingConv(nn.Conv2d):
    """Every pixel becomes 2x2 pixels, of which a 3x3 convolution is taken: [N, C, H, W] ->
    [N, O, 2H, 2W].

    The enlarged picture is never made. Of its pixels, those that lie alike in their 2x2 see the
    same 2x2 of the small picture, some of it through several taps: one 2x2 convolution of the small
    picture to 4*O channels gives all of them, in 16 multiplications for 36. `weight` is the
    checkpoint's; the sums of its taps are made in each call, so they always fit it.
    """

    def __init__(self, dim_in: int, dim_out: int, bias: bool = True) -> None:
        super().__init__(dim_in, dim_out, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        # Pixel 2i+a of the enlarged picture, at tap k, is row i+d of the small one for the taps
        # k = 2d+1-a and 2d+2-a: sum 2d+2-a of two taps side by side, of 4 with zeros around them.
        sums = F.avg_pool2d(self.weight, 2, stride=1, padding=1, divisor_override=1)
        phases = [sums[:, :, a::2, b::2] for a in (0, 1) for b in (0, 1)]
        bias = None if self.bias is None else self.bias.repeat(4)
        wide = F.conv2d(x, torch.cat(phases), bias, padding=1)
        return _interleaved(wide)


def _interleaved(wide: Tensor) -> Tensor:
    """[N, 4*O, H+1, W+1] -> [N, O, 2H, 2W]: pixel (2i+a, 2j+b) is the O channels of phase (a, b) at
    (i+a, j+b). One copy, channels innermost before and after."""
    x_NHWC = wide.permute(0, 2, 3, 1).contiguous()
    num, height, width, channels = x_NHWC.shape
    of_image, of_row, of_pixel, _ = x_NHWC.stride()
    channels //= 4
    pixels = x_NHWC.as_strided(
        (num, height - 1, 2, width - 1, 2, channels),
        (of_image, of_row, of_row + 2 * channels, of_pixel, of_pixel + channels, 1),
    )
    return pixels.reshape(num, 2 * (height - 1), 2 * (width - 1), channels).permute(0, 3, 1, 2)


def split_frames(x: Tensor, num_frames: int, num_rows: int) -> Tensor:
    """[T*B, n*C, H, W] -> [T*n*B, C, H, W]: n frames out of the channels of each.

    Channels stay innermost in memory. Any other order costs a strided copy in each later layer.
    """
    x_TBHWnC = x.permute(0, 2, 3, 1).unflatten(-1, (num_frames, -1)).unflatten(0, (-1, num_rows))
    return x_TBHWnC.permute(0, 4, 1, 2, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)
