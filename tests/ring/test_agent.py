"""What an agent is asked for, and the token that it shares with its host."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from sdv2_host.commands.agent import AgentOptions, run_agent
from sdv2_host.config import Config, host_and_port
from sdv2_host.config_checks import check_ring
from sdv2_host.errors import ConfigError
from sdv2_host.stages.join_token import make_token, read_token


def test_a_token_that_was_made_can_be_read_and_is_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"

    make_token(path)

    assert len(read_token(path)) >= 32
    assert sys.platform == "win32" or stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_is_overwritten_by_a_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("precious")

    with pytest.raises(ConfigError, match="cannot write a token"):
        make_token(path)
    assert path.read_text() == "precious"


def test_a_token_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("secret\n")

    with pytest.raises(ConfigError, match="has 6 characters, expected 16 to 1024"):
        read_token(path)


@pytest.mark.parametrize(
    ("join", "token", "told"),
    [
        (None, None, "--join HOST:PORT is missing"),
        ("here", None, "--join here: expected HOST:PORT"),
        ("10.0.0.1:9600", None, "expected either --token-file FILE or --token TOKEN"),
        ("10.0.0.1:9600", "short", "expected 16 to 1024"),
    ],
)
def test_an_agent_says_what_is_missing(join: str | None, token: str | None, told: str) -> None:
    options = AgentOptions(join, None, token, ["cpu"], "", "")

    with pytest.raises(ConfigError, match=told):
        run_agent(options)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engine": "passthrough", "devices": "cpu,cpu"}, "passthrough has no model to spread"),
        ({"mode": "reference", "devices": "cpu,cpu"}, "--mode reference runs on one device"),
        ({"devices": "cpu,cuda:0"}, "engine tiny runs on the CPU"),
        ({"join_listen": "10.0.0.1:9600"}, "needs --join-token-file"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_ring(Config.model_validate(changes))


@pytest.mark.parametrize("devices", ["gpu", "cuda:0;cuda:1", "auto,cpu"])
def test_devices_that_are_none_are_refused(devices: str) -> None:
    with pytest.raises(ValueError, match=r"expected devices such as cuda:0,cuda:1"):
        Config.model_validate({"devices": devices})


@pytest.mark.parametrize("address", ["0.0.0.0:9600", "here", ":9600", "10.0.0.1:99999"])
def test_an_address_that_others_cannot_reach_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Config.model_validate({"join_listen": address})


def test_an_address_of_version_six_has_brackets() -> None:
    assert host_and_port("[fd00::1]:9600") == ("fd00::1", 9600)
