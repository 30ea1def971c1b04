"""Whether an engine's models run compiled: what was asked for, what is there, and what is said."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.errors import DeviceError, ModelError
from sdv2_host.gpu.compile_models import can_compile, compile_models, find_compiled
from sdv2_host.gpu.compiled import CompiledCalls
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.models.compiled_store import CompiledStore
from sdv2_host.stream.model_calls import EagerCalls, ModelCalls
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import ProgressFn

log = logging.getLogger(__name__)

USUAL_S = {"encode": 21.0, "predict": 26.0, "decode": 8.0}
"""What the compilation of each call takes on two idle cores."""
TICK_S = 1.0
GAIN = 1.2
"""Least that compiling gained in a chunk of the embedded model: with 1 thread, on AVX-512."""
FASTER = (
    "the model runs as written; sdv2-host compile --size {size} makes it about {gain:g} times as "
    "fast on this machine, takes a minute or two and a C++ compiler, once, and holds from the next "
    "start on"
)


class CompileProgress:
    """Says how far compilation is, about every second, also while the compiler is silent.

    A thread of its own says it: the compiler keeps the one that calls it.
    """

    def __init__(self, progress: ProgressFn) -> None:
        self._progress = progress
        self._done_s = 0.0
        self._elapsed_s = 0.0
        """Of the calls that are done."""

    @contextmanager
    def span(self, stage: str) -> Iterator[None]:
        begin_ns = now_ns()
        is_done = threading.Event()

        def tell() -> None:
            while True:
                self._tell(stage, (now_ns() - begin_ns) / NS_PER_S)
                if is_done.wait(TICK_S):
                    return

        teller = threading.Thread(target=tell, name="compile-progress", daemon=True)
        teller.start()
        try:
            yield
        finally:
            is_done.set()
            teller.join()
        self._done_s += USUAL_S[stage]
        self._elapsed_s += (now_ns() - begin_ns) / NS_PER_S

    def _tell(self, stage: str, elapsed_s: float) -> None:
        slowness = self._elapsed_s / self._done_s if self._done_s else 1.0
        usual_s = USUAL_S[stage] * slowness
        # Never quite done before it is: a slow compiler slows the bar down, it does not stop it.
        part = 1 - math.exp(-elapsed_s / usual_s)
        share = (self._done_s + USUAL_S[stage] * part) / sum(USUAL_S.values())
        left_s = (sum(USUAL_S.values()) - self._done_s) * slowness - elapsed_s
        left = f"about {left_s:.0f} s left" if left_s > 1 else "any moment now"
        self._progress(f"compiling {stage}, {left}", share)


def chosen_calls(
    wanted: str, progress: ProgressFn, store: CompiledStore, models: StreamModels, spec: StreamSpec
) -> ModelCalls:
    """The models' calls as `Config.compile` wants them. Where they are not compiled though they
    could be, a line in the log says so, why, and what to do.

    on: compiles where there is nothing that fits. auto: takes what is there. off: as written.
    """
    eager = EagerCalls(models.dit, models.vae)
    if wanted == "off" or not can_compile(spec):
        return eager
    size = f"{spec.width_px}x{spec.height_px}"
    try:
        found = find_compiled(store, models, spec)
        if found is None and wanted == "on":
            found = compile_models(store, models, spec, CompileProgress(progress).span)
            log.info("compiled for %s", size)
    except (DeviceError, ModelError) as error:
        log.warning("the model runs as written, not compiled: %s", error)
        return eager
    if found is None:
        log.warning("%s", FASTER.format(size=size, gain=GAIN))
        return eager
    return CompiledCalls(found, eager)
