"""An engine's models are compiled to shared libraries, and found again in later starts.

By AOTInductor: a library is loaded in milliseconds and without the compiler, which `torch.compile`
would need seconds for in every start. Weights stay where they are, so LoRAs can be merged into
them. The number of threads is not built in.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn

from sdv2_host.gpu.compiled import CompiledCall, CompiledModels
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.native_call import NativeCall
from sdv2_host.gpu.traced_calls import (
    DecodeTrace,
    EncodeTrace,
    Layouts,
    PredictTrace,
    Trace,
    layout_of,
    predict_inputs,
    steady_call,
    weights_of,
)
from sdv2_host.models.compiled_store import Artifact, CompiledStore, artifact_name
from sdv2_host.stream.cache_plan import RowCall
from sdv2_host.stream.cached_call import CachedCall
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.stream.state import fresh_kv
from sdv2_host.wan.dims import FRAMES_PER_LATENT

log = logging.getLogger(__name__)

FORMAT = 2
"""To be raised when what is in an artifact changes."""
Option = bool | int | str
OPTIONS: Mapping[str, Option] = {
    "aot_inductor.package_constants_in_so": False,  # weights are the models' own
    "cpp.dynamic_threads": True,
    "compile_threads": 1,  # no pool of processes that stays
}
"""Of inductor. Not `freezing`: it copies the weights into an order of its own."""
SpanFn = Callable[[str], AbstractContextManager[None]]
"""Encloses the compilation of the call of that name."""


def can_compile(spec: StreamSpec) -> bool:
    """Whether such a stream makes calls that can be compiled here."""
    return spec.device.type == "cpu" and spec.cache is CacheMode.ROLLING


def name_of(models: StreamModels, spec: StreamSpec) -> str:
    """Of the artifact for these models and this stream, on this machine."""
    weights = {
        part: {name: layout_of([one])[0] for name, one in weights_of(module).items()}
        for part, module in (("dit", models.dit), ("vae", models.vae))
        if isinstance(module, nn.Module)
    }
    return artifact_name(
        {
            "format": FORMAT,
            "torch": torch.__version__,
            "system": sys.platform,
            "cpu": (torch.backends.cpu.get_cpu_capability(), platform.machine(), _cpu_kind()),
            "options": OPTIONS,
            "sources": _sources_digest(),
            "size": (spec.width_px, spec.height_px),
            "geometry": spec.geometry,
            "dtype": spec.dtype,
            "weights": weights,
        }
    )


def find_compiled(
    store: CompiledStore, models: StreamModels, spec: StreamSpec
) -> CompiledModels | None:
    """What was compiled before, loaded; None = nothing that fits. What fits but cannot be loaded
    is told and deleted.

    Raises:
        ModelError: the store's folder is not this user's alone.
    """
    artifact = store.find(name_of(models, spec))
    if artifact is None:
        return None
    try:
        return _load(artifact, models, spec)
    except OSError as error:
        log.warning("compiled model %s cannot be loaded and is deleted: %s", artifact.folder, error)
        store.delete(artifact)
        return None


def compile_models(
    store: CompiledStore, models: StreamModels, spec: StreamSpec, span: SpanFn
) -> CompiledModels:
    """Compiled, kept for later starts, and loaded. Takes a minute.

    Raises:
        DeviceError: there is no compiler, or it failed.
        ModelError: the store's folder cannot be written, or others can write there.
    """
    # There only: it takes seconds to import, which no start that finds its artifact should pay.
    from sdv2_host.gpu.compiler import building, check_compiler, compile_trace  # noqa: PLC0415

    check_compiler()
    name = name_of(models, spec)
    with torch.inference_mode(False), torch.no_grad():
        traces = traces_of(models, spec)
        layouts = {stage: layout_of(trace.flat) for stage, trace in traces.items()}
        facts = {
            "torch": torch.__version__,
            "size": f"{spec.width_px}x{spec.height_px}",
            "layouts": layouts,
        }
        with store.making(name, facts) as folder, building():
            for stage, trace in traces.items():
                with span(stage):
                    compile_trace(trace, folder / stage)
    artifact = store.find(name)
    assert artifact is not None, "just made"
    return _load(artifact, models, spec)


def traces_of(models: StreamModels, spec: StreamSpec) -> dict[str, Trace]:
    """The calls of a steady stream: encode, predict and decode."""
    encode, decode = EncodeTrace(models.vae), DecodeTrace(models.vae)
    cache = models.vae.init_cache(
        1, spec.height_px, spec.width_px, device=spec.device, dtype=spec.dtype
    )
    shape = (1, FRAMES_PER_LATENT, 3, spec.height_px, spec.width_px)
    frames_BTCHW = torch.zeros(shape, dtype=spec.dtype, device=spec.device)
    z_BFCHW = encode(frames_BTCHW, cache.encoder).contiguous()
    past = _steady_past(models, spec)
    text = models.dit.text_kv(models.text.encode(""))
    t_BF = torch.zeros(1, 1, device=spec.device)
    inputs = predict_inputs(z_BFCHW, t_BF, text, models.dit.dims.num_layers, past)
    predict = PredictTrace(
        models.dit, spec.geometry, past.memory.tokens_per_frame, steady_call(spec.geometry)
    )
    return {
        "encode": Trace(encode, (frames_BTCHW, cache.encoder)),
        "predict": Trace(predict, tuple(inputs)),
        "decode": Trace(decode, (z_BFCHW, cache.decoder)),
    }


def _steady_past(models: StreamModels, spec: StreamSpec) -> CachedCall:
    kv = fresh_kv(spec, models.dit.dims)
    num_slots = spec.geometry.num_slots
    kv.advance_([RowCall(0, num_slots, 0)])
    rotary = StreamPipeline(models.dit, models.vae, models.text, spec).denoiser.rotary
    past = kv.open_([RowCall(0, 1, num_slots)], rotary)
    assert isinstance(past, CachedCall), "only the rolling cache is compiled for"
    return past


def _load(artifact: Artifact, models: StreamModels, spec: StreamSpec) -> CompiledModels:
    modules = {
        "encode": EncodeTrace(models.vae),
        "predict": nn.ModuleDict({"dit": models.dit}),
        "decode": DecodeTrace(models.vae),
    }
    calls = {
        stage: CompiledCall(
            NativeCall(artifact.library(stage), weights_of(module)),
            _layouts(artifact.facts["layouts"][stage]),
        )
        for stage, module in modules.items()
    }
    return CompiledModels(
        **calls, shape=steady_call(spec.geometry), num_blocks=models.dit.dims.num_layers
    )


def _layouts(read: list[list[object]]) -> Layouts:
    return tuple(tuple(one) for one in read)


def _sources_digest() -> str:
    """Of all that is traced, and of what traces it."""
    package = Path(__file__).parent.parent
    paths = [*(package / "wan").glob("*.py"), *(package / "stream").glob("*.py")]
    paths += [Path(__file__).with_name(f"{one}.py") for one in ("traced_calls", "compiler")]
    paths += [Path(__file__)]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _cpu_kind() -> str:
    """What tells CPUs apart for which the compiler makes other code: it builds for the one here."""
    about = Path("/proc/cpuinfo")
    if not about.exists():
        return platform.processor()
    lines = about.read_text(errors="replace").split("\n\n")[0].splitlines()
    kept = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted(line for line in lines if line.startswith(kept)))
