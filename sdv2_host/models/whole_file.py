"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

UNFINISHED_SUFFIX = ".unfinished"
"""Of a file being written beside its place; one that is old was left by a process that died."""


def write_whole(path: Path, content: bytes) -> None:
    """`path` holds `content`, readable by its owner alone: the old content or the new, never a
    part of it, whatever happens meanwhile. Its folder must exist.

    Raises:
        OSError: it cannot be written; what was there is untouched.
    """
    # mkstemp makes files that only their owner can read.
    descriptor, temporary = tempfile.mkstemp(suffix=UNFINISHED_SUFFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
