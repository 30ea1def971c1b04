"""`sdv2-host` and `python -m sdv2_host`: the command line, Ctrl-C clean from the start."""

from __future__ import annotations

import sys


def run() -> int:
    """The exit code. Importing takes most of the start, so a Ctrl-C often comes in it."""
    try:
        from sdv2_host.cli import main  # noqa: PLC0415  (see above)

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
