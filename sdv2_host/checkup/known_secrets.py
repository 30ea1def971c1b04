"""What of this computer must not leave it: read here to be taken out, and kept nowhere."""

from __future__ import annotations

import contextlib
import getpass
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from huggingface_hub import constants

from sdv2_host.checkup.redaction import HOME, MACHINE, PROMPT, SECRET, USER, Known
from sdv2_host.config import Config
from sdv2_host.control.state_file import STATE
from sdv2_host.errors import ConfigError, HostError, RingError
from sdv2_host.ipc.host_file import host_names, load_host_file
from sdv2_host.models.prompt_bank import PromptBank
from sdv2_host.models.store import models_dir, prompts_dir

MAX_SECRET_CHARS = 4096
MIN_ENVIRONMENT_CHARS = 6
"""Shorter values of a variable are switches, not secrets."""
PROMPT_ADDRESSES = ("/sdv2/prompt", "/sdv2/prompt/b")
_WEIGHT = re.compile(r":\s*\d+(?:\.\d+)?\s*$")
_SECRET_VARIABLE = re.compile(
    r"PASS|._PWD$|_PW$|TOKEN|SECRET|KEY|CRED|AUTH|COOKIE|SESSION_ID|PRIVATE", re.IGNORECASE
)


def known_of_user(home: Path) -> Iterator[Known]:
    """Names that say who it is."""
    yield Known(str(home), HOME)
    yield Known(home.name, USER)
    with contextlib.suppress(OSError, KeyError):  # nobody has a name in some containers
        yield Known(getpass.getuser(), USER)
    yield Known(platform.node(), MACHINE)
    yield Known(platform.node().partition(".")[0], MACHINE)


def known_of_environment(variables: Mapping[str, str]) -> Iterator[Known]:
    """Values of variables whose names say what they are."""
    for name, value in variables.items():
        if _SECRET_VARIABLE.search(name) and len(value) >= MIN_ENVIRONMENT_CHARS:
            yield Known(value, SECRET)


def known_of_files(config: Config) -> Iterator[Known]:
    """Passwords and tokens in files that the config names, and the hub's."""
    named = (config.obs_password_file, config.join_token_file, constants.HF_TOKEN_PATH)
    for path in (Path(one).expanduser() for one in named if one):
        with contextlib.suppress(OSError):
            with path.open(encoding="utf-8", errors="replace") as file:
                text = file.read(MAX_SECRET_CHARS)
            yield from (Known(line, SECRET) for line in {text.strip(), *text.split()})
        yield Known(str(path), SECRET)


def known_of_hosts(directories: Sequence[Path]) -> Iterator[Known]:
    """Tokens of hosts, whether they live or not."""
    for name in host_names(tuple(directories)):
        for directory in directories:
            with contextlib.suppress(RingError):
                found = load_host_file(name, directory)
                if found is not None and found.token:
                    yield Known(found.token, SECRET)


def known_prompts(config: Config, state: Path) -> Iterator[Known]:
    """Prompts that are kept: of the bank, and of the last run of each host."""
    with contextlib.suppress(HostError):
        bank = PromptBank(prompts_dir(models_dir(config.models_dir)))
        for entry in bank.list():
            yield from known_of_prompt(entry.prompt)
    for path in (*state.glob("*.json"), *state.glob("*.json.bak")):
        with contextlib.suppress(ConfigError):
            kept = STATE.read(path).value
            for address in PROMPT_ADDRESSES:
                yield from known_of_prompt(str(kept.params.get(address, "")))


def known_of_prompt(prompt: str) -> Iterator[Known]:
    """The prompt, and where it is several with weights, each of them."""
    for part in (prompt, *prompt.split("|")):
        yield Known(part.strip(), PROMPT)
        yield Known(_WEIGHT.sub("", part).strip(), PROMPT)
