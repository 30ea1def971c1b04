"""A daemon's parameters without the daemon: what a console plays in tests of the surfaces."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdv2_host.control.console import Change, Console, Notice
from sdv2_host.control.fader import Duration
from sdv2_host.param_table import Patch
from sdv2_host.param_values import apply
from sdv2_host.params import Params
from sdv2_host.status import HostState, HostStatus
from sdv2_host.types import Size


@dataclass
class FakeStage:
    params: Params = field(default_factory=Params)
    applied: list[tuple[dict[str, object], str, Duration | None]] = field(default_factory=list)
    status: HostStatus = field(
        default_factory=lambda: HostStatus(HostState.LIVE, "live", "tiny", Size(256, 256), fps=25)
    )

    def apply(self, patch: Patch, origin: str, fade: Duration | None = None) -> Params:
        self.applied.append((dict(patch), origin, fade))
        self.params = apply(self.params, patch)
        return self.params

    def snapshot(self) -> HostStatus:
        return self.status


@dataclass
class Witness:
    """Remembers what a console tells."""

    changes: list[Change] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    @property
    def all(self) -> tuple[list[Change], list[Notice]]:
        return self.changes, self.notices

    def on_change(self, change: Change) -> None:
        self.changes.append(change)

    def on_notice(self, notice: Notice) -> None:
        self.notices.append(notice)


def fake_console() -> tuple[Console, FakeStage, Witness]:
    stage, witness = FakeStage(), Witness()
    console = Console(stage)
    console.listen(witness)
    return console, stage, witness
