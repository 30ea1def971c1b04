"""The commands, as processes, against a hub on this computer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdv2_host.models.imports import register_part
from tests.models.hub import Fault, ToyHub
from tests.models.toys import SMALL, TOYS, toy_store

Done = subprocess.CompletedProcess[str]


class Shell:
    """Runs `sdv2-host models` with everything of it in one folder."""

    def __init__(self, folder: Path, hub: ToyHub) -> None:
        self.store = toy_store(folder)
        self._catalogue = folder / "toys.json"
        self._catalogue.write_text(TOYS.model_dump_json())
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_HOME": str(folder),
            "HF_ENDPOINT": hub.address,
        }

    def start(self, verb: str, *args: str, **env: str) -> subprocess.Popen[str]:
        places = ["--models-dir", str(self.store.models_dir), "--catalogue", str(self._catalogue)]
        return subprocess.Popen(
            [sys.executable, "-m", "sdv2_host", "models", verb, *args, *places],
            env={**self._env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, verb: str, *args: str, **env: str) -> Done:
        process = self.start(verb, *args, **env)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return Done(process.args, process.returncode, out, err)

    def states(self) -> dict[str, str]:
        rows = json.loads(self.run("list", "--json").stdout)
        return {part["role"]: part["state"] for part in rows[1]["parts"]}


@pytest.fixture
def shell(hub: ToyHub, tmp_path: Path) -> Shell:
    return Shell(tmp_path, hub)


def faults(done: Done) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("sdv2-host: ")]


def wait_for_partial(cache: Path) -> None:
    """Until some of a file has come."""
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size for path in cache.rglob("*.incomplete")):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.01)


def test_a_model_comes_is_sound_and_goes(shell: Shell, hub: ToyHub) -> None:
    assert set(shell.states().values()) == {"missing"}

    pulled = shell.run("pull", "wan-1.3b")
    assert pulled.returncode == 0, pulled.stderr
    assert "5 files, 600.1 kB to load" in pulled.stderr
    assert "model.pt: 100%" in pulled.stderr
    assert pulled.stdout.splitlines()[-1] == "next: sdv2-host run --engine wan-1.3b"

    hub.requests.clear()
    again = shell.run("pull", "wan-1.3b", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert "nothing to load" in again.stderr
    assert hub.requests == []

    table = shell.run("list").stdout
    assert "ready: sdv2-host run --engine wan-1.3b" in table
    assert "to do: sdv2-host models pull wan-14b" in table
    assert set(shell.states().values()) == {"installed"}

    verified = shell.run("verify")
    assert verified.returncode == 0, verified.stderr
    assert [line.split()[0] for line in verified.stdout.splitlines()] == ["ok"] * 5

    unasked = shell.run("rm", "wan-1.3b")
    assert unasked.returncode == 2
    assert "say --yes" in faults(unasked)[0]

    removed = shell.run("rm", "wan-1.3b", "--yes")
    assert removed.returncode == 0, removed.stderr
    assert removed.stdout.splitlines()[-1] == "freed 600.1 kB"
    assert set(shell.states().values()) == {"missing"}


def test_a_damaged_file_is_named_and_repaired(shell: Shell) -> None:
    shell.run("pull", "wan-1.3b")
    dit = shell.store.statuses(TOYS.entry("wan-1.3b"))[0].path
    assert dit is not None
    dit.resolve().write_bytes(SMALL[:-1] + b"?")

    verified = shell.run("verify", "wan-1.3b")
    repaired = shell.run("pull", "wan-1.3b", "--repair")

    assert verified.returncode == 5
    assert "damaged  toys/stream/small/model.pt" in verified.stdout
    assert faults(verified)[0].endswith("run sdv2-host models pull wan-1.3b --repair")
    assert repaired.returncode == 0, repaired.stderr
    assert dit.read_bytes() == SMALL


def test_ctrl_c_leaves_what_the_next_pull_goes_on_with(shell: Shell, hub: ToyHub) -> None:
    hub.faults = [Fault(cut_after=200_000, stalls=True)]
    process = shell.start("pull", "wan-1.3b")
    wait_for_partial(shell.store.cache.root)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    pulled = shell.run("pull", "wan-1.3b")

    assert process.returncode == 130
    assert err.splitlines()[-1] == (
        "sdv2-host: interrupted; sdv2-host models pull wan-1.3b goes on where it stopped"
    )
    assert pulled.returncode == 0, pulled.stderr
    taken_up = [get for get in hub.gets() if get.range is not None]
    assert [get.path for get in taken_up] == ["/bytes/toys/stream/small/model.pt"]


def test_parts_can_be_left_out(shell: Shell) -> None:
    shell.run("pull", "wan-1.3b", "--no-text")

    assert shell.states() == {
        "dit": "installed",
        "vae": "installed",
        "text": "missing",
        "tokenizer": "missing",
    }
    assert shell.run("verify", "wan-1.3b").returncode == 0


def test_another_revision_is_loaded_where_it_is_asked_for(shell: Shell, hub: ToyHub) -> None:
    hub.commit = "d" * 40
    hub.files = {
        key: file for key, file in hub.files.items() if key.startswith("toys/stream/small")
    }

    refused = shell.run("pull", "wan-1.3b", "--no-text")
    pulled = shell.run("pull", "wan-1.3b", "--no-text", "--revision", "main")

    assert refused.returncode == 5
    assert "try --revision main" in faults(refused)[0]
    assert "toys/wan/Wan2.1_VAE.pth" in faults(pulled)[0]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("pull", "wan-3b"), 2, "unknown model, known are tiny, wan-1.3b, wan-14b"),
        (("pull", "wan-1.3b", "--revision", "../up"), 2, "expected a commit, branch or tag"),
        (("verify", "wan-1.3b"), 5, "not there"),
        (("rm", "nothing"), 2, "unknown model"),
        (("import", "/nowhere/at/all"), 5, "no such file or folder"),
    ],
)
def test_errors_are_one_line(args: tuple[str, ...], code: int, says: str, shell: Shell) -> None:
    done = shell.run(*args)

    assert done.returncode == code
    assert len(faults(done)) == 1
    assert says in faults(done)[0]


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "not in the cache, and HF_HUB_OFFLINE is set"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "no connection to http://127.0.0.1:9"),
    ],
)
def test_without_a_hub_a_pull_is_one_line(env: dict[str, str], says: str, shell: Shell) -> None:
    done = shell.run("pull", "wan-1.3b", **env)

    assert done.returncode == 5
    assert faults(done) == done.stderr.splitlines()
    assert says in faults(done)[0]


def test_the_token_of_the_environment_is_used(shell: Shell, hub: ToyHub) -> None:
    hub.token = "hf_secret"

    without = shell.run("pull", "wan-1.3b", "--no-text")
    with_it = shell.run("pull", "wan-1.3b", "--no-text", HF_TOKEN="hf_secret")

    assert without.returncode == 5
    assert "run hf auth login or set HF_TOKEN" in faults(without)[0]
    assert with_it.returncode == 0, with_it.stderr


def test_imported_parts_are_listed_kept_and_not_pulled(
    shell: Shell, hub: ToyHub, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.pt"
    mine.write_bytes(SMALL)
    register_part(shell.store, "dit-1.3b", mine)

    pulled = shell.run("pull", "wan-1.3b", "--no-text")
    listed = shell.run("list").stdout
    removed = shell.run("rm", "wan-1.3b", "--yes")

    assert pulled.returncode == 0, pulled.stderr
    assert not any("model.pt" in request.path for request in hub.requests)
    assert f"imported from {mine}" in listed
    assert "your file stays" in removed.stdout
    assert mine.read_bytes() == SMALL


def test_the_embedded_model_needs_no_pull(shell: Shell) -> None:
    done = shell.run("pull", "tiny")

    assert done.returncode == 0
    assert "built in" in done.stdout
