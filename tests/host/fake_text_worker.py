"""A text process without an encoder: `python -m tests.host.fake_text_worker FOLDER`.

Its embeddings are canned.

Behaves as the words of a prompt say: `slow` waits until FOLDER/go is there, `crash` kills the
process, `refuse` fails with a message, `mute` writes nothing and says it did, `once` crashes the
first time. Notes every start and every prompt in FOLDER/log.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from sdv2_host.errors import DeviceError
from sdv2_host.host.child_side import Send, exit_child, run_child
from sdv2_host.host.text_worker import Prompts
from sdv2_host.ipc.messages import Progress, PromptEncoded
from sdv2_host.models.prompt_bank import PromptBank
from sdv2_host.models.store import models_dir, prompts_dir

FOLDER = Path(sys.argv[1])


def note(line: str) -> None:
    with (FOLDER / "log").open("a") as file:
        file.write(line + "\n")


def main(send: Send) -> None:
    note(f"start {os.getpid()}")
    prompts = Prompts(sys.stdin.buffer)
    config, dim = prompts.configure.config, prompts.configure.text_dim
    bank = PromptBank(prompts_dir(models_dir(config.models_dir)), dim=dim)
    send(Progress(text="loading", fraction=1.0))
    while (prompt := prompts.next()) is not None:
        note(f"encode {prompt}")
        send(Progress(text="encoding", fraction=0.5))
        behave(prompt.split())
        if "mute" not in prompt.split():
            bank.write(prompt, np.full((3, dim), 0x3F80, dtype=np.uint16))
        send(PromptEncoded(prompt=prompt, num_tokens=3))


def behave(words: list[str]) -> None:
    while "slow" in words and not (FOLDER / "go").exists():
        time.sleep(0.005)
    if "refuse" in words:
        raise DeviceError("the text encoder ran out of memory")
    once = FOLDER / "crashed"
    if "crash" in words or ("once" in words and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    exit_child(run_child("fake text process", main))
