"""Alpha of a LoRA: what its factors are multiplied by is alpha / rank."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from sdv2_host.errors import ModelError


class Alphas:
    """Alpha as the file's metadata states it, for files without alpha tensors."""

    def __init__(self, metadata: Mapping[str, str], file_name: str) -> None:
        self._where = file_name
        self._kohya = self._number(metadata.get("ss_network_alpha"))
        self._all = self._number(metadata.get("lora_alpha"))
        self._by_module: dict[str, float] = {}
        self._is_rank_stabilised = False
        self._read_adapter(metadata.get("lora_adapter_metadata"))

    def scale(self, module: str, is_kohya: bool, stated: float | None, rank: int) -> float:
        """alpha / rank, where an alpha tensor's value (`stated`) comes first; 1 without any alpha.

        kohya's own metadata counts only where the names are kohya's too: converters to other
        names keep it, but have multiplied the factors by it already.
        """
        alpha = stated
        if alpha is None and is_kohya:
            alpha = self._kohya
        elif alpha is None:
            alpha = next(
                (
                    value
                    for name, value in self._by_module.items()
                    if module == name or module.endswith("." + name)
                ),
                self._all,
            )
        if alpha is None:
            return 1.0
        return alpha / math.sqrt(rank) if self._is_rank_stabilised else alpha / rank

    def _number(self, value: object) -> float | None:
        if value is None or value == "None":
            return None
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise ModelError(f"{self._where} states alpha as {str(value)[:40]!r}") from None
        if not math.isfinite(number):
            raise ModelError(f"{self._where} states alpha as {number}")
        return number

    def _read_adapter(self, text: str | None) -> None:
        """What diffusers and PEFT write: one JSON object of the adapter's settings."""
        if text is None:
            return
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ModelError(f"{self._where}: lora_adapter_metadata is not a JSON object")
        settings = {str(key).removeprefix("transformer."): value for key, value in found.items()}
        if settings.get("use_dora"):
            raise ModelError(f"{self._where} is DoRA, which is not supported; use a plain LoRA")
        self._all = self._number(settings.get("lora_alpha", self._all))
        self._is_rank_stabilised = settings.get("use_rslora") is True
        pattern = settings.get("alpha_pattern")
        for name, value in pattern.items() if isinstance(pattern, dict) else ():
            number = self._number(value)
            if number is not None:
                self._by_module[str(name)] = number
