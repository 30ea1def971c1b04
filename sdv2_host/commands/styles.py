"""The buttons beside the page's prompt."""

from __future__ import annotations

from sdv2_host.commands.prompts import newest_prompts, open_bank
from sdv2_host.commands.settings import style_prompts
from sdv2_host.config import Config
from sdv2_host.host.prompt_desk import needs_bank
from sdv2_host.models.prompt_bank import shortened

MAX_BUTTONS = 16
BUTTON_CHARS = 32


def prompt_buttons(config: Config) -> dict[str, str]:
    """Text and prompt of each button of the page: what the engine can show at once."""
    if not needs_bank(config.engine):
        return style_prompts()
    buttons: dict[str, str] = {}
    for prompt in newest_prompts(open_bank(config.models_dir), MAX_BUTTONS):
        short = shortened(prompt, BUTTON_CHARS)
        buttons[prompt if short in buttons else short] = prompt
    return buttons
