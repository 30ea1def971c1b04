"""Where models lie: the models folder of this user with its LoRA files and its prompt bank.

MODELS_DIR/models.json        what was pulled and imported, see registry.py
MODELS_DIR/loras/NAME.safetensors
MODELS_DIR/prompts/           the prompt bank
"""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_path

from sdv2_host.loras import LORA_NAME, LORA_SUFFIX

APP_DIR = "sdv2-host"


def models_dir(wanted: str | Path = "") -> Path:
    """The models folder: `wanted` (`Config.models_dir`, --models-dir), or the default for ''."""
    if str(wanted):
        return Path(wanted).expanduser().absolute()
    return user_data_path(APP_DIR, appauthor=False) / "models"


def lora_dir(models_dir: Path) -> Path:
    """The folder of LoRA files; it need not exist."""
    return models_dir / "loras"


def list_loras(models_dir: Path) -> tuple[str, ...]:
    """Names of the LoRA files there, sorted, without suffix; only names that a wish can hold."""
    files = sorted(lora_dir(models_dir).glob("*" + LORA_SUFFIX))
    return tuple(path.stem for path in files if LORA_NAME.fullmatch(path.stem) and path.is_file())


def prompts_dir(models_dir: Path) -> Path:
    """The folder of the prompt bank; it need not exist."""
    return models_dir / "prompts"
