"""A video file, opened, whatever bytes its tags hold: titles are in any encoding, and nobody here
reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from av.container import InputContainer

_REFUSES_TAGS = int(av.__version__.split(".")[0]) < 19
"""PyAV 18, the last for Python 3.11, does so unless told otherwise; of 19 none does, or can be
told."""


def open_input(path: str, format: str | None = None) -> InputContainer:
    """That file, open for reading; `format` is FFmpeg's name of its container, None = it looks.

    Raises:
        FFmpegError, OSError: FFmpeg cannot.
    """
    if _REFUSES_TAGS:
        return av.open(path, mode="r", format=format, metadata_errors="replace")
    return av.open(path, mode="r", format=format)
