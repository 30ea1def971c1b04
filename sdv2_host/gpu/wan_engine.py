"""A Wan engine from files: found, checked against the device's memory, loaded part by part."""

from __future__ import annotations

import logging
from functools import partial

import torch

from sdv2_host.config import Config
from sdv2_host.errors import DeviceError, DeviceMemoryError
from sdv2_host.gpu.attending_calls import AttendingCalls
from sdv2_host.gpu.attention_choice import attention_for
from sdv2_host.gpu.banked_text import banked_text
from sdv2_host.gpu.cpu_threads import set_threads
from sdv2_host.gpu.device import GIB, device_memory, device_name
from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.fused_calls import FusedCalls
from sdv2_host.gpu.graphs import GraphedCalls, cuda_recorders
from sdv2_host.gpu.memory_plan import ESTIMATED, MemoryPlan, advice, plan_memory
from sdv2_host.gpu.out_of_memory import is_out_of_memory, naming_memory
from sdv2_host.gpu.wan_models import NOT_LOCATED, Placement, WanFamily, installed_files, load_models
from sdv2_host.gpu.wan_spec import WAN_DIMS, first_chunk_frames, wan_spec
from sdv2_host.models import store
from sdv2_host.models.loras import find_lora
from sdv2_host.models.store import ModelFiles
from sdv2_host.stream.lora import LoraMerge
from sdv2_host.stream.model_calls import EagerCalls, ModelCalls
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import ProgressFn
from sdv2_host.wan.text import TextEncoder
from sdv2_host.wan.weights import open_dit

log = logging.getLogger(__name__)

NO_GPU = (
    "torch {torch} finds no graphics card: {engine} runs on the CPU, where pictures take seconds; "
    "if there is one, install a torch made for it (docs/models.md), or say --device cpu"
)

NO_ROOM_TO_RECORD = (
    "no room for recorded calls (%.1f GiB beside the engine's; %.1f GiB are free, the engine needs "
    "%.1f): kernels are launched one by one, which is slower; a smaller --size or fewer "
    "--max-steps makes room"
)


def build_wan_engine(config: Config, progress: ProgressFn) -> StreamEngine:
    """The engine that `config` names, its weights loaded, its prompts from the bank; not yet warm.

    Raises:
        ModelError: a file is missing, damaged, or another model.
        DeviceError: the device is missing, or its memory too small.
    """
    set_threads(config.threads)
    place = Placement.of(config)
    if config.device == "auto" and place.device.type == "cpu":
        log.warning("%s", NO_GPU.format(torch=torch.__version__, engine=config.engine))
    files = installed_files(config)
    progress(f"checking the memory of {device_name(place.device)}", 0.0)
    plan = check_memory(config, place)
    config = _with_graphs_that_fit(config, plan, place.device)
    family = WanFamily(WAN_DIMS[config.engine])
    text = banked_text(config, place.dtype)
    return load_wan_engine(config, files, family, text, progress)


def check_memory(config: Config, place: Placement) -> MemoryPlan:
    """Refuses what is sure not to fit; what is estimated is given the benefit of the doubt.

    Raises:
        DeviceMemoryError: with what is needed, what is free, and what would fit.
    """
    free = device_memory(place.device).free
    plan = plan_memory(config, place.device, place.dtype)
    if plan.total - plan.parts[ESTIMATED] <= free:
        return plan
    raise DeviceMemoryError(
        f"{config.engine} at {config.size} with up to {plan.steps} steps needs "
        f"{plan.total_gib:.1f} GiB, {free / GIB:.1f} GiB are free on {device_name(place.device)}: "
        f"{advice(config, place.device, place.dtype, free)}"
    )


def _with_graphs_that_fit(config: Config, plan: MemoryPlan, device: torch.device) -> Config:
    """Recordings are for speed: where there is no room the same pictures come without them."""
    if device.type != "cuda" or config.graphs == "off":
        return config
    free = device_memory(device).free
    if plan.total + plan.recordings <= free:
        return config
    log.warning(NO_ROOM_TO_RECORD, plan.recordings / GIB, free / GIB, plan.total_gib)
    return config.model_copy(update={"graphs": "off"})


def load_wan_engine(
    config: Config, files: ModelFiles, family: WanFamily, text: TextEncoder, progress: ProgressFn
) -> StreamEngine:
    """An engine of these files, not yet warm.

    Raises:
        ModelError: a file is damaged, or another model.
        DeviceMemoryError: memory ran out.
        DeviceError: what computes attention, or the number format, is not for this device.
    """
    place = Placement.of(config)
    advise = partial(_advice_for_now, config, place)
    with naming_memory(config.engine, place.device, advise, "while loading"):
        models = load_models(config.vae, files, family, place, progress)
    assert files.dit is not None, NOT_LOCATED
    base = open_dit(files.dit, family.dit)
    lora = LoraMerge(models.dit, base.read, partial(find_lora, store.models_dir(config.models_dir)))
    spec = wan_spec(config, place.device, place.dtype)
    return StreamEngine(
        config.engine,
        models._replace(text=text, lora=lora, calls=calls_for(config, models, spec)),
        spec,
        first_chunk_frames(config),
        advise,
        config.overlap,
    )


def calls_for(config: Config, models: StreamModels, spec: StreamSpec) -> ModelCalls:
    """How an engine of `config` calls these models: by which attention, compiled, recorded.

    Raises:
        DeviceError: the attention asked for does not run on the device, or it cannot compile.
    """
    kernel = attention_for(config, models.dit.dims, spec)
    is_on_cuda = spec.device.type == "cuda"
    if config.compile == "on" and not is_on_cuda:
        raise DeviceError(
            f"--compile on: a Wan engine is compiled on NVIDIA cards, this is {spec.device.type}; "
            "leave it out"
        )
    dit, vae = models.dit, models.vae
    is_fused = is_on_cuda and config.compile != "off"
    inner: ModelCalls = FusedCalls(dit, vae, kernel.name) if is_fused else EagerCalls(dit, vae)
    calls = AttendingCalls(inner, kernel)
    if not is_on_cuda or config.graphs == "off":
        return calls
    return GraphedCalls(calls, cuda_recorders(spec.device))


def _advice_for_now(config: Config, place: Placement) -> str:
    """What fits into what is free when memory has run out: less than the plan promised."""
    try:
        plan = plan_memory(config, place.device, place.dtype)
        return advice(config, place.device, place.dtype, int(plan.total * 0.9))
    except (RuntimeError, MemoryError) as error:
        # Planning takes host memory, of which there may be none left.
        if not is_out_of_memory(error):
            raise
        return "use a smaller --size, --max-steps 1 or --vae taehv"
