"""On PYTHONPATH of a host's processes: their pyvirtualcam has one camera, which writes to a file.

The file is named by the device. Every write replaces it by the frame that was sent.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

if "sdv2_host.sinks.virtual_camera" in sys.orig_argv:
    import pyvirtualcam

    class FileCamera:
        def __init__(self, *, device: str, **_: object) -> None:
            self._path = Path(device)

        def send(self, frame: Any) -> None:
            if self._path.with_suffix(".crash").exists():
                os.abort()  # as a driver does
            part = self._path.with_suffix(".part")
            part.write_bytes(frame.tobytes())
            part.replace(self._path)

        def close(self) -> None:
            pass

        def device(self) -> str:
            return str(self._path)

        def native_fourcc(self) -> None:
            return None

    pyvirtualcam.camera.BACKENDS.clear()
    pyvirtualcam.register_backend("file", FileCamera)
