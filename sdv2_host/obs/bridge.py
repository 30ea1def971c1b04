"""Scene switches in OBS trigger presets and cues."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from sdv2_host.config import Config, SceneRule
from sdv2_host.control.console import Console
from sdv2_host.errors import ConfigError, HostError
from sdv2_host.obs.client import EventFn, Fields, ObsAddress, ObsClient, load_obswebsocket
from sdv2_host.obs.client import parse_address as parse_obs_address
from sdv2_host.status import ObsCounts

ORIGIN = "obs"
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 10.0
PASSWORD_MAX_BYTES = 4096

T = TypeVar("T")
Connect = Callable[[ObsAddress, str, EventFn, Callable[[], None]], ObsClient]


def read_password(path: str) -> str:
    """The first line of the file; '' = no file was named.

    Raises:
        ConfigError: it cannot be read.
    """
    if not path:
        return ""
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            return file.readline(PASSWORD_MAX_BYTES).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"cannot read the password of OBS in {path}: {reason}") from error


class SceneBridge:
    """Stays connected to OBS, for ever trying again, and plays the console.

    A scene triggers when it comes on air: when OBS switches, and when a connection finds another
    one on air than this host knew of. From `start` to `close`; the network is dealt with in
    threads, since obs-websocket-py blocks.
    """

    def __init__(
        self,
        console: Console,
        config: Config,
        connect: Connect = ObsClient.connect,
        retry_s: float = FIRST_RETRY_S,
    ) -> None:
        """Raises: ConfigError for an address, a password file or a package that is not there."""
        load_obswebsocket()
        self.counts = ObsCounts(state="connecting")
        self._console = console
        self._rules = config.obs_scenes
        self._address = parse_obs_address(config.obs_address)
        self._password_file = config.obs_password_file
        read_password(self._password_file)
        self._connect = connect
        self._retry_s = retry_s
        self._problem = ""
        self._life: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self._rules:
            text = "no scene triggers anything: the config file has no [obs.scenes]"
            self._console.note("warning", ORIGIN, text)
        self._life = asyncio.create_task(self._run(), name="OBS")

    async def close(self) -> None:
        """No longer connected."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait({self._life})

    async def _run(self) -> None:
        wait_s = self._retry_s
        while True:
            try:
                await self._follow()
                wait_s = self._retry_s
                self._say("OBS went away; trying again", is_problem=True)
            except HostError as error:
                self._say(str(error), is_problem=True)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_RETRY_S)

    def _say(self, text: str, is_problem: bool = False) -> None:
        """Told once, however often it is tried."""
        self.counts.state = text
        if not is_problem:
            self._problem = ""
            self._console.note("info", ORIGIN, text)
        elif text != self._problem:
            self._problem = text
            self._console.note("warning", ORIGIN, text)

    async def _follow(self) -> None:
        """One connection; returns when it ended. Raises: HostError when there is none."""
        loop = asyncio.get_running_loop()
        scenes: asyncio.Queue[str | None] = asyncio.Queue()

        def on_event(kind: str, fields: Fields) -> None:
            if kind == "CurrentProgramSceneChanged":
                _put(loop, scenes, str(fields.get("sceneName", "")))

        # Read anew each time: a password that was wrong may have been put right.
        password = read_password(self._password_file)
        client = await _in_thread(
            lambda: self._connect(
                self._address, password, on_event, lambda: _put(loop, scenes, None)
            )
        )
        try:
            self.counts.connects += 1
            self._say(f"connected to OBS {client.version} at {self._address}")
            answer = await _in_thread(lambda: client.request("GetCurrentProgramScene"))
            scene: str | None = str(answer.get("currentProgramSceneName", ""))
            while scene is not None:
                self._on_scene(scene)
                scene = await scenes.get()
        finally:
            await _in_thread(client.close)

    def _on_scene(self, scene: str) -> None:
        if scene == self.counts.scene:
            return
        is_first = not self.counts.scene
        self.counts.scene = scene
        self.counts.switches += not is_first
        rule = self._rules.get(scene)
        if rule is None:
            return
        action, args = _action(rule)
        what = f"preset {rule.preset}" if rule.preset is not None else f"cue {rule.cue}"
        self._console.note("info", ORIGIN, f"scene {scene!r:.80}: {what}")
        if self._console.try_call(action, args, ORIGIN):
            self.counts.triggered += 1
        else:
            self.counts.failed += 1


def _action(rule: SceneRule) -> tuple[str, tuple[str | float, ...]]:
    """The action of the console that the rule asks for."""
    if rule.preset is not None:
        return "preset_load", (rule.preset, *([rule.fade] if rule.fade is not None else []))
    assert rule.cue is not None, "one of the two"
    return "cue_go", (() if rule.cue == "next" else (rule.cue,))


def _put(
    loop: asyncio.AbstractEventLoop, scenes: asyncio.Queue[str | None], scene: str | None
) -> None:
    """From any thread; nothing where the loop has ended."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(scenes.put_nowait, scene)


async def _in_thread(run: Callable[[], T]) -> T:
    """What `run` returns or raises, in a thread that nobody waits for when the host stops."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast(T, result))

    def body() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = run()
        except BaseException as caught:  # raised again where it is awaited
            error = caught
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=body, name="OBS call", daemon=True).start()
    return await done
