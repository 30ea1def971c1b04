"""The plugin's ring client without OBS: hostile peers, threads, other systems, the Python side."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sdv2_host.bench import fuzz_client
from tests.hosts import orphans

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "plugins" / "obs" / "src"
INCLUDES = [f"-I{ROOT / 'plugins' / 'include'}", f"-I{SOURCES}"]
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
CLIENT = ("descriptor", "hosts", "json", "osc", "ring-leftovers", "ring-reader", "ring-writer")
ADDRESS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
THREAD = ["-fsanitize=thread", "-w"]  # it says that it does not know fences
MINGW = "x86_64-w64-mingw32-gcc"

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or shutil.which("gcc") is None,
    reason="needs gcc on Linux (apt-get install gcc libc6-dev)",
)


def compiled(name: str, sanitizer: list[str], folder: Path) -> Path:
    program = folder / f"{name}-{len(sanitizer)}"
    files = [SOURCES / f"{part}.c" for part in (*CLIENT, "platform-posix")]
    main = Path(__file__).with_name(f"{name}.c")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-fno-omit-frame-pointer", "-pthread"]
    subprocess.run(
        ["gcc", *flags, *sanitizer, *INCLUDES, main, *files, "-o", program],
        check=True,
    )
    return program


@pytest.mark.parametrize(
    ("seed", "count"), [(1, 100_000), pytest.param(2, 1_000_000, marks=pytest.mark.soak)]
)
def test_no_hostile_peer_can_harm_the_client(
    tmp_path: Path, run_dir: Path, seed: int, count: int
) -> None:
    fuzz = tmp_path / "ring_fuzz"
    fuzz_client.build(fuzz)

    done = finished([fuzz, str(seed), str(count), run_dir])

    assert done.returncode == 0, done.stderr[-4000:]
    kinds = {name: (int(cases), int(taken)) for name, cases, taken in map(str.split, lines(done))}
    assert sum(cases for cases, _ in kinds.values()) == count
    for name in ("descriptor", "header", "slot", "attach"):
        cases, taken = kinds[name]
        assert 0.05 * cases < taken < 0.95 * cases  # both ways out were gone
    assert kinds["noise"][1] == 0
    assert kinds["race"][1] > 0


def test_a_client_that_does_not_look_where_the_last_row_ends_is_found_out(
    tmp_path: Path, run_dir: Path
) -> None:
    header = (ROOT / "plugins" / "include" / "sdv2_ring.h").read_text(encoding="utf-8")
    check = "header->row_stride * (header->height - 1u) + row_bytes <= header->payload_bytes"
    assert header.count(check) == 1
    broken = tmp_path / "checkout"
    (broken / "plugins" / "include").mkdir(parents=True)
    (broken / "plugins" / "obs").symlink_to(SOURCES.parent)
    (broken / "tests").symlink_to(ROOT / "tests")
    (broken / "plugins" / "include" / "sdv2_ring.h").write_text(header.replace(check, "1"))
    fuzz_client.build(tmp_path / "ring_fuzz", broken)

    done = finished([tmp_path / "ring_fuzz", "1", "100000", run_dir])

    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr or "larger than its slot" in done.stderr


@pytest.mark.parametrize("sanitizer", [ADDRESS, THREAD], ids=["address", "thread"])
def test_frames_survive_growth_pauses_and_restarts_of_the_ring(
    tmp_path: Path, run_dir: Path, sanitizer: list[str]
) -> None:
    before = orphans()
    handover = compiled("ring_handover", sanitizer, tmp_path)

    # Its shadow memory does not fit the randomised addresses of newer kernels.
    done = finished(["setarch", "-R", handover, "2", "3", run_dir])

    assert done.returncode == 0, done.stderr[-4000:]
    written, read, torn, segments = map(int, lines(done)[0].split())
    assert written > 300
    assert read > 30
    assert torn == 0
    assert segments > 5
    assert list(run_dir.iterdir()) == []
    assert orphans() <= before


def finished(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return done.stdout.splitlines()


@pytest.mark.skipif(shutil.which(MINGW) is None, reason="gcc-mingw-w64-x86-64 is not installed")
def test_the_client_compiles_for_windows(tmp_path: Path) -> None:
    for part in (*CLIENT, "platform-windows"):
        source = SOURCES / f"{part}.c"
        subprocess.run(
            [MINGW, "-std=c11", "-O2", *WARNINGS, *INCLUDES, "-c", source, "-o", tmp_path / "o"],
            check=True,
        )


def test_no_other_file_knows_the_system() -> None:
    telling = re.compile(r"_WIN32|__APPLE__|__linux__|<windows.h>|<unistd.h>|<sys/")
    found = {path.name for path in SOURCES.glob("*.[ch]") if telling.search(path.read_text())}
    assert found == {"platform-posix.c", "platform-windows.c"}
