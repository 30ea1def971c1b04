"""Checks of what a host needs around it, given what other machines have; and the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sdv2_host.checkup import ports, rings
from sdv2_host.checkup.finding import Finding, Subject, Verdict
from sdv2_host.checkup.outputs import camera_finding, loopback_devices, obs_findings
from sdv2_host.checkup.places import (
    free_minutes,
    kept_finding,
    recordings_finding,
    room_finding,
    run_folder_finding,
    why_not_writable,
)
from sdv2_host.cli import main
from sdv2_host.config import Config
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.ipc.shm import SegmentStore
from sdv2_host.obs.build import Plugin
from sdv2_host.obs.find import ObsInstall
from sdv2_host.obs.install import put
from sdv2_host.sinks.raw_feed import listen
from sdv2_host.types import Size
from tests.hosts import SHM

OK, WARNING, TROUBLE = Verdict
not_as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
linux_only = pytest.mark.skipif(not SHM.is_dir(), reason="segments are files on Linux alone")


def verdicts(findings: Sequence[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


def only(findings: Sequence[Finding]) -> Finding:
    (finding,) = findings
    return finding


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


def test_the_feeds_port_is_free_though_a_player_was_there_a_minute_ago() -> None:
    with listen(0) as feed, socket.create_connection(feed.getsockname()) as player:
        port = feed.getsockname()[1]
        feed.settimeout(20)
        feed.accept()[0].close()  # first, as a host that ends does: the system keeps the port
        player.recv(1)

    assert ports.feed_port_finding(Config(obs_port=port), []).verdict is OK


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


@not_as_root
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

    assert free_minutes(2 * 2**30, Config()) == pytest.approx(
        4 * free_minutes(2 * 2**30, Config(width=512, height=512))
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
