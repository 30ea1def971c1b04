"""What is installed and where it lies: imported parts first, then the hub's cache. No network.

MODELS_DIR/models.json        what was pulled and imported, see register.py
MODELS_DIR/loras/NAME.safetensors
MODELS_DIR/prompts/           the prompt bank
the hub's cache               what was pulled, shared with other tools, see hub_cache.py
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants
from platformdirs import user_data_path

from sdv2_host.config import Config
from sdv2_host.errors import ModelError
from sdv2_host.loras import LORA_NAME, LORA_SUFFIX
from sdv2_host.models.catalogue import CATALOGUE, Catalogue, Entry, HubFile, Part, Role, size_text
from sdv2_host.models.hub_cache import HubCache
from sdv2_host.models.register import Register, load_register

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
    """Names of the LoRA files there, sorted, without suffix; only names that `LORA_NAME` allows."""
    files = sorted(lora_dir(models_dir).glob("*" + LORA_SUFFIX))
    return tuple(path.stem for path in files if LORA_NAME.fullmatch(path.stem) and path.is_file())


def prompts_dir(models_dir: Path) -> Path:
    """The folder of the prompt bank; it need not exist."""
    return models_dir / "prompts"


class State(Enum):
    """How a part stands, as far as names and sizes tell; `verify` reads the bytes."""

    INSTALLED = "installed"
    IMPORTED = "imported"
    MISSING = "missing"
    UNFINISHED = "unfinished"
    DAMAGED = "damaged"
    GONE = "gone"


READY = frozenset({State.INSTALLED, State.IMPORTED})


class PartStatus(NamedTuple):
    """A part, its state, where it is (the folder for a tokenizer), and how much of it is there."""

    part: Part
    state: State
    path: Path | None
    present_bytes: int


class ModelFiles(NamedTuple):
    """Where the parts of one model are; None = not installed and not asked for.

    `tokenizer` is a folder; an imported part may be a folder too.
    """

    dit: Path | None
    vae: Path | None
    taehv: Path | None
    text: Path | None
    tokenizer: Path | None


@dataclass(frozen=True, slots=True)
class Store:
    """The models of this user."""

    models_dir: Path
    cache: HubCache
    catalogue: Catalogue = CATALOGUE

    def statuses(self, entry: Entry) -> tuple[PartStatus, ...]:
        """Every part of the model, in its order.

        Raises:
            ModelError: the register is damaged.
        """
        register = load_register(self.models_dir)
        return tuple(self.part_status(part, register) for part in entry.parts)

    def part_status(self, part: Part, register: Register) -> PartStatus:
        imported = register.imported.get(part.slot)
        if imported is not None:
            path = Path(imported.path)
            there = path.is_file() if imported.size_bytes is not None else path.is_dir()
            state = State.IMPORTED if there else State.GONE
            return PartStatus(part, state, path, imported.size_bytes or 0)
        found = [(file, self.find(file, register)) for file in part.files]
        present = sum(_size(path) for _, path in found if path)
        paths = [path for _, path in found if path]
        if len(paths) < len(found) or len({path.parent for path in paths}) > 1:
            present += sum(self._partial_bytes(file, register) for file, path in found if not path)
            state = State.UNFINISHED if present else State.MISSING
            return PartStatus(part, state, None, present)
        path = paths[0].parent if part.is_folder else paths[0]
        right = all(is_size_right(file, path, register) for file, path in found if path)
        return PartStatus(part, State.INSTALLED if right else State.DAMAGED, path, present)

    def find(self, file: HubFile, register: Register) -> Path | None:
        """The file in the hub's cache, of whatever size it is."""
        record = register.pulled.get(file.key)
        return self.cache.find(file, record.commit if record else None)

    def _partial_bytes(self, file: HubFile, register: Register) -> int:
        etag = register.unfinished.get(file.key)
        return _size(self.cache.partial(file.repo, etag)) if etag else 0

    def locate(self, engine_name: str, needs: Collection[Role]) -> ModelFiles:
        """See `locate`."""
        statuses = {s.part.role: s for s in self.statuses(self.catalogue.entry(engine_name))}
        wanted = [status for role, status in statuses.items() if role in needs]
        for status in wanted:
            _check_whole(engine_name, status)
        missing = [s.part for s in wanted if s.state not in READY]
        if missing:
            titles = " and ".join(f"the {part.role.title}" for part in missing)
            size = size_text(sum(part.size_bytes for part in missing))
            verb = "is" if len(missing) == 1 else "are"
            raise ModelError(
                f"{engine_name}: {titles} {verb} not installed ({size}): "
                f"run sdv2-host models pull {engine_name}"
            )
        ready = {role.value: s.path for role, s in statuses.items() if s.state in READY}
        return ModelFiles(*(ready.get(name) for name in ModelFiles._fields))


def hub_store(models_dir: Path, catalogue: Catalogue = CATALOGUE) -> Store:
    """The store on the hub's cache of this user (HF_HUB_CACHE, HF_HOME)."""
    return Store(models_dir, HubCache(Path(constants.HF_HUB_CACHE).absolute()), catalogue)


def locate(engine_name: str, models_dir: Path, *, needs: Collection[Role]) -> ModelFiles:
    """Where the parts of the model are, by names and sizes alone; those it has and `needs` names.

    Raises:
        ModelError: a needed part is missing, unfinished or damaged; saying how to get it.
        ConfigError: there is no such model.
    """
    return hub_store(models_dir).locate(engine_name, needs)


def needed_parts(config: Config) -> tuple[Role, ...]:
    """What has to be installed for this Wan engine to run; text has a process of its own."""
    vae = {"wan": (Role.VAE,), "hybrid": (Role.VAE, Role.TAEHV), "taehv": (Role.TAEHV,)}
    return (Role.DIT, *vae[config.vae])


def is_size_right(file: HubFile, path: Path, register: Register) -> bool:
    """Whether the file has the size it was pulled with, or that its pinned hash belongs to."""
    record = register.pulled.get(file.key)
    if record is not None and record.commit in path.parts:
        return _size(path) == record.size_bytes
    return file.sha256 is None or _size(path) == file.size_bytes


def _check_whole(engine_name: str, status: PartStatus) -> None:
    title = status.part.role.title
    if status.state is State.DAMAGED:
        raise ModelError(
            f"{engine_name}: the {title} at {status.path} is damaged, it has "
            f"{status.present_bytes} bytes: run sdv2-host models pull {engine_name}"
        )
    if status.state is State.GONE:
        raise ModelError(
            f"{engine_name}: the imported {title} is not at {status.path} any more: "
            f"import it again, or run sdv2-host models pull {engine_name}"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
