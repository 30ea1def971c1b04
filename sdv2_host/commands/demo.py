"""`sdv2-host demo`: the daemon with a source of its own, watched in a browser or recorded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import webbrowser
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdv2_host.commands.interrupt import Interrupt
from sdv2_host.commands.narrator import Narrator, summary
from sdv2_host.commands.preflight import check_installed
from sdv2_host.commands.recording import Recording, record
from sdv2_host.commands.report import check_writable, write_report
from sdv2_host.commands.run import rings, tell_surfaces
from sdv2_host.commands.styles import prompt_buttons
from sdv2_host.config import Config
from sdv2_host.host.daemon import Daemon
from sdv2_host.host.heap import keep_heap_small
from sdv2_host.ipc.run_dir import keep_files_private
from sdv2_host.log_stream import log_without_waiting
from sdv2_host.params import Params
from sdv2_host.sources.process import SourceProcess


@dataclass(frozen=True, slots=True)
class LiveDemo:
    """Watched in a browser."""

    open_browser: bool


@dataclass(frozen=True, slots=True)
class HeadlessDemo:
    """Recorded: for scripts."""

    frames: int
    out: Path
    json: Path | None


def source_args(source: str, camera: int, config: Config) -> list[str]:
    """Arguments of `python -m sdv2_host.sources` for --input."""
    if source == "test":
        return ["--pattern", str(config.size)]
    if source == "camera":
        return ["--camera", str(camera)]
    return ["--file", source]


async def demo(
    config: Config, params: Params, source: list[str], mode: LiveDemo | HeadlessDemo
) -> int:
    """Runs until interrupted, or until a headless demo has its frames; the exit code.

    Raises:
        HostError: source, port, engine or output folder cannot be used; nothing is left behind.
    """
    if isinstance(mode, HeadlessDemo) and mode.json is not None:
        check_writable(mode.json)
    check_installed(config, params)
    interrupt = Interrupt()
    narrator = Narrator()
    keep_files_private()
    log_without_waiting()
    keep_heap_small()
    daemon = Daemon(config, params, styles=lambda: prompt_buttons(daemon.config_in_use))
    daemon.on_progress.append(narrator.progress)
    async with _opened_source(config, source, interrupt) as feed:
        if feed is not None:
            narrator.say(f"source: {feed.title}; {rings(config)}")
            body = (
                _watch(daemon, feed, mode, narrator)
                if isinstance(mode, LiveDemo)
                else _record(daemon, feed, mode, narrator)
            )
            await _with_daemon(daemon, interrupt, body)
    if isinstance(mode, LiveDemo):
        narrator.say(f"stopped; {summary(daemon.snapshot())}")
    return interrupt.exit_code


@contextlib.asynccontextmanager
async def _opened_source(
    config: Config, args: list[str], interrupt: Interrupt
) -> AsyncIterator[SourceProcess | None]:
    """The source, open but silent; None when a signal came first."""
    opening = asyncio.create_task(SourceProcess.start(config.input_stream, args))
    stopped = asyncio.create_task(interrupt.stopped.wait())
    await asyncio.wait({opening, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not opening.done():
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening
        yield None
        return
    feed = opening.result()
    try:
        yield feed
    finally:
        await feed.stop()


async def _with_daemon(
    daemon: Daemon, interrupt: Interrupt, body: Coroutine[Any, Any, None]
) -> None:
    """Runs daemon and body together; the end of either, or a signal, ends both."""
    stop = asyncio.Event()
    serving = asyncio.create_task(daemon.run(stop))
    acting = asyncio.create_task(body)
    stopped = asyncio.create_task(interrupt.stopped.wait())
    await asyncio.wait({serving, acting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    stopped.cancel()
    acted = acting.done()
    acting.cancel()
    await asyncio.wait({serving, acting})
    serving.result()
    if acted:
        acting.result()


async def _watch(daemon: Daemon, feed: SourceProcess, mode: LiveDemo, narrator: Narrator) -> None:
    """Feeds the host until cancelled or until the source breaks."""
    await daemon.opened.wait()
    narrator.say(f"open {daemon.url} in a browser; Ctrl-C stops")
    if mode.open_browser and _has_desktop():
        await asyncio.to_thread(webbrowser.open, daemon.url)
    feed.begin()
    await asyncio.gather(feed.wait(), narrator.follow(daemon), _tell_ready(daemon, narrator))


async def _tell_ready(daemon: Daemon, narrator: Narrator) -> None:
    await daemon.ready.wait()
    tell_surfaces(daemon, narrator)


async def _record(
    daemon: Daemon, feed: SourceProcess, mode: HeadlessDemo, narrator: Narrator
) -> None:
    """Records the frames that were asked for, once the engine is warm."""
    with Recording(daemon.config, mode.frames, mode.out, feed.fps) as recording:
        await daemon.ready.wait()
        narrator.say(f"ready; recording {mode.frames} frames")
        feed.begin()
        waiting = asyncio.create_task(feed.wait())
        recorded = asyncio.create_task(record(recording, daemon, narrator.progress))
        try:
            await asyncio.wait({waiting, recorded}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
            await recorded
        finally:
            waiting.cancel()
            recorded.cancel()
            await asyncio.wait({waiting, recorded})
        status = daemon.snapshot()
        await feed.stop()
    recording.write_sheet(daemon.params)
    narrator.say(f"wrote {mode.out / 'out.mp4'} and {mode.out / 'sheet.png'}")
    measures = recording.measures(status)
    narrator.say(
        f"{measures['frames_out']} frames at {measures['fps']:.1f} fps, {measures['dropped']} "
        f"dropped, latency {measures['latency_ms']['p50']:.0f} ms median"
    )
    if mode.json is not None:
        write_report(mode.json, measures, daemon.config, daemon.params)
        narrator.say(f"wrote {mode.json}")


def _has_desktop() -> bool:
    """False on a Linux console or server, where a browser would open in the terminal."""
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
