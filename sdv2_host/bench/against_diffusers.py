"""`bench model --against diffusers`: the parts that diffusers has, beside ours.

What they are, and what is left out: `diffusers_parts`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from sdv2_host.bench.agreement import Made, agreement, agreement_text, exact_float32
from sdv2_host.bench.alternation import Turn, alternate, turn_of
from sdv2_host.bench.diffusers_parts import Part, common_parts
from sdv2_host.bench.model import Cell, LastBuilt
from sdv2_host.errors import ConfigError
from sdv2_host.types import ProgressFn, part_of

PACKAGE = "diffusers"
FLOAT32_LIMIT = 1e-4
"""Of the largest number of what a part makes. diffusers takes sine and cosine of the timestep's
angles in float32, which alone is 1e-5."""


def require_diffusers() -> str:
    """The version that is installed.

    Raises:
        ConfigError: none is, saying how to get it.
    """
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise ConfigError(
            f"--against {PACKAGE}: the package is not installed beside this program: "
            "pip install diffusers"
        ) from None


@torch.inference_mode()
def run(cell: Cell, models: LastBuilt, seconds: float, progress: ProgressFn) -> dict[str, Any]:
    """Equality and speed, part by part; each part's turns take about `seconds`.

    diffusers is installed (`require_diffusers`).
    """
    progress(f"the parts of {PACKAGE} in float32", 0.0)
    exact_cell = dataclasses.replace(cell, dtype=torch.float32)
    parts = common_parts(exact_cell, models.build(exact_cell))
    with exact_float32():
        exact = [_make(part) for part in parts]
    rounded: list[Made] | list[None] = [None] * len(exact)
    if cell != exact_cell:
        # What holds the float32 models goes before the others are made.
        del parts
        parts = common_parts(cell, models.build(cell))
        rounded = [_make(part) for part in parts]
    rows: list[dict[str, Any]] = []
    for part, in_float32, in_dtype in zip(parts, exact, rounded, strict=True):
        ours, theirs = (_turn(part, call, cell.device) for call in (part.ours, part.theirs))
        told = part_of(progress, len(rows) / len(parts), (len(rows) + 1) / len(parts))
        what = f"beside {PACKAGE}: {part.name}"
        rows.append(
            {
                "part": part.name,
                **agreement(in_float32, FLOAT32_LIMIT, in_dtype),
                **alternate(ours, theirs, seconds, told, what),
            }
        )
    return {"against": PACKAGE, "version": require_diffusers(), "parts": rows}


def _make(part: Part) -> Made:
    """What both make of the part's inputs, one behind the other."""

    def made(call: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.cat([call(one).float().cpu() for one in part.inputs], dim=1)

    return Made(made(part.theirs), made(part.ours))


def _turn(part: Part, call: Callable[[Tensor], Tensor], device: torch.device) -> Turn:
    """Further calls of a part whose stream has begun."""
    inputs = itertools.cycle(part.inputs[1:])
    return turn_of(lambda: call(next(inputs)), device)


def format_lines(result: dict[str, Any], dtype: str) -> list[str]:
    """The result for a person."""
    heading = f"beside {PACKAGE} {result['version']}, ms per call"
    lines = [f"{heading:<42}{'theirs':>9}{'ours':>9}{'times':>8}"]
    for row in result["parts"]:
        lines += [
            f"  {row['part']:<40}{row['theirs_ms']:>9.2f}{row['ours_ms']:>9.2f}{row['ratio']:>8.2f}"
            f"   {row['ratio_low']:.2f} to {row['ratio_high']:.2f}",
            f"    {agreement_text(row, dtype)}",
        ]
    return lines
