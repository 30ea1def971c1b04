"""The engine's model: whether its files are there, and whether they are what they should be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sdv2_host.checkup.finding import Finding, Subject
from sdv2_host.config import Config
from sdv2_host.errors import ModelError
from sdv2_host.host.prompt_desk import needs_bank
from sdv2_host.loras import parse_loras
from sdv2_host.models.catalogue import Role
from sdv2_host.models.integrity import Health, verify_part
from sdv2_host.models.loras import find_lora
from sdv2_host.models.register import load_register
from sdv2_host.models.store import READY, PartStatus, Store, hub_store, models_dir, needed_parts
from sdv2_host.models.weights import TINY_FILE

GROUP = "Models"
TINY_SHA256 = "0a2aec33031417c5648d18532ed3d07ecc332b988abf0e1ef6d391113178f6e4"
VERIFY_LIMIT_S = 600.0
"""40 GB of wan-14b and its text encoder from a slow disk."""


class _Silent:
    """A `models.digest.Progress` that tells nothing: the round tells what it waits for."""

    def begin(self, name: str, size_bytes: int) -> None: ...

    def reach(self, done_bytes: int) -> None: ...

    def end(self) -> None: ...


def check_models(config: Config, loras: str, *, reads_all: bool) -> list[Finding]:
    """`reads_all`: every byte against its hash; else names and sizes alone."""
    store = hub_store(models_dir(config.models_dir))
    findings = list(lora_findings(store.models_dir, loras))
    if config.engine == "tiny":
        return [tiny_finding(TINY_FILE, TINY_SHA256), *findings]
    if needs_bank(config.engine):
        return [*wan_findings(store, config, reads_all=reads_all), *findings]
    return [Subject(GROUP, "passthrough").ok("needs none"), *findings]


def tiny_finding(path: Path, sha256: str) -> Finding:
    """The embedded model, every byte."""
    subject = Subject(GROUP, "embedded model")
    todo = "install sdv2-host again"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return subject.trouble(f"{path}: {error.strerror}", "engine tiny cannot start", todo)
    if found != sha256:
        return subject.trouble(
            f"SHA-256 {found[:16]}..., expected {sha256[:16]}...",
            "the picture is not what the model makes, or the engine cannot start",
            todo,
        )
    return subject.ok("whole, hash right")


def wan_findings(store: Store, config: Config, *, reads_all: bool) -> Iterator[Finding]:
    """Part by part. Raises: ModelError."""
    needed = needed_parts(config)
    register = load_register(store.models_dir)
    for status in store.statuses(store.catalogue.entry(config.engine)):
        role = status.part.role
        subject = Subject(GROUP, f"{config.engine} {role.title}")
        is_text = role in (Role.TEXT, Role.TOKENIZER)
        if role not in needed and not is_text:
            continue
        if status.state not in READY:
            yield _missing(subject, status, config.engine, is_text=is_text)
        elif reads_all:
            verdicts = verify_part(store, status.part, register, _Silent())
            wrong = [one for one in verdicts if one.health is not Health.OK]
            details = "; ".join(one.detail for one in (wrong or verdicts))
            if wrong:
                yield subject.trouble(
                    f"{wrong[0].name}: {details}",
                    "the engine cannot start, or paints what the model does not",
                    f"run: sdv2-host models pull {config.engine} --repair",
                )
            else:
                yield subject.ok(details)
        else:
            yield subject.ok(f"{status.state.value}, by name and size")


def _missing(subject: Subject, status: PartStatus, engine: str, *, is_text: bool) -> Finding:
    todo = f"run: sdv2-host models pull {engine}"
    if is_text:
        return subject.warning(
            status.state.value,
            "only prompts that are in the bank can be played",
            f"{todo}, or put the show's prompts into the bank (sdv2-host prompts add)",
        )
    return subject.trouble(status.state.value, "the engine cannot start", todo)


def lora_findings(folder: Path, loras: str) -> Iterator[Finding]:
    """Of those to begin with."""
    for wish in parse_loras(loras):
        subject = Subject(GROUP, f"LoRA {wish.name}")
        try:
            yield subject.ok(str(find_lora(folder, wish.name)))
        except ModelError as error:
            yield subject.trouble(str(error), "the look is not the rehearsed one", "as it says")
