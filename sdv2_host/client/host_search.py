"""HostSearch: where the host of a name is, looked for again and again."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from sdv2_host.clock import NS_PER_S
from sdv2_host.errors import RingError
from sdv2_host.ipc.host_file import Sighting, host_names, sight_host
from sdv2_host.ipc.run_dir import run_dirs

LOOK_NS = NS_PER_S // 5
LIST_NS = NS_PER_S
MAX_LISTED = 32


class HostSearch:
    """Fields, per name: what the last look showed; per courier: when to look again."""

    def __init__(self, run_dir: Path | None) -> None:
        self.sighting: Sighting | None = None
        """Of the living host; None = none."""
        self.refusal = ""
        """Why the name, or what lies in the run directory, cannot be used."""
        self.running: tuple[str, ...] = ()
        """Names of all hosts that live."""
        self._directories = (run_dir,) if run_dir is not None else run_dirs()
        self._next_look_ns = 0
        self._next_list_ns = 0

    def look(self, name: str, now: int) -> None:
        """Five times a second: a file or two are read."""
        if now >= self._next_look_ns:
            self._next_look_ns = now + LOOK_NS
            try:
                self.sighting, self.refusal = sight_host(name, self._directories), ""
            except RingError as error:
                self.sighting, self.refusal = None, str(error)
        if now >= self._next_list_ns:
            self._next_list_ns = now + LIST_NS
            # The dead leave files: counted first, they would stand in the place of the living.
            running = filter(self._is_running, host_names(self._directories))
            self.running = tuple(islice(running, MAX_LISTED))

    def _is_running(self, name: str) -> bool:
        try:
            sighting = sight_host(name, self._directories)
        except RingError:
            return False
        return sighting is not None and sighting.file is not None
