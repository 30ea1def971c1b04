"""Which kernel computes attention: of those that run here, the one measured fastest.

Which it is differs by card, by torch and by what is installed, and is not what torch takes first:
on Hopper cuDNN is about 1.6 times as fast as torch's Flash. Source: FlashAttention-3's figures.

# B rows  S query tokens  K key tokens  N heads  D head dim
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.config import Config
from sdv2_host.errors import DeviceError
from sdv2_host.gpu.device import device_name
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Layout
from sdv2_host.wan.attention import attention
from sdv2_host.wan.dims import WanDims

log = logging.getLogger(__name__)

PACKAGES = ("flash_attn_interface", "flash_attn")
"""FlashAttention-3, which is for Hopper and built from its repository, and FlashAttention-2."""
REPEATS = 20
WORTHWHILE = 0.97
"""Of the time of a kernel earlier in the order: what is less of a gain is left, so that one start
takes the same kernel as the next, and rounds the same."""
TOLERANCE_EPS = {torch.float32: 64.0, torch.float64: 64.0}
"""Of the largest value of the exact result, in steps of the number format; of small ones 4."""

FlashFn = Callable[[Tensor, Tensor, Tensor], Any]
"""(q, k, v), each [B, S, N, D]; FlashAttention-3 has returned a pair in some versions."""
Contexts = Callable[[], AbstractContextManager[object]]
TimeFn = Callable[[Callable[[], Tensor]], float]
"""Milliseconds of one call."""


@dataclass(frozen=True, slots=True)
class AttentionKernel:
    """A way to compute attention. Inside `held()` every attention of this thread is by it.

    torch keeps its own choice for the whole process, not per thread: a process runs one stream.
    """

    name: str
    """As in `Config.attention`."""
    held: Contexts
    """What it cannot run, no shape of a stream, goes to the next that torch has."""
    alone: Contexts
    """The same, but what it cannot run is an error."""


AS_TORCH_CHOOSES = AttentionKernel("auto", nullcontext, nullcontext)


class AttentionShape(NamedTuple):
    """Of one attention of a block."""

    num_rows: int
    num_queries: int
    num_keys: int


class AttentionShapes(NamedTuple):
    """What a block of a stream attends to, its cache full."""

    calls: tuple[AttentionShape, ...]
    num_heads: int
    head_dim: int

    @classmethod
    def of(cls, dims: WanDims, spec: StreamSpec) -> AttentionShapes:
        tokens = dims.tokens_per_frame(spec.height_px, spec.width_px)
        rows = spec.num_rows if spec.layout is Layout.BATCH else 1
        return cls(
            (
                AttentionShape(rows, tokens, spec.geometry.num_slots * tokens),
                AttentionShape(rows, tokens, dims.text_len),
            ),
            dims.num_heads,
            dims.head_dim,
        )


class FlashPackage(TorchFunctionMode):
    """Inside, attention without a mask is that package's function."""

    def __init__(self, flash: FlashFn) -> None:
        super().__init__()
        self._flash = flash

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if (
            func is not F.scaled_dot_product_attention
            or (kwargs or {}).get("attn_mask") is not None
        ):
            return func(*args, **(kwargs or {}))
        out = self._flash(*(part.transpose(1, 2) for part in args))
        return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)


_ORDER = {
    "cuda": {
        "flash": SDPBackend.FLASH_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "math": SDPBackend.MATH,
    },
    "cpu": {"flash": SDPBackend.FLASH_ATTENTION, "math": SDPBackend.MATH},
}
"""By kind of device; Apple GPUs have one way only."""


def kernels_of(kind: str, packages: Mapping[str, FlashFn]) -> list[AttentionKernel]:
    """All that there are for this kind of device, torch's first choice first, what needs memory
    for all the scores last."""
    order = _ORDER.get(kind, {})
    own = [_own(name, kind) for name in order]
    installed = [_installed(flash) for flash in packages.values()] if kind == "cuda" else []
    return [*own[:-1], *installed, *own[-1:]]


def installed_packages() -> dict[str, FlashFn]:
    """By module, the functions of those that can be imported."""
    found: dict[str, FlashFn] = {}
    for module in PACKAGES:
        try:
            found[module] = importlib.import_module(module).flash_attn_func
        except ImportError as error:
            # Not installed, or built for another torch.
            log.debug("%s is not used: %s", module, error)
    return found


def _own(name: str, kind: str) -> AttentionKernel:
    backends = _ORDER[kind]
    chosen = backends[name]
    others = [backend for backend in backends.values() if backend is not chosen]
    # A CPU knows no order: where the naive way is wanted, no other may be there.
    after = [] if kind == "cpu" and chosen is SDPBackend.MATH else others
    return AttentionKernel(
        name,
        held=lambda: sdpa_kernel([chosen, *after], set_priority=True),
        alone=lambda: sdpa_kernel([chosen]),
    )


def _installed(flash: FlashFn) -> AttentionKernel:
    return AttentionKernel("flash-attn", lambda: FlashPackage(flash), lambda: FlashPackage(flash))


def attention_for(config: Config, dims: WanDims, spec: StreamSpec) -> AttentionKernel:
    """The kernel that `config` asks for on the spec's device; "auto" is measured on CUDA. The
    embedded model takes torch's own choice.

    On a CPU "auto" is torch's own choice: what is measured on a busy machine could be one thing at
    this start and another at the next, and the pictures would differ by rounding.

    Raises:
        DeviceError: the one asked for does not run here; saying which do.
    """
    if config.engine == "tiny" or (config.attention == "auto" and spec.device.type != "cuda"):
        return AS_TORCH_CHOOSES
    kernels = kernels_of(spec.device.type, installed_packages())
    choice = AttentionChoice(AttentionShapes.of(dims, spec), spec.device, spec.dtype)
    return choice.choose(config.attention, kernels)


class AttentionChoice:
    """Measures kernels at a stream's shapes."""

    def __init__(
        self,
        shapes: AttentionShapes,
        device: torch.device,
        dtype: torch.dtype,
        time_ms: TimeFn | None = None,
    ) -> None:
        generator = torch.Generator(device).manual_seed(0)
        head = (shapes.num_heads, shapes.head_dim)

        def noise(num_rows: int, num_tokens: int) -> Tensor:
            size = (num_rows, num_tokens, *head)
            return torch.randn(size, generator=generator, device=device, dtype=dtype)

        self._inputs = [
            (noise(rows, queries), noise(rows, keys), noise(rows, keys))
            for rows, queries, keys in shapes.calls
        ]
        self._device = device
        self._time_ms = time_ms or time_fn(device)

    @torch.inference_mode()
    def choose(self, wanted: str, kernels: list[AttentionKernel]) -> AttentionKernel:
        """The one called `wanted`, or with "auto" the fastest; said in the log, with its time.

        Raises:
            DeviceError: the one asked for does not run here, or gives other numbers.
        """
        times_ms: list[tuple[AttentionKernel, float]] = []
        refusals: dict[str, str] = {}
        for kernel in kernels:
            is_last_resort = kernel.name == "math" and self._device.type == "cuda"
            if wanted == "auto" and is_last_resort and times_ms:
                continue
            why = self._refusal(kernel)
            if why:
                refusals[kernel.name] = why
                continue
            with kernel.alone():
                times_ms.append((kernel, sum(self._time_ms(call) for call in self._calls())))
        asked = [pair for pair in times_ms if wanted in ("auto", pair[0].name)]
        if not asked:
            raise self._unable(wanted, times_ms, refusals)
        best = asked[0]
        for pair in asked[1:]:
            if pair[1] < WORTHWHILE * best[1]:
                best = pair
        _tell(best[0], times_ms, refusals)
        return best[0]

    def _calls(self) -> list[Callable[[], Tensor]]:
        return [lambda q=q, k=k, v=v: attention(q, k, v) for q, k, v in self._inputs]  # type: ignore[misc]

    def _refusal(self, kernel: AttentionKernel) -> str:
        """Why it cannot be taken; "" = it can."""
        for q_BSND, k_BKND, v_BKND in self._inputs:
            try:
                with kernel.alone():
                    got = attention(q_BSND, k_BKND, v_BKND)
            except (RuntimeError, NotImplementedError) as error:
                return (str(error).splitlines() or ["it does not run"])[0]
            # One head of one row: all of them at once would take gigabytes.
            one = (slice(0, 1), slice(None), slice(0, 1))
            with sdpa_kernel([SDPBackend.MATH]):
                exact = attention(*(part[one].float() for part in (q_BSND, k_BKND, v_BKND)))
            eps = TOLERANCE_EPS.get(got.dtype, 4.0) * torch.finfo(got.dtype).eps
            error_max, allowed = (got[one] - exact).abs().max(), eps * exact.abs().max()
            if not bool(error_max <= allowed):
                return f"its numbers differ by {float(error_max):.3g}, {float(allowed):.3g} allowed"
        return ""

    def _unable(
        self,
        wanted: str,
        times_ms: list[tuple[AttentionKernel, float]],
        refusals: dict[str, str],
    ) -> DeviceError:
        here = ", ".join(dict.fromkeys(kernel.name for kernel, _ in times_ms)) or "none"
        missing = "not installed" if wanted == "flash-attn" else "not for this device"
        return DeviceError(
            f"--attention {wanted} does not run on {device_name(self._device)}: "
            f"{refusals.get(wanted, missing)}; what does: {here}; or use --attention auto"
        )


def _tell(
    chosen: AttentionKernel, times_ms: list[tuple[AttentionKernel, float]], refusals: dict[str, str]
) -> None:
    measured = ", ".join(f"{kernel.name} {ms:.3f} ms" for kernel, ms in times_ms)
    log.info("attention by %s; a block's takes %s", chosen.name, measured)
    for name, why in refusals.items():
        log.info("attention by %s is not taken: %s", name, why)


def time_fn(device: torch.device) -> TimeFn:
    """Of the clock of whoever does the work; waits for it."""
    return _cuda_ms if device.type == "cuda" else _host_ms


def _cuda_ms(run: Callable[[], Tensor]) -> float:
    run()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    for _ in range(REPEATS):
        run()
    end.record()
    end.synchronize()
    total_ms: float = begin.elapsed_time(end)
    return total_ms / REPEATS


def _host_ms(run: Callable[[], Tensor]) -> float:
    run()
    times_ns = []
    for _ in range(REPEATS):
        begin_ns = now_ns()
        run()
        times_ns.append(now_ns() - begin_ns)
    return min(times_ns) / NS_PER_MS
