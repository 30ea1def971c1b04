"""LoraMerge: LoRAs in the weights of a running model, changed between chunks.

A weight is always base + sum of strength x change, computed from the checkpoint's own tensor and
copied in place: nothing adds up over changes, a removed LoRA leaves the base bit for bit, and
addresses stay (captured graphs go on). A weight in 8 bits (wan/fp8.py) is merged wide and quantised
anew, its scales with it. The work of a change is spread over chunks by a number of
bytes, so the same parameters at the same chunks give the same pictures.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sdv2_host.errors import ModelError
from sdv2_host.loras import LORA_NAME, MAX_LORAS, LoraWish, parse_loras
from sdv2_host.params import Params
from sdv2_host.wan.fp8 import FP8, quantised
from sdv2_host.wan.lora import Lora, LoraReader, LoraTarget
from sdv2_host.wan.model import CausalWanModel

log = logging.getLogger(__name__)

BaseFn = Callable[[str], Tensor]
"""The checkpoint's tensor of a native weight name, in any dtype, on the CPU."""
FindFn = Callable[[str], Path]
"""The file of a LoRA's name. Raises ModelError: no such LoRA."""

BUDGET_BYTES = 128 * 1024 * 1024
"""Per chunk: 22 chunks for Wan 1.3B in bfloat16. At least one weight is done whatever its size."""

_Applied = tuple[tuple[Lora, float], ...]


class KeptLoras(BaseModel):
    """What is in the weights, and where the next change begins: by it, the same changes take the
    same chunks."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    asked: tuple[str, float]
    problem: str
    held: list[tuple[Annotated[str, Field(pattern=f"^{LORA_NAME.pattern}$")], float]] = Field(
        max_length=MAX_LORAS
    )
    """Names and strengths; 0 = read, and in no weight: it is there at once when asked for."""
    cursor: int = Field(ge=0)


class LoraStep(NamedTuple):
    """What one chunk boundary brought."""

    changed_text: bool
    """Weights that a prompt's keys and values are made with changed: those are stale."""
    has_settled: bool
    """With this step, and not before, all weights are as asked."""
    problem: str
    """Why the newest request is not followed, for a person; '' = it is."""


class LoraMerge:
    """The LoRAs of one model. Owns what its weights hold; nobody else may write them.

    Fields, per process: `_applied` what each weight holds now, beside its base; `_target` what
    they are to hold; `_wish` with `_readers`, a newer request whose files are still being read.
    The first request is merged whole, before the first picture; later ones chunk by chunk.
    """

    def __init__(
        self,
        dit: CausalWanModel,
        base: BaseFn,
        find: FindFn,
        budget_bytes: int = BUDGET_BYTES,
    ) -> None:
        self._weights: dict[str, Tensor] = dict(dit.named_parameters())
        self._scales = dit.scales()
        self._dtype = dit.patch_embedding.weight.dtype
        shapes = {name: weight.shape for name, weight in self._weights.items()}
        self._fits = LoraTarget(dit.dims, shapes)
        self._base = base
        self._find = find
        self._budget_bytes = budget_bytes
        self._has_begun = False
        self._asked: tuple[str, float] = ("", 1.0)
        self._problem = ""
        self._loras: dict[str, Lora] = {}
        self._wish: tuple[LoraWish, ...] | None = None
        self._readers: dict[str, LoraReader] = {}
        self._target: _Applied = ()
        self._applied: dict[str, _Applied] = {}
        self._todo: list[str] = []
        self._cursor = 0

    def is_due(self, params: Params) -> bool:
        """Whether `advance_` has work to do."""
        is_new = self._asked != (params.lora, params.lora_strength)
        return is_new or self._wish is not None or bool(self._todo)

    @torch.inference_mode()
    def advance_(self, params: Params) -> LoraStep:
        """The weights are nearer to what `params` asks for. Once per chunk, ahead of its work.

        A request that cannot be met changes nothing; it is told in `problem` until another one
        is made.
        """
        budget_bytes = self._budget_bytes if self._has_begun else math.inf
        self._has_begun = True
        asked = (params.lora, params.lora_strength)
        if asked != self._asked:
            self._asked = asked
            self._accept_(params)
        budget_bytes = self._read_(budget_bytes)
        changed = self._merge_(budget_bytes) if budget_bytes > 0 else []
        has_settled = bool(changed) and self._wish is None and not self._todo
        return LoraStep(any(map(_is_of_text, changed)), has_settled, self._problem)

    def refuse_(self, why: str) -> None:
        """What is asked for now is not done, and `problem` says why until something else is.

        Where files were still being read the weights stay as they are. Where they were being merged
        all are to be the model's own again: that takes no memory beside theirs.
        """
        self._problem = why
        if self._wish is not None:
            self._wish, self._readers = None, {}
            self._loras = {lora.name: lora for lora, _ in self._target}
        elif self._todo:
            self._target, self._loras = (), {}
            self._todo = self._plan()

    @property
    def is_settled(self) -> bool:
        """All weights are as they were last asked to be."""
        return self._wish is None and not self._todo

    def kept(self) -> KeptLoras:
        """Of a model that is settled."""
        held = {lora.name: strength for lora, strength in self._target}
        held |= dict.fromkeys(self._loras.keys() - held.keys(), 0.0)
        return KeptLoras(
            asked=self._asked, problem=self._problem, held=list(held.items()), cursor=self._cursor
        )

    @torch.inference_mode()
    def put_back_(self, kept: KeptLoras | None) -> None:
        """The weights are those of the model that it was kept of.

        Raises:
            ModelError: a LoRA is not there or damaged, or there can be no such weights.
        """
        if kept is None or kept.cursor >= len(self._weights):
            raise ModelError("what was remembered is of another model")
        self._problem = ""
        self._wish = tuple(LoraWish(name, strength) for name, strength in kept.held)
        self._readers = {
            name: LoraReader(self._find(name), self._fits)
            for name, _ in kept.held
            if name not in self._loras
        }
        self._read_(math.inf)
        if self._problem:
            raise ModelError(self._problem)
        self._merge_(math.inf)
        self._has_begun = True
        self._cursor, self._asked, self._problem = kept.cursor, kept.asked, kept.problem

    def _accept_(self, params: Params) -> None:
        """The request is the one being worked on, if all its files can be opened."""
        wish = tuple(
            LoraWish(one.name, one.strength * params.lora_strength)
            for one in parse_loras(params.lora)
        )
        readers: dict[str, LoraReader] = {}
        try:
            for name in (one.name for one in wish if one.name not in self._loras):
                found = self._readers.get(name)
                readers[name] = found or LoraReader(self._find(name), self._fits)
        except ModelError as error:
            self._problem = _refusal(error)
            return
        self._problem = ""
        self._wish, self._readers = wish, readers

    def _read_(self, budget_bytes: float) -> float:
        """What is left of the budget; once all files are read, the wish is the target."""
        if self._wish is None:
            return budget_bytes
        try:
            for name, reader in list(self._readers.items()):
                budget_bytes = reader.read_(budget_bytes)
                if not reader.is_done:
                    return budget_bytes
                self._loras[name] = reader.lora
                del self._readers[name]
                _tell(reader.lora)
        except ModelError as error:
            self._problem = _refusal(error)
            self._wish, self._readers = None, {}
            self._loras = {lora.name: lora for lora, _ in self._target}
            return budget_bytes
        self._loras = {one.name: self._loras[one.name] for one in self._wish}
        self._target = tuple(
            (self._loras[one.name], one.strength) for one in self._wish if one.strength != 0
        )
        self._wish = None
        self._todo = self._plan()
        return budget_bytes

    def _wanted(self, name: str) -> _Applied:
        return tuple(pair for pair in self._target if name in pair[0].changes)

    def _plan(self) -> list[str]:
        """Weights that are not as wanted, in the model's order, from where the last plan stood.

        Not from the first block: while a fader moves, every block still gets its turn.
        """
        names = list(self._weights)
        turned = names[self._cursor :] + names[: self._cursor]
        return [name for name in turned if self._applied.get(name, ()) != self._wanted(name)]

    def _merge_(self, budget_bytes: float) -> list[str]:
        """Names of the weights that were brought to what is wanted."""
        changed: list[str] = []
        while self._todo and budget_bytes > 0:
            name = self._todo[0]
            weight, wanted = self._weights[name], self._wanted(name)
            self._write_(name, merged(self._base(name), name, wanted, weight))
            self._applied[name] = wanted
            del self._todo[0]
            budget_bytes -= weight.nbytes
            changed.append(name)
        if changed:
            names = list(self._weights)
            self._cursor = (names.index(changed[-1]) + 1) % len(names)
        return changed

    def _write_(self, name: str, wide: Tensor) -> None:
        weight, scale_O1 = self._weights[name], self._scales.get(name)
        if scale_O1 is None:
            weight.copy_(wide)
            return
        # Rounded to the model's own format first, as when it is loaded.
        rows = quantised(wide.to(weight.device, self._dtype))
        weight.copy_(rows.values_RI)
        scale_O1.copy_(rows.scale_R1)


class NoLoras:
    """Where nothing can be merged: says so when asked for a LoRA."""

    def is_due(self, params: Params) -> bool:
        del params
        return False

    def advance_(self, params: Params) -> LoraStep:
        problem = "this engine takes no LoRAs" if params.lora else ""
        return LoraStep(changed_text=False, has_settled=False, problem=problem)

    @property
    def is_settled(self) -> bool:
        return True

    def kept(self) -> None:
        return None

    def put_back_(self, kept: KeptLoras | None) -> None:
        """Raises: ModelError: there were LoRAs to merge."""
        if kept is not None:
            raise ModelError("what was remembered is of another model")


NO_LORAS = NoLoras()
"""Holds nothing."""


def merged(base: Tensor, name: str, loras: _Applied, like: Tensor) -> Tensor:
    """base + sum of strength x change, on the device of `like`, in float32 at least.

    Without LoRAs it is `base` itself, so that no rounding can come in.
    """
    if not loras:
        return base.reshape(like.shape)
    # torch promotes no 8-bit format.
    dtype = torch.float32 if like.dtype == FP8 else torch.promote_types(like.dtype, torch.float32)
    total = base.to(like.device).to(dtype, copy=True).contiguous().reshape(like.shape)
    for lora, strength in loras:
        lora.add_(total, name, strength)
    return total


def _is_of_text(name: str) -> bool:
    """Whether `CausalWanModel.text_kv` uses this weight."""
    module = name.rsplit(".", maxsplit=1)[0]
    return module.startswith("text_embedding.") or module.endswith(
        ("cross_attn.k", "cross_attn.v", "cross_attn.norm_k")
    )


def _refusal(error: ModelError) -> str:
    return f"the LoRA was not changed: {error}"


def _tell(lora: Lora) -> None:
    log.info("LoRA %s changes %d weights", lora.name, len(lora.changes))
    if lora.num_ignored:
        log.warning(
            "LoRA %s: %d tensors are for image-to-video or a text encoder and are not used",
            lora.name,
            lora.num_ignored,
        )
