"""Compiled calls without a compiler: the traces themselves, run as they are written."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sdv2_host.gpu.compile_models import traces_of
from sdv2_host.gpu.compiled import CompiledCall, CompiledModels
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.traced_calls import Trace, layout_of, steady_call
from sdv2_host.stream.spec import StreamSpec


def traced_models(models: StreamModels, spec: StreamSpec) -> CompiledModels:
    """What a compiler would have been given, in place of what it makes."""
    with torch.no_grad():
        traces = traces_of(models, spec)
    calls = {
        stage: CompiledCall(_Runs(trace), layout_of(trace.flat)) for stage, trace in traces.items()
    }
    return CompiledModels(
        **calls, shape=steady_call(spec.geometry), num_blocks=models.dit.dims.num_layers
    )


class _Runs:
    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        rest = iter(inputs)
        nested = [
            next(rest) if isinstance(one, Tensor) else [next(rest) for _ in one]
            for one in self._trace.inputs
        ]
        made: Tensor = self._trace.module(*nested)
        return made
