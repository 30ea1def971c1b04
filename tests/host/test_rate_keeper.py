"""Cheaper setups that the host has prepared by itself: when, which, and what the user is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sdv2_host.config import Config
from sdv2_host.host.rate_keeper import RateKeeper
from sdv2_host.ipc.messages import Heartbeat, Pace, Ready, Report
from sdv2_host.models.imports import register_part
from sdv2_host.models.store import hub_store
from sdv2_host.params import SloMode
from sdv2_host.stream.ladder import REFUSED_S
from sdv2_host.types import Layout, Shape, Size
from tests.control.fake_stage import fake_console

PIXEL_MS = 64.0 / (256 * 256)
"""A chunk of 4 at 256x256 takes 64 ms with one step: 62 fps, 16 ms of them the autoencoder's."""


@dataclass
class FakeEngines:
    """What `EngineDesk` is to the keeper."""

    asked: Config
    is_changing: bool = False
    prepared: list[Config] = field(default_factory=list)
    refuse: Callable[[str], None] = print

    def substitute(self, config: Config, on_refused: Callable[[str], None]) -> None:
        self.prepared.append(config)
        self.refuse, self.is_changing = on_refused, True


class Host:
    """A keeper and the worker that it hears, half a second a chunk."""

    def __init__(self, config: Config, mode: SloMode = "size") -> None:
        self.console, self.stage, self.witness = fake_console()
        self.stage.params = self.stage.params.model_copy(update={"slo_mode": mode, "steps": 1})
        self.engines = FakeEngines(config)
        self.now_s = 0.0
        self.keeper = RateKeeper(self.engines, self.console, lambda: self.now_s)
        self.take_over(config)

    @property
    def prepared(self) -> list[Size]:
        return [config.size for config in self.engines.prepared]

    def take_over(self, config: Config | None = None) -> None:
        """A worker with this is at work, None = with what was prepared."""
        self.config = config or self.engines.prepared[-1]
        self.engines.is_changing = False
        self.keeper.began(self.config, ready_with(self.config.size))

    def hears(self, seconds: float, fps: float, *, is_lockstep: bool = False) -> None:
        pace = Pace(source_fps=fps, slowdown=1.0, is_lockstep=is_lockstep)
        ms = self.config.width * self.config.height * PIXEL_MS / 4
        spans = {"encode": ms / 3, "denoise": 3 * ms, "decode": 2 * ms / 3}
        for _ in range(round(2 * seconds)):
            self.now_s += 0.5
            self.keeper.heard(report_with(pace, spans))

    def waits(self, seconds: float) -> None:
        for _ in range(round(10 * seconds)):
            self.now_s += 0.1
            self.keeper.heard(Heartbeat())


def ready_with(size: Size) -> Ready:
    step_ms = size.width * size.height * PIXEL_MS
    return Ready(
        engine="tiny",
        warmup_ms=1.0,
        ready_ns=1,
        width=size.width,
        height=size.height,
        first_chunk_frames=1,
        chunk_frames=4,
        delay_frames=3,
        step_ms={str(Shape(4, Layout.SERIAL, 1)): step_ms},
    )


def report_with(pace: Pace | None, spans: dict[str, float]) -> Report:
    return Report(
        version=1,
        spans_ms=spans,
        notes={"chunk_frames": 4.0},
        frames_in=4,
        frames_out=4,
        dropped=0,
        queue_depth=0,
        rss_bytes=1,
        pace=pace,
    )


TINY = Config(engine="tiny", width=256, height=256)


def test_a_smaller_size_is_prepared_and_the_parameters_stay_as_they_are() -> None:
    host = Host(TINY)
    params = host.stage.params

    host.hears(60, fps=80)
    assert host.prepared == [Size(192, 192)]
    assert host.engines.prepared[0].vae == TINY.vae
    assert host.keeper.says == "preparing 192x192: 62 fps possible with 256x256, 80 wanted"

    host.take_over()
    host.hears(60, fps=80)

    said = "192x192 in place of 256x256: 62 fps possible with 256x256, 80 wanted"
    assert host.keeper.says == said
    assert [notice.text for notice in host.witness.notices if notice.origin == "schedule"] == [
        "preparing 192x192: 62 fps possible with 256x256, 80 wanted",
        said,
    ]
    assert host.stage.params == params
    assert len(host.prepared) == 1


def test_what_was_asked_for_comes_back_when_there_is_room_again() -> None:
    host = Host(TINY)
    host.hears(60, fps=80)
    host.take_over()
    host.hears(10, fps=80)

    host.hears(600, fps=20)
    assert host.engines.prepared[1:] == [TINY]
    host.take_over()

    assert host.keeper.says == ""


def test_a_slow_source_whose_worker_mostly_waits_gets_back_what_was_asked_for_too() -> None:
    host = Host(TINY)
    host.hears(60, fps=80)
    host.take_over()

    for _ in range(150):
        host.hears(0.5, fps=2)
        host.waits(1.5)

    assert host.engines.prepared[1:] == [TINY]


def test_a_source_that_has_stopped_changes_nothing() -> None:
    host = Host(TINY)
    host.hears(5, fps=80)

    host.waits(600)

    assert host.prepared == []


@pytest.mark.parametrize("mode", ["off", "chunks", "steps", "vae"])
def test_no_size_changes_where_the_user_does_not_allow_it(mode: SloMode) -> None:
    host = Host(TINY, mode)

    host.hears(600, fps=200)

    assert host.prepared == []
    assert host.keeper.says == ""


def test_a_render_in_lock_step_keeps_its_size() -> None:
    host = Host(TINY)

    host.hears(600, fps=200, is_lockstep=True)

    assert host.prepared == []


def test_without_frames_a_narrower_mode_still_holds_at_once() -> None:
    host = Host(TINY)
    host.hears(60, fps=80)
    host.take_over()
    host.console.set({"slo_mode": "steps"}, "page")

    host.keeper.heard(Heartbeat())

    assert host.engines.prepared[-1] == TINY


def test_while_what_the_user_asks_for_is_on_its_way_nothing_is_decided() -> None:
    host = Host(TINY)
    larger = TINY.model_copy(update={"width": 512, "height": 512})
    host.engines.asked, host.engines.is_changing = larger, True

    host.hears(600, fps=80)
    assert host.prepared == []

    host.take_over(larger)
    host.hears(60, fps=80)
    assert host.prepared == [Size(272, 272)]


def test_a_wish_that_is_changed_while_another_setup_is_prepared_wins() -> None:
    host = Host(TINY)
    host.hears(60, fps=80)
    other = TINY.model_copy(update={"width": 128, "height": 128})
    host.engines.asked = other

    host.hears(30, fps=80)
    host.take_over(other)
    host.hears(600, fps=80)

    assert host.prepared == [Size(192, 192)]
    assert host.keeper.says == ""


def test_when_the_users_wish_is_refused_the_setup_at_work_is_judged_on() -> None:
    host = Host(TINY)
    host.hears(60, fps=80)
    host.take_over()
    host.engines.asked, host.engines.is_changing = TINY.model_copy(update={"width": 2048}), True
    host.hears(5, fps=80)
    host.engines.asked, host.engines.is_changing = TINY, False

    host.hears(600, fps=20)

    assert host.engines.prepared[-1] == TINY


def test_what_cannot_be_started_is_said_and_not_tried_again_for_a_while() -> None:
    host = Host(TINY)
    host.hears(60, fps=80)
    host.engines.is_changing = False

    host.engines.refuse("memory ran out")
    assert host.keeper.says == "192x192 is not tried for 5 min: memory ran out"
    host.hears(REFUSED_S - 30, fps=80)

    assert Size(192, 192) not in host.prepared[1:]


def test_another_engine_begins_with_nothing_known() -> None:
    host = Host(TINY)
    host.hears(60, fps=80)
    host.take_over()
    plain = TINY.model_copy(update={"engine": "passthrough"})
    host.engines.asked = plain
    host.keeper.began(plain, ready_with(plain.size).model_copy(update={"step_ms": {}}))

    host.now_s += 100
    host.keeper.heard(report_with(None, {"convert": 1.0}))

    assert host.keeper.says == ""
    assert len(host.prepared) == 1


def test_only_autoencoders_that_are_installed_are_tried(tmp_path: Path) -> None:
    for role in ("dit", "vae"):
        import_part(tmp_path, role)
    wan = Config(engine="wan-1.3b", width=256, height=256, models_dir=str(tmp_path))
    host = Host(wan, "vae")
    host.hears(60, fps=80)
    assert host.prepared == []

    import_part(tmp_path, "taehv")
    host = Host(wan, "vae")
    host.hears(60, fps=64)

    assert [config.vae for config in host.engines.prepared] == ["hybrid"]
    assert host.keeper.says.startswith("preparing VAE hybrid: 62 fps possible with VAE wan, ")


def import_part(models_dir: Path, role: str) -> None:
    """A file of the user stands for the part of wan-1.3b."""
    store = hub_store(models_dir)
    slots = {part.role.value: part.slot for part in store.catalogue.entry("wan-1.3b").parts}
    path = models_dir / f"{role}.safetensors"
    path.write_bytes(b"weights")
    register_part(store, slots[role], path)
