"""`sdv2-host obs` as a user types it, against a small OBS of our own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import sdv2_host, unique_name
from tests.obs.fake_obs import FakeObs

SECRET = "tr0ub4dor"


@pytest.fixture
def obs() -> Iterator[FakeObs]:
    with FakeObs(password=SECRET) as fake:
        fake.studio.add_plugin()
        yield fake


def command(obs: FakeObs, *args: str) -> subprocess.CompletedProcess[str]:
    return sdv2_host("obs", *args, "--address", f"127.0.0.1:{obs.port}")


def test_a_host_that_does_not_run_yet_can_be_set_up(obs: FakeObs) -> None:
    name = unique_name()

    done = command(obs, "setup", "--name", name, "--password", SECRET)

    assert done.returncode == 0
    assert f"host {name} is not running: OBS will show it when it is" in done.stdout
    assert f"StreamDiffusion {name}" in obs.studio.inputs


def test_port_and_size_can_be_given_where_the_host_does_not_run(obs: FakeObs) -> None:
    name = unique_name()
    given = ("--no-plugin", "--obs-port", "9410", "--size", "1920x1080")

    done = command(obs, "setup", "--name", name, "--password", SECRET, *given)

    _, settings = obs.studio.inputs[f"StreamDiffusion {name} (no plugin)"]
    assert done.returncode == 0
    assert settings["input"] == "http://127.0.0.1:9410/1920x1080"


def test_the_config_file_has_address_and_password(obs: FakeObs, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[obs]\naddress = "127.0.0.1:{obs.port}"\npassword_file = "{tmp_path / "secret"}"\n'
    )

    done = sdv2_host("obs", "status", "--json", "--config", str(config))

    assert json.loads(done.stdout)["obs"]["has_plugin"] is True
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("setup", "--password", "wrong"), 11, "refuses the password"),
        (("setup",), 11, "wants a password"),
        (("setup", "--name", "UP"), 2, "--name 'UP'"),
        (("setup", "--size", "big"), 2, "--size 'big': expected WIDTHxHEIGHT"),
        (("status", "--password-file", "/nonexistent"), 2, "cannot read the password of OBS"),
    ],
)
def test_a_mistake_is_one_line(obs: FakeObs, args: tuple[str, ...], code: int, text: str) -> None:
    name = () if "--name" in args or args[0] == "status" else ("--name", unique_name())

    done = command(obs, *args, *name)

    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert done.stderr.count("\n") == 1
