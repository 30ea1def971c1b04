"""The host's ports, and who can reach them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence

from sdv2_host.asking import Ask
from sdv2_host.checkup.finding import Finding, Subject
from sdv2_host.config import Config
from sdv2_host.control.access import is_loopback, running_hosts
from sdv2_host.control.ports import bind_both
from sdv2_host.errors import ConfigError
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.sinks.raw_feed import listen

GROUP = "Network"
_RANGE = re.compile(r"^\s*(\d{1,5})\s+(\d{1,5})\b")
Span = tuple[int, int]


def check_ports(config: Config, ask: Ask) -> list[Finding]:
    """The control port, the feed's, and what Windows keeps from everybody."""
    excluded = excluded_ranges(ask) if sys.platform == "win32" else []
    findings = [control_port_finding(config, running_hosts(), excluded)]
    if config.obs_port:
        findings.append(feed_port_finding(config, excluded))
    return [*findings, reach_finding(config)]


def excluded_ranges(ask: Ask) -> list[Span]:
    """Ports that Windows has set aside, for Hyper-V or WSL: to bind one fails as if it were used,
    though no program has it."""
    spans = set()
    for protocol in ("tcp", "udp"):
        said = ask(("netsh", "int", "ipv4", "show", "excludedportrange", f"protocol={protocol}"))
        spans |= set(read_ranges(said or ""))
    return sorted(spans)


def read_ranges(text: str) -> Iterator[Span]:
    """From what netsh prints, in any language: rows of two numbers."""
    for line in text.splitlines():
        if found := _RANGE.match(line):
            yield int(found[1]), int(found[2])


def control_port_finding(
    config: Config, running: Sequence[HostFile], excluded: Sequence[Span]
) -> Finding:
    """Free, or whose it is."""
    subject = Subject(GROUP, f"port {config.port}" if config.port else "port")
    ours = [host for host in running if host.port == config.port and config.port]
    if ours:
        return subject.warning(
            f"host {ours[0].name} (process {ours[0].pid}) runs and has it",
            "that host is played there; another one needs another port",
            "nothing, if it is the one of the show; else stop it, or start with --port 0",
        )
    if reserved := _excluding(config.port, excluded):
        return _reserved(subject, reserved)
    try:
        udp, tcp = bind_both(config.listen, config.port)
    except ConfigError as error:
        return subject.trouble(
            str(error), "the host cannot start", "as it says; then sdv2-host doctor again"
        )
    number = tcp.getsockname()[1]
    udp.close()
    tcp.close()
    return subject.ok(f"{config.listen}:{number} is free, UDP and TCP")


def feed_port_finding(config: Config, excluded: Sequence[Span]) -> Finding:
    """Of the feed for OBS' Media Source."""
    subject = Subject(GROUP, f"port {config.obs_port} for OBS")
    if reserved := _excluding(config.obs_port, excluded):
        return _reserved(subject, reserved)
    try:
        listen(config.obs_port).close()
    except ConfigError as error:
        return subject.warning(
            str(error),
            "OBS' Media Source gets no picture",
            "as it says, and give the Media Source the same port",
        )
    return subject.ok("free")


def _excluding(port: int, excluded: Sequence[Span]) -> Span | None:
    return next((span for span in excluded if span[0] <= port <= span[1]), None)


def _reserved(subject: Subject, span: Span) -> Finding:
    return subject.trouble(
        f"Windows has set aside ports {span[0]} to {span[1]}, for Hyper-V or WSL",
        "the host cannot start, though no program has the port",
        "choose a port outside, such as --port 7400; or as administrator: net stop winnat, start "
        "the host, net start winnat",
    )


def reach_finding(config: Config) -> Finding:
    """Who can reach the host as it is asked for."""
    subject = Subject(GROUP, "who can reach it")
    if is_loopback(config.listen):
        if config.osc_from:
            return subject.warning(
                f"this computer alone ({config.listen}), though --osc-from {config.osc_from} "
                "allows others",
                "the others' OSC does not arrive",
                "start with --listen and this computer's address in that network",
            )
        return subject.ok(f"this computer alone ({config.listen}); no firewall is in the way")
    return subject.warning(
        f"every computer of the network that {config.listen} is in, with the token that the "
        "start prints",
        "a firewall may keep OSC and the page out; OSC is taken only from --osc-from",
        "allow the port, UDP and TCP, in this computer's firewall"
        + (", and name the senders with --osc-from" if not config.osc_from else ""),
    )
