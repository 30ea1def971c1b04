"""`sdv2-host prompts add`, `list` and `rm`: the prompt bank, so that a show needs no encoder."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from sdv2_host.commands.narrator import Narrator
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError, ModelError, WorkerError
from sdv2_host.host.text_process import TextDiedError, TextProcess, TextSetup
from sdv2_host.models.catalogue import size_text
from sdv2_host.models.prompt_bank import PromptBank, shortened
from sdv2_host.models.store import models_dir, prompts_dir
from sdv2_host.picture_params import PROMPT_MAX_CHARS
from sdv2_host.types import ProgressFn

INTERRUPTED = 130
"""Exit code that a shell expects after Ctrl-C."""
MAX_FILE_BYTES = 64 << 20
EMPTY = '"" (the empty prompt)'


def open_bank(folder: str, dim: int = TextSetup().text_dim) -> PromptBank:
    """The bank of --models-dir."""
    return PromptBank(prompts_dir(models_dir(folder)), dim=dim)


def add(config: Config, texts: Sequence[str], file: Path | None) -> int:
    """Puts prompts into the bank; the exit code. Those that are there are not encoded again.

    Raises:
        ConfigError: no prompt, or one that cannot be one.
        HostError: a prompt cannot be encoded; those before it are in the bank.
    """
    prompts = list(dict.fromkeys([*texts, *(_read_file(file) if file else ())]))
    if not prompts:
        raise ConfigError("no prompt given: sdv2-host prompts add TEXT, or --file prompts.txt")
    for prompt in prompts:
        _check(prompt)
    try:
        bank_prompts(config, prompts)
    except KeyboardInterrupt:
        print("sdv2-host: interrupted; what was added stays in the bank", file=sys.stderr)
        return INTERRUPTED
    return 0


def bank_prompts(config: Config, prompts: Iterable[str], setup: TextSetup | None = None) -> None:
    """All prompts are in the bank; says which are new, and how far it is.

    Raises:
        HostError: one cannot be encoded; those before it are in the bank.
    """
    setup = setup or TextSetup()
    bank = open_bank(config.models_dir, setup.text_dim)
    missing = []
    for prompt in prompts:
        if bank.has(prompt):
            print(f"is there  {shortened(prompt)}", file=sys.stderr)
        else:
            missing.append(prompt)
    if missing:
        narrator = Narrator()
        try:
            asyncio.run(_encode(config, setup, missing, narrator))
        finally:
            narrator.close()


async def _encode(
    config: Config, setup: TextSetup, prompts: Sequence[str], narrator: Narrator
) -> None:
    text = await TextProcess.start(config, setup)
    try:
        for prompt in prompts:
            await _encode_one(text, prompt, narrator.progress)
            narrator.say(f"added  {shortened(prompt) or EMPTY}")
    finally:
        await text.end()


async def _encode_one(text: TextProcess, prompt: str, progress: ProgressFn) -> None:
    try:
        await text.encode(prompt, progress)
    except TextDiedError as death:
        raise WorkerError(f'prompt "{shortened(prompt)}": the text process {death}') from death


def _read_file(path: Path) -> list[str]:
    """The prompts of a text file, one a line; empty lines are left out."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"--file {path}: larger than {MAX_FILE_BYTES >> 20} MiB")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"--file {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--file {path}: not UTF-8 text, at byte {error.start}") from error
    return [line.strip() for line in lines if line.strip()]


def _check(prompt: str) -> None:
    if len(prompt) > PROMPT_MAX_CHARS:
        raise ConfigError(
            f'prompt "{shortened(prompt)}": {len(prompt)} characters, at most {PROMPT_MAX_CHARS}'
        )
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"prompt {shortened(ascii(prompt))}: not UTF-8 text") from None


def newest_prompts(bank: PromptBank, count: int) -> list[str]:
    """The prompts that were banked last, newest first; without the empty one."""
    paths = {entry.path: entry.prompt for entry in bank.list() if entry.prompt}
    return [paths[path] for path in sorted(paths, key=_written_ns, reverse=True)[:count]]


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # removed meanwhile
        return 0


def list_prompts(bank: PromptBank, as_json: bool) -> None:
    """Prints what is in the bank."""
    entries = bank.list()
    if as_json:
        rows = [{**entry._asdict(), "path": str(entry.path)} for entry in entries]
        print(json.dumps(rows, indent=2))
        return
    for entry in entries:
        print(f"{entry.rows:4} tokens  {entry.prompt or EMPTY}")
    total = size_text(sum(entry.size_bytes for entry in entries))
    print(
        f"{len(entries)} {'prompt' if len(entries) == 1 else 'prompts'}, {total}, in {bank.folder}"
    )


def remove(bank: PromptBank, texts: Sequence[str], everything: bool) -> None:
    """Takes prompts out of the bank.

    Raises:
        ConfigError: neither prompts nor --all, or both.
        ModelError: a prompt is not there, or its file cannot be removed.
    """
    if everything == bool(texts):
        raise ConfigError("say which prompts: sdv2-host prompts rm TEXT, or --all")
    if everything:
        print(f"removed {bank.remove_all()} prompts")
        return
    for text in texts:
        if not bank.remove(text):
            raise ModelError(
                f'prompt "{shortened(text)}" is not in the prompt bank; see sdv2-host prompts list'
            )
        print(f"removed  {shortened(text)}")
