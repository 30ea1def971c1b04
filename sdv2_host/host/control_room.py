"""The control room of one host: all its surfaces and decks around one console, opened and closed
together."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from sdv2_host import __version__
from sdv2_host.clock import now_ns
from sdv2_host.config import Config
from sdv2_host.control.access import (
    make_access,
    remove_dead_host_files,
    remove_host_file,
    write_host_file,
)
from sdv2_host.control.console import Console
from sdv2_host.control.cues import CueDeck
from sdv2_host.control.discovery import Advertisement, presence_of
from sdv2_host.control.mappings import Mappings
from sdv2_host.control.plane import ControlPlane
from sdv2_host.control.presets import PresetDeck, PresetShelf
from sdv2_host.control.state_file import State, StateKeeper
from sdv2_host.control.tempo import Conductor
from sdv2_host.control.web_plane import WebPlane
from sdv2_host.host.folders import folders
from sdv2_host.host.outputs import Outputs
from sdv2_host.host.takes import Takes
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.obs.bridge import SceneBridge
from sdv2_host.params import Params
from sdv2_host.status import HostStatus, ObsCounts
from sdv2_host.types import Frame


class ControlRoom:
    """Fields live from `open` to `close`."""

    def __init__(
        self,
        console: Console,
        config: Config,
        run_dir: Path | None,
        styles: Callable[[], Mapping[str, str]],
    ) -> None:
        """Raises: ConfigError when the config names no addresses where it should."""
        self._console = console
        self._config = config
        self._run_dir = run_dir
        self._folders = folders(config)
        self._access = make_access(config)
        learnt = self._folders.state / f"{config.name}.learnt.json"
        self._mappings = Mappings(console, learnt)
        self._web = WebPlane(
            console,
            config,
            self._access,
            styles,
            osc=lambda: self._plane,
            learnt=self._mappings,
            run_dir=run_dir,
        )
        self._plane = ControlPlane(console, config, self._web, self._mappings)
        shelf = PresetShelf(self._folders.presets, self._folders.shipped, config.engine)
        self._presets = PresetDeck(console, shelf)
        lists = (self._folders.shipped / "cues", self._folders.cues)
        self._cues = CueDeck(console, self._presets, lists)
        self._conductor = Conductor(console)
        self._keeper = StateKeeper(console, state_path(config))
        self._takes: Takes | None = None
        self._outputs = Outputs(console, config, run_dir)
        self._bridge = SceneBridge(console, config) if config.obs_follow else None
        self._watching: list[asyncio.Task[None]] = []
        self._advertisement: Advertisement | None = None
        self._stops: list[Callable[[], None]] = []
        self._is_open = False

    @property
    def port(self) -> int:
        return self._plane.port

    @property
    def page_url(self) -> str:
        """Of the page, with the token where one is needed."""
        return self._host_file().page_url

    def told_in(self, status: HostStatus) -> HostStatus:
        """The same with what surfaces and outputs do and count."""
        takes, bridge = self._takes, self._bridge
        return replace(
            status,
            port=self.port,
            osc=self._plane.counts,
            web=self._web.counts,
            recording=str(takes.path or "") if takes is not None else "",
            show=self._console.params.show,
            camera=self._outputs.camera_text,
            touch_shm=self._outputs.touch_text,
            obs_port=self._config.obs_port,
            obs_feed=self._outputs.feed_text,
            obs=bridge.counts if bridge is not None else ObsCounts(),
        )

    async def open(self, newest: Callable[[], Frame | None], kept: State | None) -> None:
        """Every surface plays the console.

        Args:
            newest: the frame on the output.
            kept: the state of the last run, of which the parameters are in force already.

        Raises:
            ConfigError: the port cannot be used.
        """
        console = self._console
        takes_folder = self._folders.takes
        stream = self._config.output_stream
        self._takes = Takes(console, stream, self._run_dir, takes_folder, newest)
        for deck in (self._presets, self._cues, self._conductor, self._takes):
            console.register(deck.handlers())
        self._mappings.load()
        self._presets.scan()
        self._cues.scan()
        if kept is not None:
            self._presets.restore(kept.preset)
            if kept.cue_list:
                self._cues.restore(kept.cue_list, kept.cue)
        self._conductor.follow(console.params)
        self._conductor.publish()
        console.deferral = self._conductor
        self._stops = [console.listen(self._presets), console.listen(self._conductor)]
        if self._config.resume == "last":
            self._stops.append(console.listen(self._keeper))
        self._watching = [
            asyncio.create_task(self._presets.watch(), name="preset folders"),
            asyncio.create_task(self._cues.watch(), name="cue folders"),
        ]
        await self._plane.start()
        presence = presence_of(self._config, self.port)
        if presence is not None:
            self._advertisement = Advertisement(presence)
            self._advertisement.start()
        await self._outputs.open()
        if self._bridge is not None:
            self._bridge.start()
        remove_dead_host_files(self._run_dir)
        write_host_file(self._host_file(), self._run_dir)
        self._is_open = True

    def follow(self, params: Params) -> None:
        """What the room does itself of the parameters: recording."""
        if self._takes is not None:
            self._takes.follow(params)

    async def close(self) -> None:
        """All is closed that was opened; the state is kept."""
        remove_host_file(self._config.name, self._run_dir)
        if self._bridge is not None:
            await self._bridge.close()
        await self._outputs.close()
        for stop in self._stops:
            stop()
        self._stops = []
        self._cues.close()
        self._conductor.close()
        for task in self._watching:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        # A start that was refused, of a name that is taken or a port, was no host and has no state.
        if self._is_open and self._config.resume == "last":
            self._keeper.close()
        if self._takes is not None:
            await self._takes.close()
        if self._advertisement is not None:
            await self._advertisement.close()
        await self._plane.close()

    def _host_file(self) -> HostFile:
        return HostFile(
            pid=os.getpid(),
            name=self._config.name,
            listen=self._config.listen,
            port=self.port,
            token=self._access.token,
            version=__version__,
            started_ns=now_ns(),
        )


def starts_path(config: Config) -> Path:
    """Where it is noted which starts of this host did not end in order."""
    return folders(config).state / f"{config.name}.starts.json"


def state_path(config: Config) -> Path:
    """Where the state of this host is kept."""
    return folders(config).state / f"{config.name}.json"
