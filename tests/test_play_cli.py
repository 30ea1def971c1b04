"""The commands that play a running daemon, against a real one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pythonosc.udp_client import SimpleUDPClient

from sdv2_host.commands.play import status_text
from sdv2_host.ipc.run_dir import default_run_dir
from sdv2_host.param_table import BY_ADDRESS
from sdv2_host.status import HostState, HostStatus, LatencyBudget, StageMs, StagesMs
from tests.hosts import RunningHost, sdv2_host, unique_name


class Host(NamedTuple):
    name: str
    port: int
    data: Path

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        return sdv2_host(*args, "--name", self.name)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    name, data = unique_name(), tmp_path_factory.mktemp("data")
    options = ("--engine", "passthrough", "--port", "0", "--data-dir", str(data))
    with RunningHost("run", "--name", name, *options) as running:
        port = int(re.search(r":(\d+)/", running.wait_for("control page"))[1])  # type: ignore[index]
        yield Host(name, port, data)


def test_set_and_get_by_name_and_address(host: Host) -> None:
    done = host("set", "steps=3", "/sdv2/noise/s_max=0.75", "freeze=on")

    assert done.stdout.splitlines() == ["steps = 3", "noise_s_max = 0.75", "freeze = on"]
    assert host("get", "/sdv2/steps").stdout == "3\n"
    assert json.loads(host("get", "steps", "freeze", "--json").stdout) == {
        "steps": 3,
        "freeze": True,
    }
    host("resume")


def test_an_engine_that_is_not_installed_is_refused_with_the_reason(host: Host) -> None:
    for _ in range(2):
        done = host("set", "engine=wan-14b")

        assert done.returncode == 2
        assert "sdv2-host models pull wan-14b" in done.stderr
        assert host("get", "engine").stdout == "as-started\n"
    assert "problem" in host("status").stdout
    assert host("set", "engine=as-started").returncode == 0
    assert "problem" not in host("status").stdout


def test_what_is_out_of_range_is_clamped_and_told(host: Host) -> None:
    done = host("set", "steps=9")

    assert (done.returncode, done.stdout) == (0, "steps = 4\n")
    assert "expected 1..4" in done.stderr


def test_what_cannot_be_understood_is_refused_and_the_rest_is_done(host: Host) -> None:
    done = host("set", "steps=many", "seed=5")

    assert (done.returncode, done.stdout) == (2, "seed = 5\n")
    assert "'many', expected 1..4" in done.stderr


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["set", "steps"], "expected NAME=VALUE"),
        (["set", "stepz=1"], "unknown parameter 'stepz'; did you mean steps?"),
        (["get", "/sdv2/stepz"], "did you mean /sdv2/steps?"),
        (["get", "wibble"], "unknown parameter 'wibble'; sdv2-host params lists all"),
        (["preset", "load", "nowhere"], "no preset 'nowhere'"),
        (["preset", "save", "../up"], "expected 1 to 64 letters"),
        (["cue", "go"], "no cue list is loaded"),
        (["osc", "learn", "prompt"], "cannot be learnt"),
        (["prompt", "x", "--deck", "c"], "--deck c: expected a or b"),
    ],
)
def test_a_mistake_is_one_line(host: Host, args: list[str], text: str) -> None:
    done = host(*args)

    assert done.returncode == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "args", [["set", "mix=0"], ["prompt", "x"], ["preset", "load", "neon rain"]]
)
@pytest.mark.parametrize("fade", ["-3", "999", "nan"])
def test_a_fade_out_of_range_is_refused_with_what_is_allowed(
    host: Host, args: list[str], fade: str
) -> None:
    done = host(*args, "--fade", fade)

    assert done.returncode == 2
    assert done.stderr == f"sdv2-host: --fade {fade}: expected 0..120 seconds\n"


def test_what_waits_for_the_beat_is_said_to(host: Host) -> None:
    host("set", "quantize=4 bars", "bpm=20")

    waiting = host("prompt", "later")
    preset = host("preset", "load", "film noir")

    host("set", "quantize=off", "bpm=120")
    assert (waiting.returncode, waiting.stdout) == (0, "prompt waits for the beat (quantize)\n")
    assert preset.stdout == "preset Film Noir waits for the beat\n"
    assert host("get", "prompt").stdout == "noir\n"


def test_prompts_go_to_their_deck(host: Host) -> None:
    assert host("prompt", "neon:2 | gold:1").stdout == "prompt = neon:2 | gold:1\n"
    assert host("prompt", "watercolor", "--deck", "b", "--fade", "1").returncode == 0
    assert host("get", "prompt_b").stdout == "watercolor\n"


def test_presets_and_cues_are_run_from_the_shell(host: Host) -> None:
    assert "Neon Rain" in host("preset", "list").stdout
    assert host("preset", "load", "neon rain", "--fade", "0").stdout == "preset Neon Rain\n"
    assert "* Neon Rain" in host("preset", "list").stdout
    assert host("cue", "load", "first night").stdout == "cue list First night, 8 cues\n"
    assert host("cue", "go").stdout == "cue 1 doors\n"
    assert json.loads(host("cue", "list", "--json").stdout)["next_cue"] == "2"


def test_panic_and_resume(host: Host) -> None:
    assert "safe picture" in host("panic").stdout
    assert host("get", "panicked").stdout == "on\n"
    assert host("resume").stdout == "resumed\n"
    assert host("get", "panicked").stdout == "off\n"


def test_status_tells_and_its_exit_code_is_zero_only_while_live(host: Host) -> None:
    done = host("status", "--json")

    answer = json.loads(done.stdout)
    assert (done.returncode, answer["state"]) == (1, "waiting")
    assert (answer["name"], answer["port"]) == (host.name, host.port)
    assert "no frames come in" in host("status").stdout


def test_the_status_names_the_show_that_is_recorded(host: Host) -> None:
    host("set", "record_show=on")
    told = json.loads(host("status", "--json").stdout)["show"]
    text = host("status").stdout
    host("set", "record_show=off")

    assert re.fullmatch(r".*sdv2-[\d-]+\.show", told)
    assert f"\nshow      recorded to {told}\n" in text
    assert json.loads(host("status", "--json").stdout)["show"] == ""
    assert ".show" not in host("status").stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["/sdv2/seed"], "/sdv2/seed 4321"),
        (["/sdv2/norm/output/mix", "?"], "/sdv2/norm/output/mix 1"),
        (["/sdv2/see[d]"], "/sdv2/seed 4321"),
    ],
)
def test_a_question_by_osc_is_answered_on_the_terminal(
    host: Host, args: list[str], said: str
) -> None:
    host("set", "seed=4321", "freeze=off", "mix=1")

    done = host("osc", "send", *args)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{said}\n", "")


def test_all_values_are_answered_and_a_subscription_ends(host: Host) -> None:
    dump = host("osc", "send", "/sdv2/dump").stdout.splitlines()
    subscribed = host("osc", "send", "/sdv2/subscribe")

    assert {line.split()[0] for line in dump} >= {*BY_ADDRESS}
    assert subscribed.returncode == 0
    assert "/sdv2/status/state " in subscribed.stdout


def test_what_the_host_obeys_has_no_answer(host: Host) -> None:
    done = host("osc", "send", "/sdv2/seed", "77")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert host("get", "seed").stdout == "77\n"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["nope"], "'nope' is no OSC address: expected one that begins with '/'"),
        (["", "1"], "'' is no OSC address"),
        (["/sdv2/noise/s_max", "abc"], "/sdv2/noise/s_max = 'abc', expected 0..1"),
        (["/sdv2/preset/load", "nowhere"], "/sdv2/preset/load: no preset 'nowhere'"),
        (["/sdv2/stepz", "1"], "/sdv2/stepz: no such address; did you mean /sdv2/steps?"),
        (["/sdv2/stepz", "1"], "'/sdv2/stepz' ignored: no such address"),  # answered only once
    ],
)
def test_what_the_host_refuses_by_osc_is_one_line_with_the_reason(
    host: Host, args: list[str], reason: str
) -> None:
    done = host("osc", "send", *args)

    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_monitor_shows_what_arrives_what_changes_and_each_refusal(host: Host) -> None:
    command = [sys.executable, "-m", "sdv2_host", "osc", "monitor", "--name", host.name]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    assert watching.stderr is not None
    try:
        assert host.name in watching.stderr.readline()
        for _ in range(2):
            host("osc", "send", "/sdv2/seed", "1234")
            host("osc", "send", "/sdv2/sead", "1")
        host("set", "seed=1235")
        lines: list[str] = []
        while not lines or "1235" not in lines[-1]:
            lines.append(watching.stdout.readline())
    finally:
        watching.send_signal(signal.SIGINT)
        rest = watching.communicate(timeout=20)
    text = "".join(lines)
    assert (watching.returncode, rest) == (130, ("", ""))
    # The second 1234 changes nothing, and the second refusal is in no log: both are seen here.
    assert len(re.findall(r"osc 127\.0\.0\.1:\d+ +/sdv2/seed 1234$", text, re.M)) == 2
    assert len(re.findall(r"osc 127\.0\.0\.1:\d+ +/sdv2/seed = 1234$", text, re.M)) == 1
    assert len(re.findall("'/sdv2/sead' ignored: no such address", text)) == 2
    assert re.search(r"api +/sdv2/seed = 1235$", text, re.M)


def test_an_address_is_learnt_listed_and_forgotten(host: Host) -> None:
    command = [sys.executable, "-m", "sdv2_host", "osc", "learn", "mix", "--name", host.name]
    learning = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert learning.stdout is not None
    learning.stdout.readline()
    fader = SimpleUDPClient("127.0.0.1", host.port)
    fader.send_message("/1/fader1", 0.25)
    line = learning.stdout.readline()
    fader.send_message("/1/fader1", 127.0)
    assert line == "/1/fader1 plays mix; move it from end to end\n"
    assert learning.wait(timeout=30) == 0

    assert host("get", "mix").stdout == "1\n"
    assert re.search(r"/1/fader1 +0\.\.127 +plays mix", host("osc", "learn").stdout)
    assert host("osc", "learn", "--remove", "/1/fader1").returncode == 0
    assert "nothing was learnt" in host("osc", "learn").stdout


def test_without_a_host_every_command_says_so() -> None:
    done = sdv2_host("panic", "--name", unique_name())

    assert done.returncode == 10
    assert "start one with sdv2-host run" in done.stderr


def test_a_host_that_hangs_is_given_up_with_what_to_do(tmp_path: Path) -> None:
    name = unique_name()
    options = ("--engine", "passthrough", "--port", "0", "--data-dir", str(tmp_path))
    with RunningHost("run", "--name", name, *options) as hung:
        hung.wait_for("control page")
        os.kill(hung.process.pid, signal.SIGSTOP)
        begin = time.monotonic()

        done = sdv2_host("panic", "--name", name)

        took_s = time.monotonic() - begin
        os.kill(hung.process.pid, signal.SIGCONT)
    assert done.returncode == 10
    assert took_s < 15
    assert "did not answer in 5 s" in done.stderr
    assert f"end process {hung.process.pid}" in done.stderr


def test_a_host_file_that_others_can_read_is_not_believed(tmp_path: Path) -> None:
    name = unique_name()
    options = ("--engine", "passthrough", "--port", "0", "--data-dir", str(tmp_path))
    with RunningHost("run", "--name", name, *options) as running:
        running.wait_for("control page")
        file = default_run_dir() / f"{name}.host"
        file.chmod(0o644)

        done = sdv2_host("panic", "--name", name)

        file.chmod(0o600)
    assert done.returncode == 3
    assert "expected 0 and 600" in done.stderr.replace(str(os.getuid()), "0")


def test_the_state_survives_a_kill_and_a_restart(tmp_path: Path) -> None:
    name = unique_name()
    options = (
        "--name",
        name,
        "--engine",
        "passthrough",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path),
    )
    state = tmp_path / "state" / f"{name}.json"
    with RunningHost("run", *options) as first:
        first.wait_for("control page")
        sdv2_host("set", "prompt=kept", "seed=77", "blackout=on", "--name", name)
        deadline = time.monotonic() + 30
        while not state.exists() or "kept" not in state.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()

    with RunningHost("run", *options, "--seed", "5") as second:
        second.wait_for("control page")
        values = json.loads(sdv2_host("get", "--json", "--name", name).stdout)

    assert (values["prompt"], values["seed"], values["blackout"]) == ("kept", 5, False)


def test_the_shell_starts_without_torch_or_aiohttp() -> None:
    code = (
        "import sys, sdv2_host.cli, sdv2_host.commands.play, sdv2_host.commands.client;"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"torch", "aiohttp", "av", "transformers"} & set(done.stdout.split())


def test_status_says_where_the_latency_goes() -> None:
    stages_ms = StagesMs(wait=StageMs(30.0, 28.4, 50.0, 60.0), publish=StageMs(2.0, 2.0, 2.0, 3.0))
    budget = LatencyBudget(stages_ms, "wait", "input", "wait takes 30 of 32 ms")
    told = HostStatus(HostState.LIVE, "fine", "tiny", None, budget=budget).to_json()
    older = {key: value for key, value in told.items() if key != "budget"}

    lines = status_text({**told, "name": "h"}).splitlines()

    assert lines[-3:-1] == [
        "budget    wait takes 30 of 32 ms",
        "          p50/p95/p99 in ms: wait 28/50/60, publish 2/2/3",
    ]
    assert "budget" not in status_text({**older, "name": "h"})
