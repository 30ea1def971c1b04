"""Takes: what the show leaves behind on the disk, recordings and snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from sdv2_host.actions import Args
from sdv2_host.control.console import Console, Handler
from sdv2_host.errors import ConfigError, ParamError
from sdv2_host.host.snapshot import take_name, take_snapshot
from sdv2_host.params import Params
from sdv2_host.types import Frame

log = logging.getLogger(__name__)

CLOSE_S = 10.0
"""For the index of a long recording; then the recorder is killed and its file stays unfinished."""
ORIGIN = "record"


class Takes:
    """Follows the parameter `record`, does the action snapshot; board 'recording'.

    Fields, per process: what is recorded to and the child that does; tasks that write.
    """

    def __init__(
        self,
        console: Console,
        stream: str,
        run_dir: Path | None,
        folder: Path,
        newest: Callable[[], Frame | None],
    ) -> None:
        """`newest` gives the frame on the output ring `stream`."""
        self._console = console
        self._stream = stream
        self._run_dir = run_dir
        self._folder = folder
        self._newest = newest
        self._wants = False
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._recorder = asyncio.create_task(self._run(), name="recorder")
        self.path: Path | None = None
        """What is being recorded to."""

    def handlers(self) -> dict[str, Handler]:
        return {"snapshot": self._snapshot}

    def follow(self, params: Params) -> None:
        """Records, or does not, as the parameters say."""
        if params.record != self._wants:
            self._wants = params.record
            self._changed.set()

    async def close(self) -> None:
        """Recordings are complete, snapshots written."""
        self._wants = False
        self._recorder.cancel()
        await asyncio.wait({self._recorder, *self._tasks})

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._wants:
                await self._record()

    async def _record(self) -> None:
        """One recording, until nobody wants it any more or it breaks."""
        path = self._folder / take_name(".mp4")
        command = ["-m", "sdv2_host.sinks", "--stream", self._stream, "--file", str(path)]
        if self._run_dir is not None:
            command += ["--run-dir", str(self._run_dir)]
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=sys.platform != "win32",
        )
        self._show(path)
        try:
            await self._until_unwanted(child)
        finally:
            await self._finish(child, path)

    async def _until_unwanted(self, child: asyncio.subprocess.Process) -> None:
        exited = asyncio.create_task(child.wait())
        try:
            while self._wants and not exited.done():
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait({exited, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if self._wants:
                    self._changed.clear()
        finally:
            exited.cancel()

    async def _finish(self, child: asyncio.subprocess.Process, path: Path) -> None:
        """The child has ended; what became of the file is told."""
        assert child.stdin is not None, "opened so"
        child.stdin.close()  # which tells it to finish
        try:
            async with asyncio.timeout(CLOSE_S):
                out, err = await child.communicate()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            out, err = await child.communicate()
        self._show(None)
        lines = err.decode(errors="replace").strip().splitlines()
        if child.returncode != 0:
            why = lines[-1] if lines else f"the recorder ended with code {child.returncode}"
            self._console.note("error", ORIGIN, f"recording {path}: {why}")
            self._console.set({"record": False}, ORIGIN)
            return
        count, lost = (int(word) for word in out.split())
        text = f"recorded {path}, {count} frames"
        if lost:
            text += f"; {lost} frames were lost, the disk or the processor is too slow"
        if not count:
            text = "nothing was recorded: no frame came"
        self._console.note("warning" if lost or not count else "info", ORIGIN, text)

    def _show(self, path: Path | None) -> None:
        self.path = path
        self._console.publish({"recording": str(path) if path else ""}, ORIGIN)

    def _snapshot(self, args: Args, origin: str) -> str:
        frame = self._newest()
        if frame is None:
            raise ParamError("/sdv2/snapshot: there is no picture on the output yet")
        task = asyncio.get_running_loop().create_task(self._write(frame, origin))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return f"writing a snapshot to {self._folder}"

    async def _write(self, frame: Frame, origin: str) -> None:
        try:
            path = await take_snapshot(frame, self._folder)
        except ConfigError as error:
            self._console.note("error", origin, str(error))
        else:
            self._console.note("info", origin, f"snapshot {path}")
            self._console.publish({"snapshot": str(path)}, origin)
