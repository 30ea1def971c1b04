"""A worker whose engine tiny runs out of memory at once while a file `broken` lies in the run
directory, and is passthrough else: a script, run in place of the worker's module."""

from __future__ import annotations

import sys
from pathlib import Path

from sdv2_host.errors import DeviceMemoryError
from sdv2_host.host.child_side import Send, exit_child, run_child
from sdv2_host.host.worker import Inbox, run


def main(send: Send) -> None:
    inbox = Inbox(sys.stdin.buffer)
    config = inbox.configure.config
    if config.engine == "tiny":
        if Path(inbox.configure.run_dir or "", "broken").exists():
            raise DeviceMemoryError("2.0 GiB are free, 3.0 GiB are needed")
        config = config.model_copy(update={"engine": "passthrough"})
        inbox.configure = inbox.configure.model_copy(update={"config": config})
    run(inbox, send)


if __name__ == "__main__":
    exit_child(run_child("worker", main))
