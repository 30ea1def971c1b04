"""PromptWriter: the text encoder at work, from prompts to entries of the bank."""

# n tokens of one prompt  E text_dim

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from sdv2_host.config import Config
from sdv2_host.errors import DeviceError, ModelError
from sdv2_host.gpu.cpu_threads import set_threads
from sdv2_host.gpu.device import GIB, device_memory, device_name, resolve_device
from sdv2_host.gpu.out_of_memory import naming_memory
from sdv2_host.models import store
from sdv2_host.models.catalogue import Role
from sdv2_host.models.prompt_bank import Bits, PromptBank, shortened
from sdv2_host.types import ProgressFn
from sdv2_host.wan.umt5 import Umt5Encoder, load_tokenizer, load_umt5, read_sizes, weight_bytes

NEEDS = (Role.TEXT, Role.TOKENIZER)
DTYPE = torch.bfloat16
"""On every device: what the weights are published in, what the reference computes in, and half of
the 22.7 GB that float32 would take."""
_SPARE_BYTES = GIB // 4
"""For activations of 512 tokens, and what loading holds beside the weights."""


class PromptWriter:
    """Holds the text encoder; writes embeddings into the bank."""

    def __init__(self, config: Config, bank: PromptBank, progress: ProgressFn) -> None:
        """The encoder is loaded, on `config.text_device`.

        Raises:
            ModelError: it is not installed, damaged, or not the one for this bank.
            DeviceError: the device is missing, or its memory too small.
        """
        set_threads(config.threads)
        device = resolve_device(config.text_device, "--text-device")
        files = store.locate(config.engine, store.models_dir(config.models_dir), needs=NEEDS)
        assert files.text is not None, "locate answers with every part that it was asked for"
        assert files.tokenizer is not None, "locate answers with every part that it was asked for"
        self._bank = bank
        self._device = device
        sizes = read_sizes(files.text)
        if sizes.d_model != bank.dim:
            raise ModelError(
                f"{files.text}: this text encoder gives {sizes.d_model} numbers a token, "
                f"{config.engine} takes {bank.dim}: import UMT5-XXL, or run sdv2-host models pull "
                f"{config.engine}"
            )
        tokenizer = load_tokenizer(files.tokenizer)
        what = f"loading the text encoder to {device_name(device)} in bfloat16"
        with self._naming_memory("while loading"):
            _check_memory(weight_bytes(sizes, DTYPE), device)
            model = load_umt5(files.text, sizes, device, DTYPE, lambda done: progress(what, done))
        self._encoder = Umt5Encoder(model, tokenizer)

    def write(self, prompt: str, progress: ProgressFn) -> int:
        """The prompt is in the bank; its number of tokens.

        Raises:
            ModelError: the bank cannot be written, or the encoder gives numbers that are none.
            DeviceError: memory ran out.
        """
        what = f'encoding prompt "{shortened(prompt, 30)}"'
        with self._naming_memory(f"while {what}"):
            ids = self._encoder.tokens(prompt)
            rows_nE = self._encoder.encode_tokens(ids, lambda done: progress(what, done))
        self._bank.write(prompt, _bits(rows_nE))
        return len(ids)

    def _naming_memory(self, when: str) -> AbstractContextManager[None]:
        return naming_memory("the text encoder", self._device, lambda: _REMEDY, when)


_REMEDY = (
    "use another --text-device, or bank the prompts beforehand with sdv2-host prompts add, on "
    "this machine or another"
)


def _check_memory(weights: int, device: torch.device) -> None:
    """`weights` in bytes. Raises: DeviceError."""
    needed = weights + _SPARE_BYTES
    free = device_memory(device).free
    if needed > free:
        raise DeviceError(
            f"the text encoder needs {needed / GIB:.1f} GiB, {free / GIB:.1f} GiB are free on "
            f"{device_name(device)}: {_REMEDY}"
        )


def _bits(rows_nE: Tensor) -> Bits:
    """As bfloat16, which the tensor is already where the encoder computes in it."""
    bits: Bits = rows_nE.to("cpu", DTYPE).contiguous().view(torch.uint16).numpy()
    return bits
