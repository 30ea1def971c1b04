"""One stream of `bench hour`: the real engine through the show, watched chunk by chunk.

# T frames   H W size in px
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.classifier import Classifier
from sdv2_host.bench.held_out import rgb_of
from sdv2_host.bench.hour_show import Moment, Show, Shown
from sdv2_host.bench.hour_trace import AFTER_CHANGE, SAMPLE_EVERY, SETTLED, Trace, sample_memory
from sdv2_host.bench.scores import neighbour_difference
from sdv2_host.bench.styles import STYLES
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.gpu.tiny_engine import models_on_cpu, tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.stream.positions import PositionMode
from sdv2_host.types import Engine, Frame, FrameMeta, ProgressFn

STYLE_EVERY = 5
"""Chunks between two of which the look is named, of an anchor always the same."""
TELL_EVERY = 50
"""Chunks between two words on progress."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What one stream is; can be sent to a process of its own."""

    name: str
    show: Show
    positions: PositionMode = PositionMode.RELATIVE
    params: Params = field(default_factory=Params)


def build_engines(plan: StreamPlan) -> tuple[Engine, Engine]:
    """The stream's engine, and one for streams that begin where its look changes; one thread.

    Raises:
        ModelError: the embedded model is missing or damaged.
    """
    torch.set_num_threads(1)
    models = models_on_cpu()
    spec = replace(tiny_spec(models.card, plan.show.size), positions=plan.positions)
    return tiny_engine(models, spec), tiny_engine(models, spec)


def run_stream(plan: StreamPlan, progress: ProgressFn) -> Trace:
    """The whole show through the embedded model.

    Raises:
        ModelError: the model's or the classifier's weights are missing or damaged.
    """
    return watch(plan, build_engines(plan), progress)


def watch(plan: StreamPlan, engines: tuple[Engine, Engine], progress: ProgressFn) -> Trace:
    """The whole show through the first of the engines; the second begins anew at every change."""
    trace = Trace.fresh(plan.show)
    watcher = _Watcher(trace, Classifier(), engines[1])
    process = psutil.Process()
    began_ns = now_ns()
    for chunk, shown in enumerate(plan.show.chunks()):
        params = plan.params.model_copy(update={"prompt": STYLES[shown.moment.style].prompt})
        watcher.see_source(chunk, shown, params)
        begin_ns = now_ns()
        styled = engines[0].step(as_frames(shown.pixels_THW4), params)
        trace.step_ms_N[chunk] = (now_ns() - begin_ns) / NS_PER_MS
        trace.drift_N[chunk] = styled.notes.get("drift", 0.0)
        watcher.see_picture(chunk, shown.moment, styled.frames)
        if chunk % SAMPLE_EVERY == SAMPLE_EVERY - 1:
            sample_memory(trace, chunk // SAMPLE_EVERY, process)
        if chunk % TELL_EVERY == 0:
            progress(plan.name, chunk / plan.show.num_chunks)
    trace.seconds_1[0] = (now_ns() - began_ns) / NS_PER_S
    progress(plan.name, 1.0)
    return trace


def as_frames(pixels_THW4: NDArray[np.uint8]) -> list[Frame]:
    """What an engine is given."""
    height, width = pixels_THW4.shape[1:3]
    return [Frame(FrameMeta(width, height), pixels) for pixels in pixels_THW4]


class _Watcher:
    """Measures source and picture into the trace. Lifetime of every field: the stream."""

    def __init__(self, trace: Trace, classifier: Classifier, second: Engine) -> None:
        self._trace, self._classifier, self._second = trace, classifier, second
        self._last_source_3HW: Tensor | None = None
        self._last_picture_3HW: Tensor | None = None
        self._num_anchors = 0
        self._first_anchor: list[Tensor] = []
        """Settled chunks of the first anchor's picture."""
        self._num_changes = 0
        self._after_change = AFTER_CHANGE
        """Chunks since the newest change; before the first, enough to follow none."""

    def see_source(self, chunk: int, shown: Shown, params: Params) -> None:
        rgb_T3HW = rgb_of(shown.pixels_THW4)
        self._trace.source_step_N[chunk] = _step(rgb_T3HW, self._last_source_3HW)
        self._trace.source_colours_NS[chunk] = colours(rgb_T3HW)
        self._last_source_3HW = rgb_T3HW[-1]
        self._after_change += 1
        if shown.moment.has_new_look:
            self._num_changes, self._after_change = self._num_changes + 1, 0
            # A stream's first chunk is one frame: with this one its later chunks are the show's.
            self._second.reset()
            self._second.step(as_frames(shown.pixels_THW4[:1]), params)
        if self._after_change < AFTER_CHANGE:
            fresh = self._second.step(as_frames(shown.pixels_THW4), params).frames
            place = self._num_changes - 1, self._after_change
            score = self._classifier.likeness(rgb_of(fresh), shown.moment.style)
            self._trace.fresh_CK[place], self._trace.named_fresh_CK[place] = score

    def see_picture(self, chunk: int, moment: Moment, pixels_THW4: NDArray[np.uint8]) -> None:
        rgb_T3HW = rgb_of(pixels_THW4)
        self._trace.picture_step_N[chunk] = _step(rgb_T3HW, self._last_picture_3HW)
        self._trace.colours_NS[chunk] = colours(rgb_T3HW)
        self._trace.detail_N[chunk] = float(neighbour_difference(rgb_T3HW).mean())
        self._last_picture_3HW = rgb_T3HW[-1]
        if self._after_change < AFTER_CHANGE:
            place = self._num_changes - 1, self._after_change
            score = self._classifier.likeness(rgb_T3HW, moment.style)
            self._trace.changed_CK[place], self._trace.named_changed_CK[place] = score
        counted = chunk if moment.anchor_chunk is None else moment.anchor_chunk
        if counted % STYLE_EVERY == 0:
            last = self._classifier.likeness(rgb_T3HW[-1:], moment.style)
            self._trace.style_N[chunk] = last.probability
        if moment.anchor_chunk is not None:
            self._see_anchor(moment.anchor_chunk, rgb_T3HW)

    def _see_anchor(self, anchor_chunk: int, rgb_T3HW: Tensor) -> None:
        self._num_anchors += anchor_chunk == 0
        place = anchor_chunk - SETTLED
        # The last anchor may not be shown whole.
        if place < 0 or self._num_anchors > len(self._trace.away_AP):
            return
        if self._num_anchors == 1:
            self._first_anchor.append(rgb_T3HW)
        difference = rgb_T3HW - self._first_anchor[place]
        self._trace.away_AP[self._num_anchors - 1, place] = float(difference.square().mean().sqrt())


def colours(rgb_T3HW: Tensor) -> NDArray[np.float32]:
    """Mean, then spread, of red, green and blue."""
    spread_3, mean_3 = torch.std_mean(rgb_T3HW, dim=(0, 2, 3), correction=0)
    return torch.cat([mean_3, spread_3]).numpy()


def _step(rgb_T3HW: Tensor, before_3HW: Tensor | None) -> float:
    if before_3HW is None:
        return float("nan")
    return float((rgb_T3HW[0] - before_3HW).square().mean().sqrt())
