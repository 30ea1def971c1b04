"""BankedText: prompts from the bank, in the process of the DiT; no text encoder in it."""

# L text_len  E text_dim

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sdv2_host.config import Config
from sdv2_host.errors import ModelError
from sdv2_host.gpu.wan_spec import WAN_DIMS
from sdv2_host.models import store
from sdv2_host.models.prompt_bank import PromptBank, shortened

CAPACITY = 16


@dataclass(frozen=True, slots=True)
class BankedText:
    """A `TextEncoder`.

    Keeps the last prompts' rows (lifetime: process; 4 MiB each at most): a LoRA that changes the
    text layers asks for them again, and by then `prompts rm` may have emptied the bank.
    """

    bank: PromptBank
    text_len: int
    dtype: torch.dtype = torch.bfloat16
    """Of what is returned; the DiT's saves a copy."""
    _rows: dict[str, Tensor] = field(default_factory=dict)

    def encode(self, prompt: str) -> Tensor:
        """[1, L, E] on the CPU, rows past the prompt's end zero. Reads a file.

        Raises:
            ModelError: the prompt is not in the bank.
        """
        rows = self._rows.pop(prompt, None)
        if rows is None:
            rows = self._read(prompt)
        self._rows[prompt] = rows
        if len(self._rows) > CAPACITY:
            del self._rows[next(iter(self._rows))]
        padded_1LE = torch.zeros(1, self.text_len, self.bank.dim, dtype=self.dtype)
        padded_1LE[0, : len(rows)] = rows
        return padded_1LE

    def _read(self, prompt: str) -> Tensor:
        bits = self.bank.read(prompt)
        if bits is None:
            raise ModelError(
                f'prompt "{shortened(prompt)}" is not in the prompt bank {self.bank.folder}: '
                "add it with sdv2-host prompts add"
            )
        if len(bits) > self.text_len:
            raise ModelError(
                f'prompt "{shortened(prompt)}" has {len(bits)} tokens in the prompt bank, this '
                f"model takes {self.text_len}: use a shorter one"
            )
        return torch.from_numpy(bits.copy()).view(torch.bfloat16)


def banked_text(config: Config, dtype: torch.dtype = torch.bfloat16) -> BankedText:
    """The prompts of the Wan engine that `config` names."""
    dims = WAN_DIMS[config.engine]
    folder = store.prompts_dir(store.models_dir(config.models_dir))
    return BankedText(PromptBank(folder, dim=dims.text_dim), dims.text_len, dtype)
