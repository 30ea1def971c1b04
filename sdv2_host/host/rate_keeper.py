"""Has a cheaper setup of the same engine prepared where the rate cannot be kept with the asked one.

The parameters stay as the user has set them: they say what is asked for, `SetupDesk` what is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.errors import ModelError
from sdv2_host.host.prompt_desk import needs_bank
from sdv2_host.host.setup_desk import SetupDesk
from sdv2_host.ipc.messages import Heartbeat, Ready, Report
from sdv2_host.models.store import locate, models_dir, needed_parts
from sdv2_host.stream.setups import VAE_LADDER, Coding, Setup
from sdv2_host.stream.slo import StepTable
from sdv2_host.types import Layout, Shape

ORIGIN = "schedule"


def _now_s() -> float:
    return now_ns() / NS_PER_S


class EngineWishes(Protocol):
    """What of `EngineDesk` is asked and told."""

    @property
    def asked(self) -> Config: ...

    @property
    def is_changing(self) -> bool: ...

    def substitute(self, config: Config, on_refused: Callable[[str], None]) -> None: ...


class RateKeeper:
    """Told what the worker in use says. Used in one event loop.

    Fields, per process: `_asked` the configuration that the desk is for; `_config` and `_table` of
    the worker in use, None = there was none yet; `_said` its newest sentence.
    """

    def __init__(
        self, engine_desk: EngineWishes, console: Console, now_s: Callable[[], float] = _now_s
    ) -> None:
        """`now_s` is any clock that goes on, in seconds."""
        self._engine_desk = engine_desk
        self._console = console
        self._now_s = now_s
        self._asked = engine_desk.asked
        self._desk = SetupDesk(_setup_of(self._asked), self._installed_vaes)
        self._config: Config | None = None
        self._table: StepTable | None = None
        self._said = ""

    @property
    def says(self) -> str:
        """What was done to keep the rate, and why; '' = all is as the user asks."""
        return self._desk.says

    def began(self, config: Config, ready: Ready) -> None:
        """The worker in use is another one, or has been started again."""
        self._config, self._table = config, _table_of(ready)
        self._follow_asked()
        if config.engine == self._asked.engine:
            self._desk.began(_setup_of(config), self._table, self._now_s())
        self._tell()

    def heard(self, message: Report | Heartbeat) -> None:
        """The worker in use has made a chunk, or waits for one."""
        self._follow_asked()
        if self._engine_desk.is_changing and not self._desk.is_preparing:
            return  # to what the user asks for
        pace = coding = None
        if isinstance(message, Report):
            pace, coding = message.pace, _coding_of(message)
        wanted = self._desk.told(pace, coding, self._console.params, self._now_s())
        if wanted is not None:
            self._engine_desk.substitute(_with_setup(self._asked, wanted), self._refused)
        self._tell()

    def _follow_asked(self) -> None:
        """What the user asks for has changed: what was decided before it is over."""
        asked = self._engine_desk.asked
        if asked == self._asked:
            return
        costs = self._desk.costs if asked.engine == self._asked.engine else {}
        self._asked = asked
        self._desk = SetupDesk(_setup_of(asked), self._installed_vaes, costs)
        at = self._config
        if at is not None and self._table is not None and at.engine == asked.engine:
            self._desk.began(_setup_of(at), self._table, self._now_s())

    def _refused(self, reason: str) -> None:
        self._desk.refused(reason, self._now_s())
        self._tell()

    def _tell(self) -> None:
        if self.says and self.says != self._said:
            self._console.note("info", ORIGIN, self.says)
        self._said = self.says

    def _installed_vaes(self) -> list[str]:
        """Autoencoders whose files are there; an engine with one of its own has no choice."""
        if not needs_bank(self._asked.engine):
            return []
        return [vae for vae in VAE_LADDER if _is_installed(self._asked, vae)]


def _is_installed(config: Config, vae: str) -> bool:
    needs = needed_parts(config.model_copy(update={"vae": vae}))
    try:
        locate(config.engine, models_dir(config.models_dir), needs=needs)
    except ModelError:
        return False
    return True


def _setup_of(config: Config) -> Setup:
    return Setup(config.vae, config.size)


def _with_setup(config: Config, setup: Setup) -> Config:
    width, height = setup.size
    return config.model_copy(update={"vae": setup.vae, "width": width, "height": height})


def _table_of(ready: Ready) -> StepTable:
    # The steps of the shape as started do not matter to a table.
    as_started = Shape(ready.chunk_frames, Layout(ready.layout), 1)
    return StepTable(as_started, {Shape.parse(text): ms for text, ms in ready.step_ms.items()})


def _coding_of(report: Report) -> Coding | None:
    """None for an engine that tells nothing of an autoencoder."""
    spans, num_frames = report.spans_ms, report.notes.get("chunk_frames", 0.0)
    if not num_frames or not {"encode", "decode"} <= spans.keys():
        return None
    return Coding(spans["encode"] / num_frames, spans["decode"] / num_frames)
