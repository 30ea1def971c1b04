"""Ways of the host to programs that load no plug-in: raw feed, virtual camera, Shared Mem TOPs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.host.sink_process import SinkProcess, sink_args


class Outputs:
    """Those that the config asks for, each in a process of its own. From `open` to `close`."""

    def __init__(self, console: Console, config: Config, run_dir: Path | None) -> None:
        ring = sink_args(config.output_stream, run_dir)
        self._feed: SinkProcess | None = None
        self._camera: SinkProcess | None = None
        self._touch: SinkProcess | None = None
        if config.obs_port:
            feed = [*ring, "--port", str(config.obs_port)]
            self._feed = SinkProcess(console, "OBS feed", "sdv2_host.sinks.raw_feed", feed)
        if config.virtual_camera:
            camera = [*ring, "--device", config.camera_device, "--fps", str(config.camera_fps)]
            self._camera = SinkProcess(
                console, "virtual camera", "sdv2_host.sinks.virtual_camera", camera
            )
        if config.touch_shm:
            touch = [*ring, "--input-stream", config.input_stream, "--name", config.touch_shm]
            self._touch = SinkProcess(
                console, "Shared Mem bridge", "sdv2_host.sinks.touch_shm", touch
            )
        every = (self._feed, self._camera, self._touch)
        self._sinks = [sink for sink in every if sink is not None]

    @property
    def feed_text(self) -> str:
        """What the raw feed does; '' = there is none."""
        return self._feed.state.text if self._feed is not None else ""

    @property
    def camera_text(self) -> str:
        """What the virtual camera does; '' = there is none."""
        return self._camera.state.text if self._camera is not None else ""

    @property
    def touch_text(self) -> str:
        """What goes to and comes from TouchDesigner's Shared Mem TOPs; '' = not asked for."""
        return self._touch.state.text if self._touch is not None else ""

    async def open(self) -> None:
        """Raises: ConfigError when one can never work: a port in use, a package missing."""
        await asyncio.gather(*(sink.start() for sink in self._sinks))

    async def close(self) -> None:
        """Their processes are gone."""
        await asyncio.gather(*(sink.close() for sink in self._sinks))
