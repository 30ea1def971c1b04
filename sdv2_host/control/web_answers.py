"""What the web protocol tells of the host: welcome, state, status, notices. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic_core import to_json

from sdv2_host import __version__
from sdv2_host.actions import ACTIONS, ActionArg, ActionSpec
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.control.console import Console, Fact, Notice, SetResult
from sdv2_host.control.fader import Duration
from sdv2_host.control.web_messages import (
    ActionRow,
    ArgRow,
    CallRequest,
    NoticeRow,
    ParamRow,
    SetRequest,
    Welcome,
)
from sdv2_host.control.web_schema import schema_hash
from sdv2_host.param_table import NORM_ROOT, PARAMS, ParamSpec, ParamValue


def _wall_offset_ms() -> float:
    return time.time() * 1000 - now_ns() / NS_PER_MS


@dataclass(frozen=True, slots=True)
class Answers:
    """Fields, per process: what is asked; when the host started; what the wall clock said then, so
    that times told later stay in order whatever is done to it."""

    console: Console
    config: Config
    styles: Callable[[], Mapping[str, str]]
    started_ns: int = field(default_factory=now_ns)
    wall_offset_ms: float = field(default_factory=_wall_offset_ms)
    schema_hash: str = field(default_factory=schema_hash)

    @property
    def uptime_s(self) -> float:
        return (now_ns() - self.started_ns) / NS_PER_S

    def values(self) -> dict[str, ParamValue]:
        """Every parameter's value, as asked for."""
        params = self.console.params
        return {name: getattr(params, name) for name in PARAMS}

    def board(self) -> dict[str, Fact]:
        return dict(self.console.board)

    def welcome(self, port: int) -> Welcome:
        return Welcome(
            version=__version__,
            name=self.config.name,
            engine=self.console.stage.snapshot().engine,
            listen=self.config.listen,
            port=port,
            seq=self.console.seq,
            schema_hash=self.schema_hash,
            params=param_rows(),
            actions=action_rows(),
            values=self.values(),
            board=self.board(),
            notices=self.notices(),
            styles=dict(self.styles()),
        )

    def status_text(self) -> str:
        """The message that tells the status of now."""
        return json_text({"type": "status", **self.console.stage.snapshot().to_json()})

    def status(self) -> dict[str, Any]:
        """As a `StatusAnswer`."""
        return {
            "name": self.config.name,
            "version": __version__,
            "listen": self.config.listen,
            "uptime_s": self.uptime_s,
            **self.console.stage.snapshot().to_json(),
        }

    def notice(self, notice: Notice) -> NoticeRow:
        return NoticeRow.model_validate({**notice._asdict(), "at_ms": self.at_ms(notice.at_ns)})

    def at_ms(self, at_ns: int) -> float:
        """Unix time of a time of our clock."""
        return round(at_ns / NS_PER_MS + self.wall_offset_ms, 3)

    def notices(self, after_ms: float = 0.0) -> list[NoticeRow]:
        """Those that are newer, oldest first."""
        rows = map(self.notice, self.console.notices)
        return [row for row in rows if row.at_ms > after_ms]

    def set(self, request: SetRequest, origin: str) -> SetResult:
        fade = Duration(request.fade) if request.fade is not None else None
        return self.console.set(request.values, origin, fade=fade)

    def call(self, request: CallRequest, origin: str) -> str:
        """Raises: HostError."""
        return self.console.call(request.action, tuple(request.args), origin)


def json_text(content: object) -> str:
    """As JSON that every reader takes: what is no finite number is null."""
    return to_json(content, inf_nan_mode="null").decode()


def param_rows() -> list[ParamRow]:
    """The table of parameters."""
    return [_param_row(spec) for spec in PARAMS.values()]


def _param_row(spec: ParamSpec) -> ParamRow:
    norm = NORM_ROOT + spec.address.removeprefix("/sdv2/")
    return ParamRow.model_validate(
        {
            **asdict(spec),
            "kind": spec.kind.__name__,
            "norm_address": norm if spec.minimum is not None else None,
            "choices": list(spec.choices),
            "group": spec.group.value,
        }
    )


def action_rows() -> list[ActionRow]:
    """The table of actions."""
    return [_action_row(spec) for spec in ACTIONS.values()]


def _action_row(spec: ActionSpec) -> ActionRow:
    return ActionRow(
        name=spec.name,
        address=spec.address,
        group=spec.group.value,
        help=spec.help,
        args=[_arg_row(arg) for arg in spec.args],
        sets=list(spec.sets),
    )


def _arg_row(arg: ActionArg) -> ArgRow:
    return ArgRow.model_validate(
        {
            "name": arg.name,
            "kind": arg.kind.__name__,
            "help": arg.help,
            "minimum": arg.minimum,
            "maximum": arg.maximum,
            "optional": arg.is_optional,
            "repeats": arg.repeats,
        }
    )
