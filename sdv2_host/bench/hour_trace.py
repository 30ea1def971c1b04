"""What `bench hour` keeps of a stream: numbers of every chunk, in memory that never grows.

# N chunks  M samples of memory  C changes of look  K chunks after one  A anchors  P of one anchor
# S statistics: mean, then spread, of red, green and blue
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np
import psutil
from numpy.typing import NDArray

from sdv2_host.bench.hour_show import ANCHOR_CHUNKS, GLANCE_CHUNKS, Show
from sdv2_host.errors import ConfigError

SAMPLE_EVERY = 15
"""Chunks: two seconds."""
AFTER_CHANGE = GLANCE_CHUNKS
"""Chunks in which a new look is followed."""
SETTLED = 8
"""Chunks of an anchor until nothing of what was before is in the window or the autoencoder."""

Floats = NDArray[np.float32]

_UNREADABLE = (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile, TokenError)
"""What numpy raises for a file that is none of its own; a header is read as Python's literals."""


@dataclass(frozen=True, slots=True)
class Trace:
    """All of one stream, allocated before it begins, written in place. NaN = not measured."""

    source_step_N: Floats
    """Root mean square difference of the chunk's first frame to the frame before, in 0..1."""
    picture_step_N: Floats
    """The same of the styled frames."""
    source_colours_NS: Floats
    colours_NS: Floats
    """Of the styled chunk, in 0..1."""
    detail_N: Floats
    """Mean difference of neighbouring pixels, in 0..1."""
    style_N: Floats
    """Probability of the look asked for, of the chunk's last frame, says the classifier."""
    drift_N: Floats
    """What the product's watchdog says."""
    step_ms_N: Floats
    """Wall time of `Engine.step`."""
    away_AP: Floats
    """Root mean square difference of an anchor's settled chunks to those of the first, in 0..1."""
    changed_CK: Floats
    """Probability of the new look, mean of the chunk's frames, k chunks after a change."""
    fresh_CK: Floats
    """The same of a stream that begins there."""
    named_changed_CK: Floats
    """Share of the chunk's frames that are named right."""
    named_fresh_CK: Floats
    rss_bytes_M: NDArray[np.float64]
    handles_M: Floats
    """Open files; on Windows handles."""
    threads_M: Floats
    blocks_M: NDArray[np.float64]
    """What Python's allocator holds."""
    seconds_1: NDArray[np.float64]
    """From the first chunk's end to the last's, with everything that the bench does."""

    @classmethod
    def fresh(cls, show: Show) -> Trace:
        chunks, samples = show.num_chunks, show.num_chunks // SAMPLE_EVERY
        after = (len(show.changes()), AFTER_CHANGE)
        shapes: dict[str, tuple[int, ...]] = {
            "N": (chunks,),
            "NS": (chunks, 6),
            "AP": (len(show.anchors()), ANCHOR_CHUNKS - SETTLED),
            "CK": after,
            "M": (samples,),
            "1": (1,),
        }
        doubles = {"rss_bytes_M", "blocks_M", "seconds_1"}
        return cls(
            **{
                field.name: np.full(
                    shapes[field.name.rsplit("_", 1)[1]],
                    np.nan,
                    np.float64 if field.name in doubles else np.float32,
                )
                for field in fields(cls)
            }
        )

    def save(self, path: Path) -> None:
        """Writes an .npz.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path) -> Trace:
        """What `save` wrote.

        Raises:
            ConfigError: there is no such file, or it is none of these.
        """
        try:
            with np.load(path) as file:
                return cls(**{field.name: file[field.name] for field in fields(cls)})
        except _UNREADABLE as error:
            raise ConfigError(f"{path} is no trace of bench hour ({error}): run it anew") from error


def sample_memory(trace: Trace, index: int, process: psutil.Process) -> None:
    """`trace` has what this process holds now."""
    trace.rss_bytes_M[index] = process.memory_info().rss
    trace.handles_M[index] = open_handles(process)
    trace.threads_M[index] = process.num_threads()
    trace.blocks_M[index] = sys.getallocatedblocks()


def open_handles(process: psutil.Process) -> int:
    """Files, sockets and pipes; on Windows all that has a handle."""
    if sys.platform == "win32":
        return process.num_handles()
    return process.num_fds()
