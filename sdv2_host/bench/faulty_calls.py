"""Calls of the models that fail when they are told to; what stands around them is the product's."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from sdv2_host.bench.fault_orders import Failure, Orders, end_or_hang
from sdv2_host.config import Config
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.tiny_engine import build_tiny_engine
from sdv2_host.stream.cached_call import PastCall
from sdv2_host.stream.model_calls import EagerCalls, ModelCalls
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Engine
from sdv2_host.wan.model import TextByBlock
from sdv2_host.wan.streaming_vae import VAECache


class ToldToFailError(Exception):
    """As an error of the model's code would be: none of ours."""


class FaultyCalls:
    """`ModelCalls` that do what an order says, else what the others do."""

    def __init__(self, calls: ModelCalls, orders: Orders) -> None:
        self._calls = calls
        self._orders = orders

    @property
    def num_rehearsals(self) -> int:
        return self._calls.num_rehearsals

    def preparing(self) -> AbstractContextManager[None]:
        return self._calls.preparing()

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        return self._spoilt("encode", self._calls.encode(frames_BTCHW, cache, is_first))

    def predict(self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: PastCall) -> Tensor:
        return self._spoilt("predict", self._calls.predict(x_BFCHW, t_BF, text, past))

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        return self._spoilt("decode", self._calls.decode(z_BFCHW, cache, is_first))

    def _spoilt(self, where: str, result: Tensor) -> Tensor:
        failure = self._orders.take(where)
        if failure is Failure.RAISE:
            raise ToldToFailError(f"told to fail in {where}")
        if failure is Failure.OUT_OF_MEMORY:
            raise torch.OutOfMemoryError(f"CUDA out of memory (simulated, in {where})")
        end_or_hang(failure)
        return result * float("nan") if failure is Failure.NAN else result


def build_faulty_tiny(config: Config, orders: Orders) -> Engine:
    """The embedded model as the host runs it, not compiled."""

    def calls_of(models: StreamModels, spec: StreamSpec) -> ModelCalls:
        del spec
        return FaultyCalls(EagerCalls(models.dit, models.vae), orders)

    return build_tiny_engine(
        config.size,
        config.threads,
        models_dir=config.models_dir,
        calls_of=calls_of,
        overlap=config.overlap,
    )
