"""Which weights an engine has, in a few letters: for records that are compared later."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

import sdv2_host
from sdv2_host.config import Config
from sdv2_host.models.catalogue import Role
from sdv2_host.models.register import Register, load_register
from sdv2_host.models.store import PartStatus, State, Store, hub_store, models_dir, needed_parts

TINY_FILE = Path(sdv2_host.__file__).parent / "assets" / "tiny" / "tiny.safetensors"
NUM_LETTERS = 16


def weights_of(config: Config) -> str:
    """Another text where another model is installed; no path or name of the user's is in it.

    Of the embedded model by its bytes; of Wan's parts by what the store knows, their hashes as
    they were pulled, or the size of an imported file. Empty: the engine has none.

    Raises:
        ModelError: the register is damaged.
        ConfigError: there is no such model.
        OSError: the embedded model cannot be read.
    """
    if config.engine == "passthrough":
        return ""
    if config.engine == "tiny":
        return f"tiny {hashlib.sha256(TINY_FILE.read_bytes()).hexdigest()[:NUM_LETTERS]}"
    store = hub_store(models_dir(config.models_dir))
    return parts_of(store, config.engine, needed_parts(config))


def parts_of(store: Store, engine_name: str, needs: Collection[Role]) -> str:
    """See `weights_of`."""
    register = load_register(store.models_dir)
    return ", ".join(
        f"{status.part.role.value} {_named(status, register)}"
        for status in store.statuses(store.catalogue.entry(engine_name))
        if status.part.role in needs
    )


def _named(status: PartStatus, register: Register) -> str:
    if status.state is State.IMPORTED:
        return f"imported, {status.present_bytes} bytes"
    pulled = [register.pulled.get(file.key) for file in status.part.files]
    if not all(pulled):
        return f"{status.state.value}, {status.present_bytes} bytes"
    digests = "".join(file.sha256 for file in pulled if file is not None)
    return hashlib.sha256(digests.encode()).hexdigest()[:NUM_LETTERS]
