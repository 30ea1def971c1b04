"""Each check, given what it would find on machines that are not here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sdv2_host.checkup import model_files, ports, rings
from sdv2_host.checkup.device import (
    driver_findings,
    engine_findings,
    fps_finding,
    read_cards,
)
from sdv2_host.checkup.finding import Finding, Subject, Verdict
from sdv2_host.checkup.machine import (
    GIB,
    Memory,
    clock_finding,
    core_findings,
    governors,
    memory_findings,
    power_finding,
)
from sdv2_host.checkup.outputs import camera_finding, loopback_devices, obs_findings
from sdv2_host.checkup.places import (
    free_minutes,
    kept_finding,
    recordings_finding,
    room_finding,
    run_folder_finding,
    why_not_writable,
)
from sdv2_host.checkup.software import package_findings, python_finding
from sdv2_host.cli import main
from sdv2_host.config import Config
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.ipc.shm import SegmentStore
from sdv2_host.obs.build import Plugin
from sdv2_host.obs.find import ObsInstall
from sdv2_host.obs.install import put
from sdv2_host.params import Params
from sdv2_host.types import Size
from tests.hosts import SHM

OK, WARNING, TROUBLE = Verdict
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
linux_only = pytest.mark.skipif(not SHM.is_dir(), reason="segments are files on Linux alone")


def verdicts(findings: Sequence[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


def only(findings: Sequence[Finding]) -> Finding:
    (finding,) = findings
    return finding


# software


def test_an_old_python_is_trouble_and_the_needed_one_is_named() -> None:
    assert python_finding("3.11.7", ">=3.11,<3.14").verdict is OK
    old = python_finding("3.9.1", ">=3.11,<3.14")
    assert old.verdict is TROUBLE
    assert ">=3.11,<3.14" in old.seen


def test_packages_are_held_against_what_is_needed() -> None:
    needs = ["numpy>=1.26", "torch<2.16,>=2.11", 'zeroconf>=0.130; extra == "discovery"']
    there = {"numpy": "1.27.0", "torch": "2.13.0+cpu", "zeroconf": "0.154"}
    old = {"numpy": "1.20", "torch": "2.13.0"}

    fine, wrong = list(package_findings(needs, there.get)), list(package_findings(needs, old.get))
    empty = next(iter(package_findings(needs, {}.get)))

    assert verdicts(fine) == [OK, OK]
    assert "zeroconf 0.154" in fine[1].seen
    assert verdicts(wrong) == [TROUBLE, OK]
    assert wrong[0].seen == "numpy is 1.20, needed is >=1.26"
    assert "pip install 'sdv2-host[discovery]'" in wrong[1].seen
    assert empty.seen == "numpy is missing; torch is missing"


def test_packages_of_developers_are_nobodys_trouble() -> None:
    found = list(package_findings(['ruff>=0.8; extra == "dev"'], {}.get))

    assert [one.subject for one in found] == ["packages"]


# computer


def test_a_busy_processor_and_a_slow_governor_are_told() -> None:
    assert verdicts(list(core_findings(8, 0.05, {"performance"}))) == [OK, OK]
    assert verdicts(list(core_findings(8, 0.9, set()))) == [WARNING]
    assert verdicts(list(core_findings(1, 0.0, set()))) == [WARNING]
    assert verdicts(list(core_findings(8, 0.0, {"powersave"}))) == [OK, WARNING]


def test_governors_are_read_from_each_core(tmp_path: Path) -> None:
    for number, governor in enumerate(("powersave", "performance")):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")

    assert governors(tmp_path) == {"powersave", "performance"}
    assert governors(tmp_path / "none") == set()


def test_memory_that_the_engine_wants_is_not_there() -> None:
    assert verdicts(list(memory_findings("tiny", Memory(16 * GIB, 8 * GIB, 0, 0)))) == [OK]
    little = only(list(memory_findings("wan-14b", Memory(16 * GIB, 8 * GIB, 0, 0))))
    assert little.verdict is TROUBLE
    assert "wants 40 GiB" in little.seen


def test_a_computer_that_swaps_is_told() -> None:
    found = list(memory_findings("tiny", Memory(16 * GIB, 8 * GIB, 4 * GIB, 2 * GIB)))

    assert verdicts(found) == [OK, WARNING]


def test_a_laptop_on_battery_is_told() -> None:
    assert power_finding(True, 80).verdict is OK
    assert power_finding(False, 80).todo == "plug it in"


def test_a_clock_that_is_coarse_or_runs_backwards_is_told() -> None:
    assert clock_finding(100).verdict is OK
    assert clock_finding(15_600_000).verdict is WARNING
    assert clock_finding(-5).verdict is TROUBLE


# card and engine

SMI = """NVIDIA GeForce RTX 4090, 550.54.14, 24564, 1024, 41
NVIDIA A2, 550.54.14, 15356, 300, [N/A]
Unable to read a third card
"""


def test_cards_are_read_from_what_the_driver_prints() -> None:
    cards = read_cards(SMI)

    assert [card.name for card in cards] == ["NVIDIA GeForce RTX 4090", "NVIDIA A2"]
    assert (cards[0].driver, cards[0].total_mib, cards[0].celsius) == ("550.54.14", 24564, 41)
    assert cards[1].celsius is None


def test_no_driver_is_a_fact_unless_a_card_is_asked_for() -> None:
    assert only(list(driver_findings(Config(), None))).verdict is OK
    asked = Config(engine="wan-1.3b", device="cuda:0")
    assert only(list(driver_findings(asked, None))).verdict is TROUBLE


def test_a_hot_card_is_told() -> None:
    hot = read_cards(SMI.replace(", 41", ", 91"))

    assert verdicts(list(driver_findings(Config(), hot))) == [WARNING, OK]
    assert verdicts(list(driver_findings(Config(), read_cards(SMI)))) == [OK, OK]


def facts(**more: Any) -> dict[str, Any]:
    plain = {"torch": "2.13", "build": "CPU", "num_cuda": 0, "problem": "", "compiled": None}
    return {**plain, "device": None, "plan": None, **more}


def test_a_compiled_model_is_told_and_one_that_could_be_is_offered() -> None:
    compiled = list(engine_findings(Config(), facts(compiled=True)))
    plain = list(engine_findings(Config(), facts(compiled=False)))

    assert verdicts(compiled) == verdicts(plain) == [OK, OK]
    assert compiled[1].seen.startswith("compiled for 256x256")
    assert "sdv2-host compile --size 256x256" in plain[1].seen


def test_a_plan_that_does_not_fit_says_what_would() -> None:
    config = Config(engine="wan-1.3b", width=512, height=512)
    card = {"kind": "cuda", "name": "RTX 3060", "total": 12 * GIB, "free": 11 * GIB}
    small = facts(device=card, plan={"total": 9 * GIB, "steps": 4, "advice": ""})
    large = facts(
        device=card, plan={"total": 15 * GIB, "steps": 4, "advice": "--vae taehv fits (9.0 GiB)"}
    )
    slow = facts(device={**card, "kind": "cpu"}, plan={"total": GIB, "steps": 4, "advice": ""})

    assert verdicts(list(engine_findings(config, small))) == [OK, OK]
    assert verdicts(list(engine_findings(config, slow))) == [OK, WARNING]
    found = list(engine_findings(config, large))[1]
    assert (found.verdict, found.todo) == (TROUBLE, "--vae taehv fits (9.0 GiB)")


def test_what_torch_refuses_is_trouble() -> None:
    found = list(engine_findings(Config(), facts(problem="--device cuda:3: no such card")))

    assert found[1].verdict is TROUBLE
    assert found[1].seen == "--device cuda:3: no such card"


def test_the_speed_is_told_for_a_camera() -> None:
    fast = fps_finding(Config(), Params(steps=2), 60.0, 9.0)
    slow = fps_finding(Config(), Params(steps=1), 20.0, 9.0)

    assert fast.verdict is OK
    assert "engine tiny at 256x256, 2 steps" in fast.seen
    assert "30 fps camera is kept up with" in fast.seen
    assert slow.verdict is WARNING
    assert "1 step:" in slow.seen


# models


def test_the_embedded_model_is_the_pinned_one() -> None:
    found = model_files.tiny_finding(model_files.TINY_FILE, model_files.TINY_SHA256)

    assert (found.verdict, found.seen) == (OK, "whole, hash right")


def test_one_changed_byte_of_the_model_is_trouble(tmp_path: Path) -> None:
    copy = tmp_path / "tiny.safetensors"
    content = bytearray(model_files.TINY_FILE.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)

    changed = model_files.tiny_finding(copy, model_files.TINY_SHA256)
    missing = model_files.tiny_finding(tmp_path / "none", model_files.TINY_SHA256)

    assert changed.verdict is missing.verdict is TROUBLE
    assert "expected" in changed.seen


def test_a_missing_model_is_trouble_and_its_text_encoder_a_warning(tmp_path: Path) -> None:
    config = Config(engine="wan-1.3b", models_dir=str(tmp_path))

    found = model_files.check_models(config, "ghibli:0.5", reads_all=False)

    by_subject = {one.subject: one.verdict for one in found}
    assert by_subject["wan-1.3b DiT"] is TROUBLE
    assert by_subject["wan-1.3b text encoder"] is WARNING
    assert "wan-1.3b TAEHV" not in by_subject  # --vae wan does without
    assert by_subject["LoRA ghibli"] is TROUBLE


# shared memory


def test_rings_of_the_wanted_sizes_are_really_made() -> None:
    found = rings.check_round_trip(Config())

    assert verdicts(found) == [OK, OK]
    assert [one.subject for one in found] == ["ring of 1920x1080", "ring of 256x256"]


@linux_only
def test_nothing_is_left_of_a_ring_that_was_tried(run_dir: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shm"
    shared.mkdir()

    found = rings.round_trip(run_dir, SegmentStore(shared), Size(64, 64), 4)

    assert found.verdict is OK
    assert list(shared.iterdir()) == list(run_dir.iterdir()) == []


def test_rings_in_files_are_made_too() -> None:
    assert verdicts(rings.check_round_trip(Config(file_rings=True))) == [OK, OK]


@linux_only
def test_a_ring_that_cannot_be_made_is_trouble_and_says_why(run_dir: Path) -> None:
    found = rings.round_trip(run_dir, SegmentStore(run_dir / "none"), Size(64, 64), 4)

    assert found.verdict is TROUBLE
    assert "shared memory is full or not usable" in found.seen


def test_room_in_shared_memory_is_judged_by_what_a_host_wants() -> None:
    needed = rings.needed_bytes(Config())

    assert needed > 4 * 1920 * 1080 * 4
    assert rings.needed_bytes(Config(engine="passthrough")) > needed
    assert rings.space_finding(needed, 10 * needed, "x").verdict is OK
    assert rings.space_finding(needed, None, "the page file").verdict is OK
    assert rings.space_finding(needed, needed + 1, "x").verdict is WARNING
    assert rings.space_finding(needed, needed - 1, "x").verdict is TROUBLE


def test_what_a_dead_host_left_is_named_and_what_a_living_one_has_is_not(run_dir: Path) -> None:
    with FrameWriter("alive", run_dir=run_dir), FrameWriter("dead", run_dir=run_dir):
        (run_dir / "dead.lock").rename(run_dir / "freed")

        assert rings.dead_streams(run_dir) == ["dead"]

    assert verdicts(list(rings.leftover_findings(["dead"]))) == [WARNING]


# network

NETSH = """
Protocol tcp Port Exclusion Ranges

Start Port    End Port
----------    --------
      5357        5357
      9350        9449
     50000       50059     *

* - Administered port exclusions.
"""


def host_at(port: int) -> HostFile:
    return HostFile(4711, "stage1", "127.0.0.1", port, "", "0.1.0", 0)


def test_ports_that_windows_keeps_are_read_in_any_language() -> None:
    assert list(ports.read_ranges(NETSH)) == [(5357, 5357), (9350, 9449), (50000, 50059)]
    assert list(ports.read_ranges("nichts\n")) == []


def test_a_port_that_windows_keeps_is_trouble_before_it_is_tried() -> None:
    found = ports.control_port_finding(Config(port=9400), [], list(ports.read_ranges(NETSH)))

    assert found.verdict is TROUBLE
    assert "9350 to 9449" in found.seen


def test_the_port_of_a_running_host_is_told_to_be_its() -> None:
    found = ports.control_port_finding(Config(port=9400), [host_at(9400)], [])

    assert found.verdict is WARNING
    assert "host stage1 (process 4711)" in found.seen


def test_a_free_port_is_free_and_a_taken_one_trouble() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert ports.control_port_finding(Config(port=port), [], []).verdict is TROUBLE
        assert ports.feed_port_finding(Config(obs_port=port), []).verdict is WARNING

    assert ports.control_port_finding(Config(port=0), [host_at(1)], []).verdict is OK


def test_an_open_host_is_told_of_firewalls_and_a_closed_one_of_senders_that_do_not_reach_it() -> (
    None
):
    assert ports.reach_finding(Config()).verdict is OK
    assert "firewall" in ports.reach_finding(Config(listen="0.0.0.0")).todo
    assert ports.reach_finding(Config(osc_from="10.0.0.5")).verdict is WARNING


# folders


def test_a_run_directory_that_others_can_read_is_trouble(tmp_path: Path) -> None:
    private = tmp_path / "run"
    private.mkdir(mode=0o700)

    assert run_folder_finding(private).verdict is OK
    assert "made at the first start" in run_folder_finding(tmp_path / "later" / "run").seen
    if os.name == "posix":
        private.chmod(0o755)
        assert run_folder_finding(private).verdict is TROUBLE


@as_root
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)

    assert why_not_writable(folder / "below")
    assert kept_finding("presets", folder).verdict is WARNING
    assert recordings_finding(folder, Config()).verdict is WARNING


def test_looking_at_a_folder_leaves_nothing_in_it(tmp_path: Path) -> None:
    found = recordings_finding(tmp_path / "takes", Config())

    assert "GiB free" in found.seen
    assert list(tmp_path.iterdir()) == []


def test_room_for_recordings_is_told_in_time() -> None:
    subject = Subject("Folders", "recordings")

    assert free_minutes(2 * GIB, Config()) == pytest.approx(
        4 * free_minutes(2 * GIB, Config(width=512, height=512))
    )
    judged = {
        minutes: room_finding(subject, Path("x"), 1, minutes).verdict
        for minutes in (10.0, 60.0, 500.0)
    }
    assert judged == {10.0: WARNING, 60.0: WARNING, 500.0: OK}


# outputs


@pytest.mark.parametrize(
    ("wants", "has_package", "devices", "verdict"),
    [
        (True, True, ["/dev/video10"], OK),
        (True, True, [], TROUBLE),
        (True, False, ["/dev/video10"], TROUBLE),
        (False, False, [], OK),
    ],
)
def test_a_camera_that_is_missing_is_trouble_only_where_it_is_asked_for(
    wants: bool, has_package: bool, devices: list[str], verdict: Verdict
) -> None:
    assert camera_finding(Config(virtual_camera=wants), has_package, devices).verdict is verdict


def test_virtual_cameras_are_told_from_others(tmp_path: Path) -> None:
    for name in ("video10", "video2", "other"):
        (tmp_path / name).mkdir()

    assert loopback_devices(tmp_path) == ["/dev/video10", "/dev/video2"]


@pytest.fixture
def installed(tmp_path: Path) -> tuple[ObsInstall, Path]:
    """An OBS with a plug-in that `obs install` put there, and its receipt."""
    binary, data = tmp_path / "sdv2.so", tmp_path / "data"
    binary.write_bytes(b"plug-in")
    data.mkdir()
    (data / "en-US.ini").write_text("x")
    obs, receipt = ObsInstall("OBS 32", 32, tmp_path / "plugins"), tmp_path / "receipt.json"
    put(obs, Plugin(binary, data), receipt, lambda line: None)
    return obs, receipt


def test_a_plugin_is_right_as_it_was_installed_and_wrong_once_it_is_changed(
    installed: tuple[ObsInstall, Path],
) -> None:
    obs, receipt = installed

    before = only(list(obs_findings([obs], receipt)))
    next(path for path in obs.plugins.rglob("sdv2.so")).write_bytes(b"older")
    changed = only(list(obs_findings([obs], receipt)))
    shutil.rmtree(obs.plugins)
    gone = only(list(obs_findings([obs], receipt)))

    assert before.verdict is OK
    assert "2 files, as they were installed" in before.seen
    assert changed.verdict is gone.verdict is WARNING


def test_obs_without_plugin_and_no_obs_are_facts(tmp_path: Path) -> None:
    obs, receipt = ObsInstall("OBS 32", 32, tmp_path / "plugins"), tmp_path / "receipt.json"

    assert verdicts(list(obs_findings([obs], receipt))) == [OK]
    assert verdicts(list(obs_findings([], receipt))) == [OK]


# the command


@pytest.fixture
def terminates() -> Iterator[None]:
    """The command line sets a handler of its own, which tests after this must not have."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("terminates")
def test_the_doctor_prints_json_and_a_table_and_exits_by_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--engine", "passthrough", "--data-dir", str(tmp_path), "--quick")
    monkeypatch.setattr(sys, "argv", ["sdv2-host", "doctor", "--json", "--port", "0", *options])
    code = main()

    printed = json.loads(capsys.readouterr().out)
    groups = {finding["group"] for finding in printed["findings"]}
    troubles = [one for one in printed["findings"] if one["verdict"] == "trouble"]
    assert (code, troubles) == (0, [])
    assert {"Software", "Computer", "Shared memory", "Network", "Folders"} <= groups
    assert printed["config"]["engine"] == "passthrough"
    assert list(tmp_path.iterdir()) == []
