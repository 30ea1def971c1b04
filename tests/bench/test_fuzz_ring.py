"""The fuzzer of frame rings finds nothing in the readers, and finds what is broken on purpose."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from sdv2_host.bench.fuzz_batches import (
    KINDS,
    Batch,
    WorkFn,
    plan,
    run_batches,
    try_batch,
)
from sdv2_host.bench.hostile_dice import ACCEPTED, FlawError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="segments are files only there")

BROKEN = {
    # name: (file of ipc, what stands there, what stands there then, kind that must notice)
    "rows past the payload": (
        "ring_codec.py",
        "row_stride * (height - 1) + row_bytes, 0, payload_bytes",
        "0, 0, 0",
        "slot",
    ),
    "a slot that was overwritten": (
        "ring_reader.py",
        "if segment.words[lock_word] != stable:  # overtaken",
        "if False:  # overtaken",
        "racing slot",
    ),
    "a segment of another size": (
        "ring_codec.py",
        '    _expect("segment_bytes", segment_bytes, geometry.segment_bytes)\n',
        "",
        "header",
    ),
    "a name that leads elsewhere": (
        "ring_descriptor.py",
        'segment=_text(fields, "segment", _SEGMENT_NAME)',
        'segment=str(fields.get("segment"))',
        "descriptor",
    ),
    "pixels past the end of TouchDesigner's memory": (
        "touch_layout.py",
        "or offset + data_bytes > mapping_bytes",
        "",
        "touch",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_hostile_input_makes_a_reader_do_what_it_must_not(kind: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    cases = KINDS[kind][0](tmp_path)

    outcomes = try_batch(Batch(kind, 0, 200 if kind == "peer" else 2000), 7, cases)

    cases.close()
    assert 0.1 < outcomes[ACCEPTED] / outcomes.total() < 0.9  # deep enough, and hostile enough
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["slot", "header"])
def test_every_check_of_a_header_refuses_some_inputs(kind: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    source = (ROOT / "sdv2_host" / "ipc" / "ring_codec.py").read_text(encoding="utf-8")
    parser = {"slot": "def parse_slot_header", "header": "def parse_segment_header"}[kind]
    body = source.partition(parser)[2].partition("\ndef ")[0]
    checks = {line.split('"')[1] for line in body.splitlines() if "_expect" in line}
    cases = KINDS[kind][0](tmp_path)

    outcomes = try_batch(Batch(kind, 1, 4000), 7, cases)

    cases.close()
    assert checks <= set(outcomes)


def test_the_same_seed_makes_the_same_cases(tmp_path: Path) -> None:
    once = _slots_of_seed(1, tmp_path / "a")

    assert _slots_of_seed(1, tmp_path / "b") == once
    assert _slots_of_seed(2, tmp_path / "c") != once


def _slots_of_seed(seed: int, folder: Path) -> Counter[str]:
    folder.mkdir(mode=0o700)
    cases = KINDS["slot"][0](folder)
    outcomes = try_batch(Batch("slot", 0, 500), seed, cases)
    cases.close()
    return outcomes


@pytest.mark.parametrize("num_cases", [1, 99, 1000, 12_345, 10_000_000])
def test_a_plan_has_as_many_cases_as_asked_for_and_of_every_kind(num_cases: int) -> None:
    batches = plan(num_cases)

    assert sum(batch.num_cases for batch in batches) == num_cases
    assert len({(batch.kind, batch.number) for batch in batches}) == len(batches)
    assert num_cases < 100 or {batch.kind for batch in batches} == set(KINDS)


def test_batches_in_processes_of_their_own_are_all_counted() -> None:
    told: list[int] = []

    tally = run_batches(plan(500), 3, 2, told.append)

    assert tally.flaws == []
    assert tally.num_cases == told[-1] == 500


@pytest.mark.parametrize("name", BROKEN)
def test_a_reader_without_one_of_its_checks_is_found_out(name: str, tmp_path: Path) -> None:
    file, stands, instead, kind = BROKEN[name]

    done = _fuzz_copy(tmp_path, file, stands, instead, kind)

    assert done.returncode != 0, done.stdout
    assert f"seed 1, {kind} batch 0" in done.stderr or done.returncode == -signal.SIGSEGV


def _fuzz_copy(
    folder: Path, file: str, stands: str, instead: str, kind: str
) -> subprocess.CompletedProcess[str]:
    """A batch of this kind is given to a package of which one file says something else."""
    copy = folder / "sdv2_host"
    (copy / "ipc").mkdir(parents=True)
    for part in (*(ROOT / "sdv2_host").iterdir(), *(ROOT / "sdv2_host" / "ipc").glob("*.py")):
        if part.name != "ipc":
            (folder / part.relative_to(ROOT)).symlink_to(part)
    whole = (ROOT / "sdv2_host" / "ipc" / file).read_text(encoding="utf-8")
    assert whole.count(stands) == 1
    (copy / "ipc" / file).unlink()
    (copy / "ipc" / file).write_text(whole.replace(stands, instead), encoding="utf-8")
    work = folder / "work"
    work.mkdir(mode=0o700)
    program = (
        "from pathlib import Path; from sdv2_host.bench.fuzz_batches import *; "
        f"print(try_batch(Batch({kind!r}, 0, 3000), 1, KINDS[{kind!r}][0](Path({str(work)!r}))))"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_a_read_past_the_end_of_a_guarded_mapping_kills_the_process() -> None:
    program = (
        "import sys; from sdv2_host.bench.guarded_memory import GuardedBytes; "
        f"memory = GuardedBytes({mmap.PAGESIZE}).bytes; print(memory[-1], flush=True); "
        "import ctypes; ctypes.string_at(memory.ctypes.data + len(memory), 1)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=100
    )

    assert done.stdout == "0\n"
    assert done.returncode == -signal.SIGSEGV


class WrongCases:
    """Of a reader with a fault of its own."""

    def attempt(self, dice: object) -> str:
        raise ZeroDivisionError("by a size from a header")

    def close(self) -> None: ...


def test_an_exception_of_no_name_is_a_flaw_and_says_how_to_have_it_again() -> None:
    with pytest.raises(FlawError, match=r"seed 9, slot batch 4, case 0: ZeroDivisionError: by a"):
        try_batch(Batch("slot", 4, 10), 9, WrongCases())


def _die_after_one(connection: Connection, batches: list[Batch], seed: int) -> None:
    connection.send(Counter({ACCEPTED: batches[0].num_cases}))
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang_after_one(connection: Connection, batches: list[Batch], seed: int) -> None:
    connection.send(Counter({ACCEPTED: batches[0].num_cases}))
    signal.pause()


@pytest.mark.parametrize(
    ("work", "hang_s", "what"),
    [
        (_die_after_one, 100, "the process died, exit code -11"),
        (_hang_after_one, 2, "said nothing for 2 s"),
    ],
)
def test_a_process_that_ends_early_is_a_flaw_of_the_batch_it_was_at(
    work: WorkFn, hang_s: float, what: str
) -> None:
    batches = [Batch("slot", number, 10) for number in range(3)]

    tally = run_batches(batches, 5, 1, lambda _: None, work=work, hang_s=hang_s)

    assert tally.num_cases == 10
    assert len(tally.flaws) == 1
    assert tally.flaws[0].startswith(f"seed 5, slot batch 1: {what}")
