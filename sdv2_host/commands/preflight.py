"""What can be told to be missing at once, before anything is loaded for minutes."""

from __future__ import annotations

from sdv2_host.commands.prompts import open_bank
from sdv2_host.config import Config
from sdv2_host.errors import ModelError
from sdv2_host.host.prompt_desk import Decks, needs_bank
from sdv2_host.loras import parse_loras
from sdv2_host.models.catalogue import Role
from sdv2_host.models.loras import find_lora
from sdv2_host.models.store import locate, models_dir, needed_parts
from sdv2_host.params import Params


def check_installed(config: Config, params: Params) -> None:
    """The engine's parts and the LoRAs to begin with are there, by names and sizes.

    A missing text encoder alone is left to who needs it: the prompt may be in the bank.

    Raises:
        ModelError: one is missing; saying all that is, and how to get it.
    """
    folder = models_dir(config.models_dir)
    if config.engine != "passthrough":
        for wish in parse_loras(params.lora):
            find_lora(folder, wish.name)
    if not needs_bank(config.engine):
        return
    needs = needed_parts(config)
    try:
        locate(config.engine, folder, needs=needs)
    except ModelError:
        bank = open_bank(config.models_dir)
        if not all(bank.has(text) for text in Decks(params.prompt, params.prompt_b).texts):
            locate(config.engine, folder, needs=(*needs, Role.TEXT, Role.TOKENIZER))
        raise
