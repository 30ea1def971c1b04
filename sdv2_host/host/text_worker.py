"""The text process: `python -m sdv2_host.host.text_worker`, started by the prompt desk.

Reads messages from stdin and answers on what was stdout (`ipc/messages.py`). The main thread owns
the text encoder: loads it first, then puts one prompt after another into the bank. Ends when told
to, when stdin closes (then the daemon is gone, however it died) and on an error, which it reports
first.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import BinaryIO

import psutil

from sdv2_host.errors import ProtocolError
from sdv2_host.host.child_side import ChildExit, Send, die_with_daemon, exit_child, run_child
from sdv2_host.ipc.messages import (
    MAX_LINE_BYTES,
    ConfigureText,
    EncodePrompt,
    Progress,
    PromptEncoded,
    decode_to_text,
)
from sdv2_host.models.catalogue import Role
from sdv2_host.models.prompt_bank import PromptBank
from sdv2_host.models.store import locate, models_dir, prompts_dir

NICENESS = 10
GRACE_S = 0.3
"""Time for an entry that is being written; then the process ends regardless."""


class Prompts:
    """The prompts that the daemon asks for, in order. Owns one thread.

    Why a thread: reading a pipe blocks, and the main thread may be in the encoder for many seconds
    when the daemon ends; the thread then ends the process.
    """

    def __init__(self, lines: BinaryIO) -> None:
        first = decode_to_text(lines.readline(MAX_LINE_BYTES + 1))
        if not isinstance(first, ConfigureText):
            raise ProtocolError(
                f"daemon: first message is {first.kind!r}, expected 'configure_text'"
            )
        self.configure = first
        self._lines = lines
        self._asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="prompts", daemon=True).start()

    def next(self) -> str | None:
        """Waits for the next prompt; None = stop."""
        return self._asked.get()

    def _read(self) -> None:
        try:
            while line := self._lines.readline(MAX_LINE_BYTES + 1):
                message = decode_to_text(line)
                if not isinstance(message, EncodePrompt):
                    return
                self._asked.put(message.prompt)
        finally:
            self._asked.put(None)
            time.sleep(GRACE_S)
            # The main thread is in the encoder, which cannot be asked to stop.
            os._exit(ChildExit.ABANDONED)


def main(send: Send) -> None:
    """Serve until told to stop.

    Raises:
        HostError: no encoder, no memory for it, or the bank cannot be written.
    """
    # There is nothing here that must be closed in order.
    die_with_daemon(True)
    _yield_to_the_picture()
    prompts = Prompts(sys.stdin.buffer)

    def progress(text: str, fraction: float) -> None:
        send(Progress(text=text, fraction=fraction))

    progress("starting the text encoder", 0.0)
    config = prompts.configure.config
    folder = models_dir(config.models_dir)
    locate(config.engine, folder, needs=(Role.TEXT, Role.TOKENIZER))
    bank = PromptBank(prompts_dir(folder), dim=prompts.configure.text_dim)
    # Lazy: torch and transformers take seconds, in which the daemon would hear nothing.
    from sdv2_host.gpu.prompt_writer import PromptWriter  # noqa: PLC0415

    writer = PromptWriter(config, bank, progress)
    while (prompt := prompts.next()) is not None:
        send(PromptEncoded(prompt=prompt, num_tokens=writer.write(prompt, progress)))


def _yield_to_the_picture() -> None:
    """Encoding may take all cores, but only while nobody else wants them."""
    if sys.platform == "win32":
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.nice(NICENESS)


if __name__ == "__main__":
    exit_child(run_child("text process", main))
