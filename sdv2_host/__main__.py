"""`python -m sdv2_host` is `sdv2-host`."""

from __future__ import annotations

import sys

from sdv2_host.cli import main

sys.exit(main())
