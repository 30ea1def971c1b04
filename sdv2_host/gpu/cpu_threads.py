"""How many threads torch computes with on a CPU that other programs use, too."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from sdv2_host.cores import FreeCores, usable_cores
from sdv2_host.params import Params
from sdv2_host.types import Frame

log = logging.getLogger(__name__)


def set_threads(asked: int) -> int:
    """As `Config.threads` says, 0 = one per core. For the process; so many there are."""
    num_threads = asked or usable_cores()
    torch.set_num_threads(num_threads)
    return num_threads


class CpuThreads:
    """Used by the engine's thread, whose number it sets; lanes take their shares of that.

    The pictures are the same with any number on the CPUs that were tried. As no library promises
    that, lock-step frames and shows that are recorded have all threads.
    """

    def __init__(self, cores: FreeCores) -> None:
        self._cores = cores
        self._num_threads = cores.most

    @property
    def notes(self) -> dict[str, float]:
        return {"threads": float(self._num_threads)}

    def heed_(self, frames: Sequence[Frame], params: Params) -> None:
        """For the chunk of these frames."""
        num_free = self._cores.num_free()
        is_exact = params.show != "" or any(frame.is_lockstep for frame in frames)
        self._num_threads = num_threads = self._cores.most if is_exact else num_free
        if num_threads == torch.get_num_threads():
            return
        torch.set_num_threads(num_threads)
        log.info(
            "%d of %d threads: %s",
            num_threads,
            self._cores.most,
            "frames in lock-step, or a show is recorded" if is_exact else "other programs' share",
        )
