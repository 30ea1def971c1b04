"""A text process from the outside: it loads the encoder and puts prompts into the bank."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Self

from sdv2_host.config import Config, EngineName
from sdv2_host.errors import ProtocolError
from sdv2_host.host import child_process
from sdv2_host.host.child_process import Process
from sdv2_host.host.limits import Limits
from sdv2_host.ipc.messages import (
    ConfigureText,
    EncodePrompt,
    Failed,
    Progress,
    PromptEncoded,
    decode_from_text,
)
from sdv2_host.models.prompt_bank import UMT5_XXL_DIM
from sdv2_host.types import ProgressFn


@dataclass(frozen=True, slots=True)
class TextSetup:
    """Which text encoder, and how long it is waited for."""

    command: tuple[str, ...] = child_process.module_command("sdv2_host.host.text_worker")
    text_dim: int = UMT5_XXL_DIM
    """Numbers per token that the DiT takes."""
    engine: EngineName | None = None
    """Whose encoder; None = that of the engine in use."""
    limits: Limits = field(default_factory=Limits)
    """`start_silence_s` holds at all times: loading and encoding tell every step."""


class TextDiedError(Exception):
    """The process ended, fell silent or spoke nonsense, without telling why itself."""


class TextProcess:
    """Lives from `start` to `end`. Used by one task at a time."""

    def __init__(self, process: Process, limits: Limits) -> None:
        self._process = process
        self._limits = limits

    @classmethod
    async def start(cls, config: Config, setup: TextSetup) -> Self:
        """It is loading the encoder; `encode` waits for that.

        Raises:
            TextDiedError: the process cannot be made: no memory or no file handles are left.
        """
        try:
            process = await child_process.spawn(setup.command)
        except OSError as error:
            raise TextDiedError(f"could not be started: {error}") from error
        text = cls(process, setup.limits)
        try:
            whose = config.model_copy(update={"engine": setup.engine or config.engine})
            await text._send(ConfigureText(config=whose, text_dim=setup.text_dim))
        except BaseException:
            await text.end()
            raise
        return text

    @property
    def pid(self) -> int:
        return self._process.pid

    async def encode(self, prompt: str, progress: ProgressFn) -> None:
        """The prompt is in the bank. After an error this process is of no more use.

        Raises:
            TextDiedError: it ended without a word.
            HostError: what the process told before it ended.
        """
        await self._send(EncodePrompt(prompt=prompt))
        while True:
            message = await self._receive()
            if isinstance(message, PromptEncoded):
                return
            if isinstance(message, Failed):
                raise child_process.as_host_error(message, "the text process")
            progress(message.text, message.fraction)

    async def end(self) -> None:
        """The process is gone."""
        await child_process.end(self._process, self._limits.stop_s, self._limits.terminate_s)

    async def _send(self, message: ConfigureText | EncodePrompt) -> None:
        with contextlib.suppress(ConnectionError):  # it died: `_receive` finds out why
            await child_process.send(self._process, message)

    async def _receive(self) -> Progress | PromptEncoded | Failed:
        silence_s = self._limits.start_silence_s
        try:
            line = await child_process.read_line(self._process, silence_s)
            if line:
                return decode_from_text(line)
        except TimeoutError:
            raise TextDiedError(f"gave no sign of life for {silence_s:g} s") from None
        except (ValueError, ProtocolError) as error:  # ValueError: the line has no end
            raise TextDiedError(f"broke the protocol ({error})") from error
        raise TextDiedError(await child_process.exit_reason(self._process, self._limits.stop_s))
