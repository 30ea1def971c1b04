"""`bench model`: engines x sizes x steps x autoencoders, cell by cell; what fails is a row too."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from sdv2_host.bench.against import beside
from sdv2_host.bench.device_peaks import DeviceLimits, device_limits
from sdv2_host.bench.model import OWN_VAE, Cell, LastBuilt, free_memory
from sdv2_host.bench.model_cell import CostBook, RunLength, measure_cell
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.config import ENGINES
from sdv2_host.errors import DeviceMemoryError
from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.gpu.wan_engine import check_memory
from sdv2_host.gpu.wan_models import Placement
from sdv2_host.types import ProgressFn, Size, part_of

CPU = torch.device("cpu")
TELL_AFTER_S, TELL_AFTER_CELLS, TELL_EVERY_S = 2.0, 0.3, 5.0
"""What is left is told after so long, and so much of a cell; and no more often than that."""

LimitsFn = Callable[[torch.device, torch.dtype], DeviceLimits]


@dataclass(frozen=True, slots=True)
class Matrix:
    """What is measured."""

    engines: Sequence[str]
    sizes: Sequence[Size]
    """None given = each engine's own."""
    steps: Sequence[int]
    vaes: Sequence[str]
    """Of the Wan engines."""
    device: torch.device
    """Of the Wan engines; the embedded model is on the CPU, in float32."""
    dtype: torch.dtype
    length: RunLength
    settings: tuple[tuple[str, str], ...] = ()
    """As in `Cell`; of the embedded model only how it is compiled."""

    def cells(self) -> list[Cell]:
        """Those with the same models one after another."""
        found: list[Cell] = []
        for engine in self.engines:
            is_tiny = engine == "tiny"
            place = (CPU, torch.float32) if is_tiny else (self.device, self.dtype)
            settings = tuple(
                (name, value) for name, value in self.settings if not is_tiny or name == "compile"
            )
            sizes = self.sizes or [ENGINES[engine].size]
            for vae, size, steps in itertools.product(
                [OWN_VAE] if is_tiny else self.vaes, sizes, self.steps
            ):
                found.append(Cell(engine, size, steps, vae, *place, settings=settings))
        return found


def run(
    cells: Sequence[Cell],
    length: RunLength,
    progress: ProgressFn,
    keep: Callable[[dict[str, Any]], None],
    limits_of: LimitsFn = device_limits,
    rivals: Sequence[str] = (),
) -> dict[str, Any]:
    """Every cell's row, with the `rivals` (`against.RIVALS`) set beside it. `keep` is given the
    result so far after each, and after each rival: a long run that is ended leaves what it has.

    Raises:
        ModelError: the embedded model is missing or damaged.
    """
    left = TimeLeft(progress, len(cells))
    limits: dict[tuple[torch.device, torch.dtype], DeviceLimits] = {}
    result: dict[str, Any] = {"torch": torch.__version__, "devices": [], "cells": []}
    last_built, costs = LastBuilt(), CostBook()
    for index, cell in enumerate(cells):
        told = left.of_cell(index, str(cell))
        place = (cell.device, cell.dtype)
        if place not in limits:
            told("measuring the device", 0.0)
            limits[place] = limits_of(*place)
            result["devices"].append({**_named(place), **asdict(limits[place])})
        ends = [(part + 1) / (1 + len(rivals)) for part in range(1 + len(rivals))]
        alone = part_of(told, 0.0, ends[0])
        free_memory()
        row = {**_head(cell), **_row(cell, last_built, costs, limits[place], length, alone)}
        result["cells"].append(row)
        keep(result)
        if "failed" in row:
            continue
        for rival, share in zip(rivals, itertools.pairwise(ends), strict=True):
            beside_it = beside(rival, cell, last_built, length.seconds, part_of(told, *share))
            row.setdefault("against", []).append(beside_it)
            keep(result)
    return result


def _row(
    cell: Cell,
    last_built: LastBuilt,
    costs: CostBook,
    limits: DeviceLimits,
    length: RunLength,
    progress: ProgressFn,
) -> dict[str, Any]:
    """The cell's measures, or why there are none."""
    try:
        progress("building", 0.0)
        if not last_built.serves(cell):
            last_built.forget_()
            _refuse_what_cannot_fit(cell)
        built = last_built.build(cell)
        progress("counting", 0.05)
        counted = costs.of(cell, built)
        return measure_cell(cell, built, counted, limits, length, progress)
    except (DeviceMemoryError, RuntimeError, MemoryError) as error:
        if not isinstance(error, DeviceMemoryError) and not is_out_of_memory(error):
            raise
        failed = str(error).splitlines()[0]
    # Not inside: the error holds on to all that the cell had.
    last_built.forget_()
    return {"failed": failed}


def _refuse_what_cannot_fit(cell: Cell) -> None:
    """A CPU does not say that its memory is too small: the system ends the process.

    Raises:
        DeviceMemoryError: with what is needed and free.
    """
    if cell.device.type != "cuda" and cell.engine != "tiny" and cell.family is None:
        check_memory(cell.config, Placement(cell.device, cell.dtype))


def _head(cell: Cell) -> dict[str, Any]:
    return {
        "name": str(cell),
        "engine": cell.engine,
        "size": str(cell.size),
        "steps": cell.steps,
        "vae": cell.vae,
        **_named((cell.device, cell.dtype)),
    }


def _named(place: tuple[torch.device, torch.dtype]) -> dict[str, str]:
    return {"device": str(place[0]), "dtype": str(place[1]).removeprefix("torch.")}


class TimeLeft:
    """Progress over all cells, with the time that the rest will take if they are like the ones
    before. Fields: per run."""

    def __init__(
        self, progress: ProgressFn, num_cells: int, clock: Callable[[], int] = now_ns
    ) -> None:
        self._progress = progress
        self._num_cells = num_cells
        self._clock = clock
        self._begin_ns = clock()
        self._left = ""
        self._told_s = -TELL_EVERY_S

    def of_cell(self, index: int, name: str) -> ProgressFn:
        def told(text: str, fraction: float) -> None:
            count = f"{index + 1} of {self._num_cells}: {name}"
            left = self._rest(index + fraction)
            self._progress(f"{count}, {text}{left}", (index + fraction) / self._num_cells)

        return told

    def _rest(self, num_done: float) -> str:
        passed_s = (self._clock() - self._begin_ns) / NS_PER_S
        is_known = passed_s >= TELL_AFTER_S and num_done >= TELL_AFTER_CELLS
        if is_known and passed_s - self._told_s >= TELL_EVERY_S:
            self._told_s = passed_s
            left_s = passed_s * (self._num_cells - num_done) / num_done
            self._left = f", {about(left_s)} left"
        return self._left


def about(seconds: float) -> str:
    """A time that nobody needs to the second."""
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5)} s"
    return f"about {round(seconds / 60)} min"
