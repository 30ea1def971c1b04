"""On PYTHONPATH of a host's processes: Windows' named objects are files of SDV2_TEST_TOUCH."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if "sdv2_host.sinks.touch_shm" in sys.orig_argv:
    from sdv2_host.ipc import touch_objects
    from tests.ipc.touch_files import FileObjects

    touch_objects.windows_objects = lambda: FileObjects(Path(os.environ["SDV2_TEST_TOUCH"]))
