"""Batches of hostile cases in processes of their own: counted, and never lost when one dies.

A batch is made of (seed, kind, number) alone, so whatever one shows can be had again by itself.
A process that dies (a SIGSEGV of a guard page) or says nothing for HANG_S names its batch by that.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from sdv2_host.bench.hostile_descriptors import DescriptorCases
from sdv2_host.bench.hostile_dice import Cases, Dice, FlawError
from sdv2_host.bench.hostile_segments import HeaderCases, PeerCases
from sdv2_host.bench.hostile_slots import RacingSlotCases, SlotCases
from sdv2_host.bench.hostile_touch import TouchCases

CASES_PER_BATCH = 1000
HANG_S = 120.0
"""A batch takes well below a second on an idle computer; this is for a very busy one."""

KINDS: dict[str, tuple[Callable[[Path], Cases], int]] = {
    # name: (cases, how many of a hundred)
    "descriptor": (DescriptorCases, 15),
    "header": (HeaderCases, 26),
    "slot": (SlotCases, 40),
    "racing slot": (RacingSlotCases, 11),
    "touch": (TouchCases, 7),
    "peer": (PeerCases, 1),
}


@dataclass(frozen=True, slots=True)
class Batch:
    """CASES_PER_BATCH cases of a kind, or fewer."""

    kind: str
    number: int
    num_cases: int


@dataclass(slots=True)
class Tally:
    """What came of a run. Outcomes by kind; flaws in words, empty when there are none."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    flaws: list[str] = field(default_factory=list)

    @property
    def num_cases(self) -> int:
        return sum(sum(of_kind.values()) for of_kind in self.outcomes.values())

    def add(self, batch: Batch, outcomes: Counter[str]) -> None:
        self.outcomes.setdefault(batch.kind, Counter()).update(outcomes)


def plan(num_cases: int) -> list[Batch]:
    """Batches that come to so many cases, the kinds mixed by their shares."""
    batches, left = [], num_cases
    for index, (kind, (_, share)) in enumerate(KINDS.items()):
        is_last = index == len(KINDS) - 1
        of_kind = left if is_last else min(left, -(-num_cases * share // 100))
        left -= of_kind
        for number, start in enumerate(range(0, of_kind, CASES_PER_BATCH)):
            batches.append(Batch(kind, number, min(CASES_PER_BATCH, of_kind - start)))
    return batches


def try_batch(batch: Batch, seed: int, cases: Cases) -> Counter[str]:
    """Outcomes of the batch.

    Raises:
        FlawError: with the batch and the case's index in it.
    """
    dice = Dice(f"{seed} {batch.kind} {batch.number}")
    outcomes: Counter[str] = Counter()
    for index in range(batch.num_cases):
        try:
            outcomes[cases.attempt(dice)] += 1
        except Exception as error:
            sort = "" if isinstance(error, FlawError) else f"{type(error).__name__}: "
            raise FlawError(f"{_name(batch, seed)}, case {index}: {sort}{error}") from error
    return outcomes


def try_batches(batches: list[Batch], seed: int, say: Callable[[object], None]) -> None:
    """Each batch is tried; `say` gets its outcomes as a Counter, or a flaw as a str."""
    with tempfile.TemporaryDirectory(prefix="sdv2-fuzz-") as directory:
        for kind, (make_cases, _) in KINDS.items():
            mine = [batch for batch in batches if batch.kind == kind]
            if not mine:
                continue
            folder = Path(directory) / kind.replace(" ", "-")
            folder.mkdir(mode=0o700)
            cases = make_cases(folder)
            for batch in mine:
                try:
                    say(try_batch(batch, seed, cases))
                except FlawError as flaw:
                    say(str(flaw))
                    cases = make_cases(_fresh(folder, batch.number))  # it may be half done
            cases.close()


def _fresh(folder: Path, number: int) -> Path:
    other = folder.with_name(f"{folder.name}-{number}")
    other.mkdir(mode=0o700)
    return other


class _Worker:
    """One process and the batches it still has to say something of."""

    def __init__(self, work: WorkFn, batches: list[Batch], seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe(duplex=False)
        # In the order in which `try_batches` goes through them.
        self.left = [batch for kind in KINDS for batch in batches if batch.kind == kind]
        self.process = context.Process(target=work, args=(theirs, batches, seed), daemon=True)
        self.process.start()
        theirs.close()


def work_batches(connection: Connection, batches: list[Batch], seed: int) -> None:
    """What a process does: a word per batch, as `try_batches` says them."""
    try_batches(batches, seed, connection.send)


WorkFn = Callable[[Connection, list[Batch], int], None]


def run_batches(
    batches: list[Batch],
    seed: int,
    num_processes: int,
    progress: Callable[[int], None],
    *,
    work: WorkFn = work_batches,
    hang_s: float = HANG_S,
) -> Tally:
    """All batches, tried in so many processes; `progress` gets the number of cases done."""
    tally = Tally()
    workers = [_Worker(work, batches[index::num_processes], seed) for index in range(num_processes)]
    # `wait` gives back what it was given; on Windows that is of another type.
    by_connection: dict[Any, _Worker] = {worker.connection: worker for worker in workers}
    while by_connection:
        ready = wait(list(by_connection), timeout=hang_s)
        if not ready:
            for worker in by_connection.values():
                worker.process.kill()
                tally.flaws.append(f"{_name(worker.left[0], seed)}: said nothing for {hang_s} s")
            break
        for one in ready:
            worker = by_connection[one]
            if not _hear(worker, tally, seed):
                del by_connection[one]
        progress(tally.num_cases)
    return tally


def _hear(worker: _Worker, tally: Tally, seed: int) -> bool:
    """One word of a worker; False = it has ended."""
    try:
        said = worker.connection.recv()
    except EOFError:
        worker.process.join()
        if worker.left:
            code = worker.process.exitcode
            tally.flaws.append(f"{_name(worker.left[0], seed)}: the process died, exit code {code}")
        return False
    batch = worker.left.pop(0)
    if isinstance(said, str):
        tally.flaws.append(said)
    else:
        tally.add(batch, said)
    return True


def _name(batch: Batch, seed: int) -> str:
    return f"seed {seed}, {batch.kind} batch {batch.number}"
