"""Attachment: all that hangs on one host name, found, lost and found again for ever."""

from __future__ import annotations

from pathlib import Path

from sdv2_host import __version__
from sdv2_host.client.host_link import HostLink
from sdv2_host.client.host_search import HostSearch
from sdv2_host.client.input_ring import InputRing
from sdv2_host.client.judgement import Facts
from sdv2_host.client.lockstep import Ground
from sdv2_host.client.output_ring import OutputRing
from sdv2_host.clock import NS_PER_S
from sdv2_host.ipc.host_file import HOST_NAME

REACH_NS = NS_PER_S
"""Between two tries to reach an address to which there is no way."""


class Attachment:
    """Fields, per host name: search and output ring; per directory that the host lives in: the
    input ring; per start of the host: the link, and since when there is, or is no host.
    """

    def __init__(self, host: str, run_dir: Path | None, now: int) -> None:
        self.host = host
        self.search = HostSearch(run_dir)
        self.link: HostLink | None = None
        self.input: InputRing | None = None
        """None = there is no host to send to."""
        self.output: OutputRing | None = None
        """None = the name cannot be a host's."""
        self._met_ns = now
        self._unreachable = ""
        self._next_reach_ns = 0
        if HOST_NAME.fullmatch(host):
            self.output = OutputRing(host, run_dir)

    @property
    def is_there(self) -> bool:
        """A process holds the output ring."""
        return self.search.sighting is not None

    def meet(self, now: int) -> bool:
        """Whether there is a new link, to the host that was sighted or another start of it."""
        self._find_input()
        sighting = self.search.sighting
        file = sighting.file if sighting is not None else None
        if self.link is not None and self.link.file != file:
            self.link.close()
            self.link, self._met_ns = None, now
        if file is None:
            self._unreachable, self._next_reach_ns = "", 0
        if self.link is not None or file is None or now < self._next_reach_ns:
            return False
        try:
            self.link = HostLink(file, now)
        except OSError as error:
            self._next_reach_ns = now + REACH_NS
            self._unreachable = (
                f"Cannot reach host '{self.host}' at {file.address} port {file.port}: "
                f"{error.strerror}. Start it with --listen 127.0.0.1."
            )
            return False
        self._unreachable, self._met_ns = "", now
        return True

    def _find_input(self) -> None:
        """The ring stays while the host restarts: it may be long in coming back."""
        sighting = self.search.sighting
        if sighting is None:
            return
        if self.input is not None and self.input.directory != sighting.directory:
            self.input.close()  # the host went to live where programs in a sandbox see it
            self.input = None
        if self.input is None:
            self.input = InputRing(self.host, sighting.directory)

    @property
    def ground(self) -> Ground | None:
        """What a lock-step stands on; None = the host is not there, or not ready."""
        link = self.link
        if link is None or link.told.text("state") not in ("live", "waiting"):
            return None
        delay_frames = link.told.delay_frames
        return Ground(link.file, delay_frames) if delay_frames else None

    def facts(self, now: int) -> Facts:
        """What is known of the host now."""
        link, output, ring = self.link, self.output, self.input
        fresh_ns = max(output.fresh_ns if output is not None else 0, self._met_ns)
        known = Facts(
            host=self.host,
            ours=__version__,
            running=self.search.running,
            refusal=self.search.refusal or self._unreachable,
            is_there=self.is_there,
            is_stalled=output is not None and self.is_there and output.is_stalled(now),
            input_trouble=ring.trouble if ring is not None else "",
            sending_s=ring.sending_s(now) if ring is not None else 0.0,
            dry_s=(now - fresh_ns) / NS_PER_S,
        )
        return known if link is None else link.facts(known, now)

    def close(self) -> None:
        """Rings and socket are closed."""
        for one in (self.link, self.input, self.output):
            if one is not None:
                one.close()
        self.link = self.input = None
