"""A text process without an encoder, seen from a test: see `fake_text_worker.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdv2_host.host.child_process import module_command
from sdv2_host.host.limits import Limits
from sdv2_host.host.text_process import TextSetup
from sdv2_host.models.prompt_bank import PromptBank
from sdv2_host.models.store import prompts_dir

DIM = 8
QUICK = Limits(first_delay_s=0.01, max_delay_s=0.02, stop_s=0.5, terminate_s=0.2)


@dataclass(frozen=True)
class FakeLog:
    """What the processes of this folder did, and the word that they wait for."""

    folder: Path

    def go(self) -> None:
        """What is slow may go on."""
        (self.folder / "go").touch()

    @property
    def encoded(self) -> list[str]:
        return [line.removeprefix("encode ") for line in self._lines if line.startswith("encode ")]

    @property
    def pids(self) -> list[int]:
        """Of all processes that were started."""
        return [int(line.split()[1]) for line in self._lines if line.startswith("start ")]

    @property
    def _lines(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []


def fake_setup(folder: Path, limits: Limits = QUICK) -> TextSetup:
    return TextSetup(
        (*module_command("tests.host.fake_text_worker"), str(folder)), DIM, limits=limits
    )


def banked(folder: Path, *prompts: str) -> PromptBank:
    bank = PromptBank(prompts_dir(folder), dim=DIM)
    for prompt in prompts:
        bank.write(prompt, np.full((2, DIM), 0x3F80, dtype=np.uint16))
    return bank
