"""The token that a driver and the agents of other machines both know, in a file of each machine."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sdv2_host.errors import ConfigError

MIN_CHARS = 16
MAX_CHARS = 1024


def read_token(path: Path) -> str:
    """Of the file, without white space around it, or the mark that editors of Windows begin with.

    Raises:
        ConfigError: it cannot be read, or holds no token.
    """
    try:
        token = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the token {path}: {error}; sdv2-host agent --make-token FILE writes one"
        ) from error
    return check_token(token, str(path))


def check_token(token: str, where: str) -> str:
    """The token, if it is hard enough to guess.

    Raises:
        ConfigError: it is too short or too long.
    """
    if not MIN_CHARS <= len(token) <= MAX_CHARS:
        raise ConfigError(
            f"the token of {where} has {len(token)} characters, expected {MIN_CHARS} to "
            f"{MAX_CHARS}; sdv2-host agent --make-token FILE writes one"
        )
    return token


def make_token(path: Path) -> None:
    """A new token is in the file. Nothing is overwritten.

    Only this user can read it; on Windows whoever can read the folder.

    Raises:
        ConfigError: the file is there, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write a token to {path}: {error}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
