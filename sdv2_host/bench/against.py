"""Other programs that a cell of `bench model` can be set beside: `--against NAME`."""

from __future__ import annotations

from typing import Any

from sdv2_host.bench import against_diffusers, against_reference, reference_package
from sdv2_host.bench.model import Cell, LastBuilt
from sdv2_host.errors import DeviceMemoryError
from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.types import ProgressFn

REFERENCE, DIFFUSERS = reference_package.PACKAGE, against_diffusers.PACKAGE
RIVALS = (REFERENCE, DIFFUSERS)


def require(rival: str) -> None:
    """It is installed.

    Raises:
        ConfigError: it is not, saying how to get it.
    """
    if rival == REFERENCE:
        reference_package.require_package()
    else:
        against_diffusers.require_diffusers()


def beside(
    rival: str, cell: Cell, models: LastBuilt, seconds: float, progress: ProgressFn
) -> dict[str, Any]:
    """Equality and speed of the cell beside the rival's; or `failed`, why there are none.

    Each comparison takes about `seconds`.
    """
    why_not = reference_package.why_not(cell) if rival == REFERENCE else ""
    if why_not:
        return {"against": rival, "failed": why_not}
    run = against_reference.run if rival == REFERENCE else against_diffusers.run
    try:
        return run(cell, models, seconds, progress)
    except (DeviceMemoryError, RuntimeError, MemoryError) as error:
        if not isinstance(error, DeviceMemoryError) and not is_out_of_memory(error):
            raise
        failed = str(error).splitlines()[0]
    # Not inside: the error holds on to all that the comparison had.
    models.forget_()
    return {"against": rival, "failed": failed}


def format_lines(result: dict[str, Any], dtype: str) -> list[str]:
    """What `beside` found, for a person; `dtype` is the cell's."""
    if "failed" in result:
        return [f"beside {result['against']}: not compared, {result['failed']}"]
    if result["against"] == REFERENCE:
        return against_reference.format_lines(result, dtype)
    return against_diffusers.format_lines(result, dtype)
