"""`sdv2-host compile`: the embedded model is compiled for one size; what that gained is said."""

from __future__ import annotations

import torch

from sdv2_host.bench.ways import gain
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.commands.narrator import Narrator
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.gpu.compile_choice import CompileProgress
from sdv2_host.gpu.compile_models import compile_models, find_compiled
from sdv2_host.gpu.compiled import CompiledCalls
from sdv2_host.gpu.cpu_threads import set_threads
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.host_memory import keep_freed_memory
from sdv2_host.gpu.tiny_engine import models_on_cpu, tiny_spec
from sdv2_host.models.compiled_store import CompiledStore, compiled_dir
from sdv2_host.params import Params
from sdv2_host.stream.model_calls import EagerCalls


def compile_for(config: Config, seconds: float) -> None:
    """Hosts of this size find it from now on. `seconds` is how long the gain is measured.

    Raises:
        ConfigError: another engine than tiny.
        ModelError: the model is damaged, or the folder of compiled models not this user's alone.
        DeviceError: there is no C++ compiler, or it failed.
    """
    if config.engine != "tiny":
        raise ConfigError(
            f"engine {config.engine} is not compiled ahead, only tiny is: a Wan engine compiles as "
            "it warms up on an NVIDIA card; leave out --engine"
        )
    set_threads(config.threads)
    keep_freed_memory()
    tiny = models_on_cpu()
    spec = tiny_spec(tiny.card, config.size)
    models = StreamModels(tiny.dit, tiny.vae, tiny.text)
    store, narrator = CompiledStore(compiled_dir()), Narrator()
    begin_ns = now_ns()
    compiled = find_compiled(store, models, spec)
    if compiled is None:
        compiled = compile_models(store, models, spec, CompileProgress(narrator.progress).span)
        took_s = (now_ns() - begin_ns) / NS_PER_S
        narrator.say(f"compiled for {config.size} in {took_s:.0f} s, in {store.folder}")
    else:
        narrator.say(f"compiled for {config.size} already, in {store.folder}")
    if seconds > 0:
        eager = EagerCalls(models.dit, models.vae)
        calls = CompiledCalls(compiled, eager)
        ratio = gain(models, spec, calls, Params(), seconds, narrator.progress)
        threads = torch.get_num_threads()
        narrator.say(f"compiled, a chunk is {ratio:.2f} times as fast, with {threads} threads")
