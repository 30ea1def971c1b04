"""The command line: bad input is one line on stderr and leaves nothing behind."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdv2_host.cli import main
from sdv2_host.errors import ConfigError, HostError
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.obs.client import ObsError
from sdv2_host.param_table import PARAMS
from sdv2_host.sources.camera import list_cameras
from tests.hosts import descriptors, orphans, sdv2_host, unique_name
from tests.package_trees import PATHS, tree_of
from tests.sources.clips import write_clip, write_sound_only

ROOT = Path(__file__).parents[1]
HEADLESS = ("--headless", "--frames", "5", "--engine", "passthrough", "--port", "0")


Command = Callable[..., int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Runs `sdv2-host ARGS` in this process, for what needs no process of its own."""
    terminate = signal.getsignal(signal.SIGTERM)

    def run(*args: str) -> int:
        monkeypatch.setattr(sys, "argv", ["sdv2-host", *args])
        return main()

    yield run
    signal.signal(signal.SIGTERM, terminate)


def refused(*args: str) -> str:
    """The one line that the command ends with; it leaves no ring and no segment."""
    name = unique_name()
    before = orphans()
    is_demo = args[0] == "demo"

    done = sdv2_host(*args, *(("--name", name, *HEADLESS) if is_demo else ()))

    lines = done.stderr.splitlines()
    assert done.returncode not in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    faults = [line for line in lines if line.startswith("sdv2-host: ")]
    assert len(faults) == 1, done.stderr
    assert faults[0] == lines[-1]
    assert descriptors(name) == []
    assert orphans() <= before
    return faults[0]


def test_the_version_is_that_of_the_project(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert command("--version") == 0
    assert capsys.readouterr().out == f"sdv2-host {project['version']}\n"


BAD_OPTIONS = {
    "steps too many": (["demo", "--steps", "9"], "steps = 9, expected 1..4"),
    "steps no number": (["demo", "--steps", "two"], "'--steps'"),
    "noise not a number": (["demo", "--noise-s-min", "nan"], "= nan, expected 0..1"),
    "noise infinite": (["demo", "--noise-s-max", "inf"], "= inf, expected 0..1"),
    "seed negative": (["demo", "--seed", "-1"], "seed = -1, expected 0..2147483647"),
    "prompt too long": (["demo", "--prompt", "x" * 2001], "at most 2000 characters"),
    "soundcheck of no length": (
        ["soundcheck", "--minutes", "0"],
        "--minutes 0.0: expected 0.1..1440",
    ),
    "style unknown": (["demo", "--style", "baroque"], "unknown style, known are watercolor,"),
    "style and prompt": (["demo", "--style", "neon", "--prompt", "x"], "use one of them"),
    "size odd": (["demo", "--size", "250x130"], "the nearest is --size 256x128"),
    "size no size": (["demo", "--size", "big"], "for example --size 256x256"),
    "size zero": (["demo", "--size", "0x0"], "the nearest is --size 64x64"),
    "shared mem name": (["run", "--touch-shm", "a b"], "up to 27 letters, digits, '-' and '_'"),
    "shared mem too long": (["run", "--touch-shm", "a" * 28], "up to 27 letters"),
    "engine unknown": (
        ["run", "--engine", "warp9"],
        "known are tiny, wan-1.3b, wan-14b, passthrough",
    ),
    "compile unknown": (["run", "--compile", "maybe"], "expected 'auto', 'on' or 'off'"),
    "compile another": (
        ["compile", "--engine", "wan-1.3b"],
        "engine wan-1.3b is not compiled ahead, only tiny is",
    ),
    "compile many": (
        ["run", "--devices", "cpu,cpu", "--compile", "on"],
        "a stream over several devices cannot be compiled",
    ),
    "compile for passthrough": (
        ["run", "--engine", "passthrough", "--compile", "on"],
        "engine passthrough has nothing to compile",
    ),
    "device unknown": (["run", "--device", "gpu"], "expected auto, cpu, mps, cuda or cuda:N"),
    "vae unknown": (["run", "--vae", "tae"], "expected 'wan', 'hybrid' or 'taehv'"),
    "steps without rows": (
        ["run", "--engine", "wan-14b", "--steps", "3"],
        "this host allows 2; add --max-steps 3",
    ),
    "name illegal": (["run", "--name", "../up"], "use 1 to 44 of a-z"),
    "osc port": (["run", "--port", "70000"], "--port 70000"),
    "surfaces port too large": (
        ["surfaces", "write", "--port", "99999"],
        "--port 99999: expected 1..65535",
    ),
    "surfaces port zero": (["surfaces", "write", "--port", "0"], "--port 0: expected 1..65535"),
    "surfaces port negative": (["surfaces", "write", "--port", "-5"], "--port -5: expected 1.."),
    "surfaces host no host": (
        ["surfaces", "write", "--host", "not a host"],
        "--host 'not a host': expected an IP address or a machine's name",
    ),
    "surfaces host with a port": (
        ["surfaces", "write", "--host", "10.0.0.5:9400"],
        "--host '10.0.0.5:9400': expected an IP address or a machine's name without a port",
    ),
    "surfaces host mistyped": (
        ["surfaces", "write", "--host", "10.0.0.300"],
        "--host '10.0.0.300': expected",
    ),
    "surfaces host empty": (["surfaces", "write", "--host", ""], "--host '': expected"),
    "command unknown": (["dance"], "No such command 'dance'"),
    "option unknown": (["run", "--bogus"], "No such option: --bogus"),
    "render to nothing": (["render", "in.mp4"], "Missing argument 'OUT'"),
    "render not mp4": (["render", "in.mp4", "out.gif"], "ends in .mp4"),
}


@pytest.mark.parametrize(("args", "said"), BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_a_bad_option_is_one_line(
    args: list[str],
    said: str,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)

    code = command(*args)

    fault = capsys.readouterr().err
    assert code == 2
    assert not any(tmp_path.iterdir())
    assert fault.startswith("sdv2-host: ")
    assert fault.count("\n") == 1
    assert said in fault


def test_a_recording_of_no_frames_is_one_line() -> None:
    done = sdv2_host("demo", "--headless", "--frames", "0")

    assert (done.returncode, done.stderr) == (2, "sdv2-host: --frames 0: expected 1..1000000\n")


@pytest.fixture
def bad_files(tmp_path: Path) -> Path:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    write_sound_only(tmp_path / "sound.wav")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("missing.mp4", "does not exist"),
        ("empty.mp4", "zero length"),
        ("text.mp4", "not a video"),
        ("sound.wav", "no video stream"),
        (".", "is a directory"),
    ],
)
def test_an_input_that_is_no_video_is_one_line(
    bad_files: Path, file: str, said: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = str(bad_files / file), bad_files / "x.mp4"

    assert said in refused("demo", "--input", path, "--out", str(bad_files / "out"))
    assert command("render", path, str(target), "--engine", "passthrough") == 4
    assert said in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.skipif(bool(list_cameras()), reason="this machine has a camera")
def test_no_camera_is_one_line(tmp_path: Path) -> None:
    assert "no camera was found" in refused("demo", "--input", "camera", "--out", str(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="there it works")
def test_shared_mem_of_touchdesigner_is_refused_where_it_cannot_be(tmp_path: Path) -> None:
    host = ("run", "--engine", "passthrough", "--port", "0", "--data-dir", str(tmp_path))

    fault = refused(*host, "--name", unique_name(), "--touch-shm", "show")

    assert "works on Windows only" in fault
    assert "component in plugins/touchdesigner" in fault


def test_an_output_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "cannot write" in refused("demo", "--out", str(tmp_path / "file" / "d"))
    assert "cannot write" in refused(
        "demo", "--out", str(tmp_path), "--json", str(tmp_path / "file" / "r.json")
    )


def test_rendering_into_the_input_is_refused(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3)
    before = clip.read_bytes()

    assert command("render", str(clip), str(clip)) == 2
    assert "is the input itself" in capsys.readouterr().err
    assert clip.read_bytes() == before


def test_a_second_host_of_the_same_name_is_one_line() -> None:
    name = unique_name()
    with FrameWriter(f"{name}-out"):
        done = sdv2_host("run", "--name", name, "--engine", "passthrough", "--port", "0")

    assert done.returncode == 6
    assert f"{name}-out" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_input_ring_that_somebody_else_writes_is_one_line(tmp_path: Path) -> None:
    name = unique_name()
    with FrameWriter(f"{name}-in"):
        done = sdv2_host("demo", "--name", name, *HEADLESS, "--out", str(tmp_path))

    assert done.returncode == 6
    assert f"{name}-in" in done.stderr.splitlines()[-1]
    assert descriptors(name) == []


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
@pytest.mark.parametrize("command", ["run", "demo"])
def test_a_port_in_use_is_one_line(command: str, kind: socket.SocketKind) -> None:
    name = unique_name()
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = str(taken.getsockname()[1])
        done = sdv2_host(command, "--name", name, "--engine", "passthrough", "--port", port)

    line = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert f"--port {port}" in line
    assert f"process {os.getpid()} " in line or sys.platform != "linux"
    assert "Traceback" not in done.stderr
    assert descriptors(name) == []


def test_an_address_of_another_machine_is_one_line_and_no_host() -> None:
    name = unique_name()
    with tempfile.TemporaryDirectory() as state_dir:
        done = sdv2_host(
            *("run", "--name", name, "--engine", "passthrough", "--port", "0"),
            *("--listen", "192.0.2.1", "--data-dir", state_dir, "--resume", "last"),
        )
        left = [path.name for path in Path(state_dir).rglob("*") if path.is_file()]

    assert done.returncode == 2
    assert "--listen 192.0.2.1 is no address of this machine" in done.stderr.splitlines()[-1]
    assert left == []
    assert descriptors(name) == []


@pytest.mark.parametrize("host", ["192.168.1.20", "::1", "localhost", "stage-1.local", "FOH_1"])
def test_surfaces_are_written_for_any_address_or_name(
    host: str, command: Command, tmp_path: Path
) -> None:
    code = command("surfaces", "write", str(tmp_path), "--host", host, "--port", "65535")

    assert code == 0
    assert f"connect {host} 65535" in (tmp_path / "sdv2.pd").read_text("utf-8")


def test_params_json_is_the_whole_table(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("params", "--json") == 0

    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == PARAMS.keys()
    assert rows["steps"]["maximum"] == 4


def test_every_style_is_listed_with_a_prompt(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("styles", "--json") == 0

    styles = json.loads(capsys.readouterr().out)
    assert len(styles) >= 10
    assert all(isinstance(prompt, str) and prompt for prompt in styles.values())


@pytest.mark.parametrize(
    "words", [[], ["run"], ["demo"], ["render"], ["bench"], ["bench", "quality"], ["params"]]
)
def test_help_is_there_for_every_command(
    words: list[str], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*words, "--help") == 0

    assert "Usage: sdv2-host" in capsys.readouterr().out


def test_help_tells_how_to_play_and_what_exit_codes_mean(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command("--help")

    text = " ".join(capsys.readouterr().out.split())
    assert text.index(" run ") < text.index("Play a running host") < text.index(" panic ")
    assert "10 no host answers" in text


def exit_codes() -> set[int]:
    """Those of all error classes, and of a command that is done or that a signal ends."""
    bodies = [
        node.body
        for module in PATHS
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ClassDef)
    ]
    of_errors = {
        line.value.value
        for line in itertools.chain(*bodies)
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant)
        if isinstance(line.value.value, int) and ast.unparse(line.targets[0]) == "exit_code"
    }
    return {0, 128 + signal.SIGINT, 128 + signal.SIGTERM} | of_errors


def listed_codes(text: str) -> set[int]:
    """The numbers that begin the items of the first list of exit codes in the text."""
    listed = " ".join(text.split()).split("Exit codes: ")[1].split(". ")[0]
    return {int(number) for number in re.findall(r"(?:^|[,;] )(\d+) ", listed)}


def test_every_exit_code_is_listed_in_the_help_and_in_the_docs(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command("--help")

    assert exit_codes() > {HostError.exit_code, ConfigError.exit_code, ObsError.exit_code}
    assert listed_codes(capsys.readouterr().out) == exit_codes()
    assert listed_codes((ROOT / "docs" / "control.md").read_text("utf-8")) == exit_codes()


def test_the_shell_completes_commands() -> None:
    typed = {"COMP_WORDS": "sdv2-host pre", "COMP_CWORD": "1"}

    done = subprocess.run(
        [sys.executable, "-m", "sdv2_host"],
        capture_output=True,
        text=True,
        env=os.environ | typed | {"_SDV2_HOST_COMPLETE": "complete_bash"},
        check=True,
    )

    assert done.stdout.split() == ["preset"]


def test_help_imports_nothing_heavy() -> None:
    probe = (
        "import sys; import sdv2_host.cli; "
        "heavy = ('torch', 'av', 'aiohttp', 'asyncio', 'numpy', 'PIL'); "
        "print([m for m in heavy if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_neither_daemon_nor_source_imports_torch() -> None:
    probe = (
        "import sys; import sdv2_host.commands.demo, sdv2_host.commands.run, "
        "sdv2_host.sources.__main__; print('torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
