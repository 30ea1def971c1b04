"""`python -m sdv2_host.bench.engine_facts`: what torch says of the device a config names, as JSON.

A process of its own, for the doctor: torch takes seconds to import, and a driver that hangs or
crashes takes only this one with it.

    stdin   a Config as JSON
    stdout  {"torch": ..., "build": ..., "device": {...} or null, "problem": ..., "plan": {...} or
             null, "compiled": true, false or null}
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from pydantic_core import to_json

from sdv2_host.config import Config
from sdv2_host.errors import DeviceError, ModelError
from sdv2_host.gpu.compile_models import can_compile, find_compiled
from sdv2_host.gpu.device import device_memory, device_name, resolve_device, resolve_dtype
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.memory_plan import advice, plan_memory
from sdv2_host.gpu.tiny_engine import models_on_cpu, tiny_spec
from sdv2_host.gpu.wan_spec import WAN_DIMS
from sdv2_host.models.compiled_store import CompiledStore, compiled_dir


def engine_facts(config: Config) -> dict[str, Any]:
    """What is known without loading a large model."""
    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "build": _build(),
        "num_cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "device": None,
        "problem": "",
        "plan": None,
        "compiled": None,
    }
    try:
        if config.engine == "tiny":
            facts["compiled"] = _is_compiled(config)
        elif config.engine in WAN_DIMS:
            facts |= _device_and_plan(config)
    except (DeviceError, ModelError) as error:
        facts["problem"] = str(error)
    return facts


def _build() -> str:
    """What this torch was built for."""
    if torch.version.cuda is not None:
        return f"CUDA {torch.version.cuda}"
    if torch.version.hip is not None:
        return f"ROCm {torch.version.hip}"
    return "Apple GPU" if torch.backends.mps.is_built() else "CPU"


def _device_and_plan(config: Config) -> dict[str, Any]:
    """Raises: DeviceError."""
    device = resolve_device(config.device)
    memory = device_memory(device)
    dtype = resolve_dtype(config.dtype, device)
    plan = plan_memory(config, device, dtype)
    fits = plan.total <= memory.free
    described = {"kind": device.type, "name": device_name(device), **memory._asdict()}
    return {
        "device": described,
        "plan": {
            "total": plan.total,
            "steps": plan.steps,
            "advice": "" if fits else advice(config, device, dtype, memory.free),
        },
    }


def _is_compiled(config: Config) -> bool | None:
    """Whether a start finds a compiled model that fits; None = such a stream is never compiled.

    Raises:
        ModelError: the embedded model is damaged, or others can write where compiled ones lie.
    """
    models = models_on_cpu()
    spec = tiny_spec(models.card, config.size)
    if not can_compile(spec):
        return None
    parts = StreamModels(models.dit, models.vae, models.text)
    return find_compiled(CompiledStore(compiled_dir()), parts, spec) is not None


def main() -> None:
    """Answers the config on standard input."""
    config = Config.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(to_json(engine_facts(config)))


if __name__ == "__main__":
    main()
