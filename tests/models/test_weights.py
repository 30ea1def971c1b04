"""Which weights an engine has: another text for other ones, and nothing of the user's in it."""

from __future__ import annotations

import re
from pathlib import Path

from sdv2_host.config import Config
from sdv2_host.models.catalogue import Role
from sdv2_host.models.imports import register_part
from sdv2_host.models.store import Store
from sdv2_host.models.weights import parts_of, weights_of
from tests.models.hub import ToyHub
from tests.models.toys import pull

BOTH = (Role.DIT, Role.VAE)


def test_pulled_parts_are_told_by_their_hashes_and_imported_ones_by_size(
    hub: ToyHub, store: Store, tmp_path: Path
) -> None:
    pull(store, hub, "wan-1.3b")
    pulled = parts_of(store, "wan-1.3b", BOTH)
    (tmp_path / "own.safetensors").write_bytes(b"x" * 77)

    register_part(store, "dit-1.3b", tmp_path / "own.safetensors")
    imported = parts_of(store, "wan-1.3b", BOTH)

    dit, vae = pulled.split(", ")
    assert re.fullmatch(r"dit [0-9a-f]{16}", dit)
    assert re.fullmatch(r"vae [0-9a-f]{16}", vae)
    assert imported == f"dit imported, 77 bytes, {vae}"


def test_parts_whose_hash_nobody_took_are_told_by_size(store: Store) -> None:
    assert parts_of(store, "wan-1.3b", (Role.DIT,)) == "dit missing, 0 bytes"


def test_the_embedded_model_is_told_by_its_bytes_and_passthrough_has_none() -> None:
    assert re.fullmatch(r"tiny [0-9a-f]{16}", weights_of(Config(engine="tiny")))
    assert weights_of(Config(engine="passthrough")) == ""
