"""Scene switches play the console, whatever becomes of OBS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sdv2_host.actions import Args
from sdv2_host.config import Config, SceneRule
from sdv2_host.control.console import Console
from sdv2_host.errors import ConfigError, ParamError
from sdv2_host.obs.bridge import SceneBridge
from tests.control.fake_stage import FakeStage
from tests.obs.fake_obs import FakeObs

RULES = {
    "Rain": SceneRule(preset="Neon Rain", fade=2),
    "Quiz": SceneRule(cue="2"),
    "Break": SceneRule(cue="next"),
    "Lost": SceneRule(preset="nowhere"),
}


class Room:
    """A console whose presets and cues are written down, and its bridge to a small OBS."""

    def __init__(self, config: Config) -> None:
        self.console = Console(FakeStage())
        self.done: list[tuple[str, Args]] = []
        self.console.register({"preset_load": self._preset, "cue_go": self._cue})
        self.bridge = SceneBridge(self.console, config, retry_s=0.05)

    def _preset(self, args: Args, origin: str) -> str:
        if args[0] == "nowhere":
            raise ParamError("no preset 'nowhere'")
        self.done.append(("preset_load", args))
        return "loaded"

    def _cue(self, args: Args, origin: str) -> str:
        self.done.append(("cue_go", args))
        return "went"

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)

    def notes(self) -> list[str]:
        return [notice.text for notice in self.console.notices]


@asynccontextmanager
async def room(fake: FakeObs, **settings: str) -> AsyncIterator[Room]:
    config = Config(obs_address=f"127.0.0.1:{fake.port}", obs_scenes=RULES, **settings)
    one = Room(config)
    one.bridge.start()
    try:
        yield one
    finally:
        await one.bridge.close()


async def switch(fake: FakeObs, scene: str) -> None:
    await asyncio.to_thread(fake.switch, scene)


def test_scenes_trigger_presets_and_cues_and_are_counted() -> None:
    async def body() -> None:
        with FakeObs() as fake:
            async with room(fake) as one:
                counts = one.bridge.counts
                await one.until(lambda: counts.scene == "Main")
                for scene in ("Rain", "Quiz", "Elsewhere", "Break", "Lost"):
                    await switch(fake, scene)
                await one.until(lambda: counts.switches == 5)

                assert one.done == [
                    ("preset_load", ("Neon Rain", 2.0)),
                    ("cue_go", ("2",)),
                    ("cue_go", ()),
                ]
                assert (counts.triggered, counts.failed, counts.connects) == (3, 1, 1)
                assert "no preset 'nowhere'" in one.notes()
                assert any("scene 'Rain': preset Neon Rain" in note for note in one.notes())

    asyncio.run(body())


def test_the_scene_on_air_triggers_when_the_host_comes_and_not_again_when_obs_is_back() -> None:
    async def body() -> None:
        with FakeObs() as fake:
            fake.studio.program = "Rain"
            async with room(fake) as one:
                await one.until(lambda: len(one.done) == 1)
                await asyncio.to_thread(fake.stop)
                await one.until(lambda: "away" in one.bridge.counts.state)
                await asyncio.to_thread(fake.start)
                await one.until(lambda: one.bridge.counts.connects == 2)
                await switch(fake, "Quiz")
                await one.until(lambda: len(one.done) == 2)

                assert one.done[1] == ("cue_go", ("2",))

    asyncio.run(body())


def test_a_switch_that_nobody_saw_triggers_when_obs_is_back() -> None:
    async def body() -> None:
        with FakeObs() as fake:
            async with room(fake) as one:
                await one.until(lambda: one.bridge.counts.scene == "Main")
                await asyncio.to_thread(fake.stop)
                fake.studio.program = "Rain"
                await asyncio.to_thread(fake.start)
                await one.until(lambda: len(one.done) == 1)

    asyncio.run(body())


def test_a_wrong_password_is_told_once_and_tried_again_when_it_is_put_right(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")

    async def body() -> None:
        with FakeObs(password="right") as fake:
            async with room(fake, obs_password_file=str(secret)) as one:
                await one.until(lambda: "refuses the password" in one.bridge.counts.state)
                await asyncio.sleep(0.3)
                told = [note for note in one.notes() if "refuses the password" in note]
                secret.write_text("right\n")
                await one.until(lambda: one.bridge.counts.connects == 1)

                assert len(told) == 1
                assert not any("right" in note for note in one.notes() if "Settings" not in note)

    asyncio.run(body())


def test_an_obs_that_hangs_does_not_hold_the_host() -> None:
    async def body() -> float:
        with FakeObs() as fake:
            fake.mute = True
            one = Room(Config(obs_address=f"127.0.0.1:{fake.port}"))
            one.bridge.start()
            await one.until(lambda: fake.requests != [])
            begin_s = time.monotonic()
            await one.bridge.close()
            return time.monotonic() - begin_s

    assert asyncio.run(body()) < 1


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"obs_address": "nowhere:x"}, "expected HOST:PORT"),
        ({"obs_password_file": "/nonexistent/secret"}, "cannot read the password of OBS"),
    ],
)
def test_what_can_never_work_stops_the_start(settings: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Room(Config(**settings))
