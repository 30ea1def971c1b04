"""A real host, fed and played as in a show, and watched from outside: what a soundcheck measures.

Host, source and this are processes of their own, as on stage. The output ring is read as a plug-in
would read it, the host's own numbers come by HTTP, memory and heat from the system.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from sdv2_host.asking import Ask
from sdv2_host.bench.show_script import Stage, Step, show_script
from sdv2_host.checkup.device import NVIDIA_SMI, Card, read_cards
from sdv2_host.checkup.measures import Event, Measures, OutputLog, Sample
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.commands.client import Client
from sdv2_host.config import EngineName
from sdv2_host.control.access import read_host_file
from sdv2_host.errors import HostError, WorkerError
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.sources.process import SourceProcess
from sdv2_host.status import HostState, LatencyBudget
from sdv2_host.types import FrameFlags, ProgressFn, Size

START_S = 900.0
"""A Wan engine may load, compile and warm up for many minutes."""
SAMPLE_S = 0.5
CARD_EVERY = 10
"""Samples between two looks at the card: nvidia-smi takes some 50 ms of a core."""
WATCH_S = 0.003
STOP_S = 15.0
NEVER_LIVE = (HostState.FAILED, HostState.SAFE)
"""What a start does not get out of by itself."""
PLAYED = (
    *("prompt", "prompt_b", "crossfade", "steps", "noise_s_min", "noise_s_max", "motion_gain"),
    "mix",
)
"""What the script and the presets in it set."""
MIB = 2**20


@dataclass(frozen=True, slots=True)
class ShowPlan:
    """What is to be run."""

    name: str
    """Of the host; nobody else's."""
    args: Sequence[str]
    """Of `sdv2-host run`, the name and all."""
    source: Sequence[str]
    """Of `python -m sdv2_host.sources`, without the stream."""
    engine: EngineName
    seconds: float
    output_fps: float
    """Of the output; 0 = as the source."""
    log: Path
    """Where what the host says goes."""
    settle_s: float = 3.0
    """From the first picture to the beginning of the measurement."""


class _Process(NamedTuple):
    """The host."""

    child: asyncio.subprocess.Process
    log: Path

    def why_ended(self) -> str:
        """In one line; '' = it runs."""
        code = self.child.returncode
        if code is None:
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return f"the host ended with exit code {code}: {last}"


async def run_show(plan: ShowPlan, ask: Ask, progress: ProgressFn) -> Measures:
    """Starts the host, waits until it is live, plays and measures; all is over and gone then.

    Raises:
        WorkerError: it never came to a picture.
        SourceError: the source cannot be opened.
    """
    async with _running(plan) as host:
        source = await SourceProcess.start(f"{plan.name}-in", plan.source)
        source.begin()
        try:
            begin_ns = now_ns()
            client = await until_live(plan.name, host.why_ended, progress)
            ready_s = (now_ns() - begin_ns) / NS_PER_S
            await asyncio.sleep(plan.settle_s)
            run = _Run(plan, client, host, ask)
            await run.play(progress)
        finally:
            await source.stop()
        return Measures(
            engine=plan.engine,
            size=run.size,
            source=source.title,
            source_fps=source.fps,
            output_fps=plan.output_fps,
            ready_s=ready_s,
            seconds=run.seconds,
            planned_s=plan.seconds,
            samples=run.samples,
            events=run.events,
            output=run.output,
            limits_rate=run.budget["limits_rate"],
            says=run.budget["says"],
            ended=run.ended,
        )


@contextlib.asynccontextmanager
async def _running(plan: ShowPlan) -> AsyncIterator[_Process]:
    """The host, asked to end by the line that every host ends by."""
    with tempfile.TemporaryDirectory(prefix="sdv2-soundcheck-") as folder:
        # Every setting is in the arguments: the user's file must not be read a second time.
        empty = Path(folder) / "empty.toml"
        empty.touch()
        with plan.log.open("wb") as log:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sdv2_host", "run", *plan.args, "--config", str(empty)),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=sys.platform != "win32",
            )
        try:
            yield _Process(child, plan.log)
        finally:
            await _end(child)


async def _end(child: asyncio.subprocess.Process) -> None:
    assert child.stdin is not None, "a pipe"
    with contextlib.suppress(ConnectionError):  # it has ended already
        child.stdin.write(b"stop\n")
        await child.stdin.drain()
    try:
        async with asyncio.timeout(STOP_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


async def until_live(name: str, why_ended: Callable[[], str], progress: ProgressFn) -> Client:
    """Host `name` is live. `why_ended` says why its process has ended; '' = it runs.

    Raises:
        WorkerError: it ended, gave up its engine, or was not live within START_S.
    """
    begin_ns = now_ns()
    said = "starting"
    while (elapsed_s := (now_ns() - begin_ns) / NS_PER_S) < START_S:
        if ended := why_ended():
            raise WorkerError(ended)
        found = read_host_file(name)
        if found is not None:
            client = Client(found)
            state = None
            # As it answers later, a host that is still busy starting is no fault.
            with contextlib.suppress(HostError):
                status = await asyncio.to_thread(client.get, "/api/status")
                state, said = status["state"], str(status["detail"])
            if state == HostState.LIVE:
                return client
            if state in NEVER_LIVE:
                raise WorkerError(f"the engine cannot be had: {said}")
        progress(f"starting the host: {said}, {elapsed_s:.0f} s", 0.0)
        await asyncio.sleep(0.2)
    raise WorkerError(f"the host was not live within {START_S:.0f} s; it says: {said}")


class _Run:
    """The measurement. Fields, per run: what was sampled, done and seen; how long it went; the
    newest budget of the host's status."""

    def __init__(self, plan: ShowPlan, client: Client, host: _Process, ask: Ask) -> None:
        self.samples: list[Sample] = []
        self.events: list[Event] = []
        self.output = OutputLog()
        self.ended = ""
        self.seconds = 0.0
        self.size: Size | None = None
        self.budget: dict[str, Any] = LatencyBudget()._asdict()
        self._plan = plan
        self._client = client
        self._host = host
        self._ask = ask
        self._card: Card | None = None
        self._has_card = True
        self._begin_ns = now_ns()

    @property
    def _at_s(self) -> float:
        return (now_ns() - self._begin_ns) / NS_PER_S

    async def play(self, progress: ProgressFn) -> None:
        """Until the time is over and all was played, or the host ends."""
        stop = threading.Event()
        self._begin_ns = now_ns()
        # A thread, as the output is to be read at its own pace, whatever the rest waits for.
        watcher = threading.Thread(target=self._watch_output, args=(stop,), name="watch output")
        watcher.start()
        script = asyncio.create_task(self._play_script())
        try:
            await self._sample(script, progress)
        finally:
            self.seconds = self._at_s
            script.cancel()
            stop.set()
            await asyncio.to_thread(watcher.join)
            await asyncio.wait({script})
        if not script.cancelled():
            script.result()

    def _watch_output(self, stop: threading.Event) -> None:
        with FrameReader(f"{self._plan.name}-out") as reader:
            while not stop.wait(WATCH_S):
                while (frame := reader.read_next()) is not None:
                    meta = frame.meta
                    at_s = (meta.publish_ts_ns - self._begin_ns) / NS_PER_S
                    if at_s < 0:  # was in the ring before
                        continue
                    is_fresh = FrameFlags.REPEATED not in meta.flags and meta.source_capture_ts_ns
                    late_ms = (meta.publish_ts_ns - meta.source_capture_ts_ns) / NS_PER_MS
                    self.output.add(at_s, late_ms if is_fresh else None)
            self.output.lost = reader.lost

    async def _sample(self, script: asyncio.Task[None], progress: ProgressFn) -> None:
        number = 0
        psutil.cpu_percent()  # the first answer is of nothing
        while (at_s := self._at_s) < self._plan.seconds or not script.done():
            if ended := self._host.why_ended():
                self.ended = ended
                return
            if number % CARD_EVERY == 0 and self._has_card:
                self._card = await asyncio.to_thread(self._look_at_card)
                self._has_card = self._card is not None
            try:
                status = await asyncio.to_thread(self._client.get, "/api/status")
            except HostError as error:
                self.ended = self._host.why_ended() or str(error)
                return
            self.samples.append(self._sample_of(at_s, status))
            self.size = Size(**status["size"]) if status["size"] else self.size
            self.budget = status["budget"]
            left_s = max(0.0, self._plan.seconds - at_s)
            progress(
                f"playing, {left_s:.0f} s left, {status['fps']:.0f} fps", at_s / (at_s + left_s)
            )
            number += 1
            await asyncio.sleep(max(0.0, number * SAMPLE_S - self._at_s))

    def _look_at_card(self) -> Card | None:
        cards = read_cards(self._ask(NVIDIA_SMI) or "")
        return cards[0] if cards else None

    def _sample_of(self, at_s: float, status: dict[str, Any]) -> Sample:
        latency, card = status["latency_ms"], self._card
        return Sample(
            at_s=round(at_s, 3),
            fps=float(status["fps"]),
            p50_ms=float(latency["p50"]),
            p99_ms=float(latency["p99"]),
            dropped=int(status["dropped"]),
            restarts=int(status["worker_restarts"]),
            host_mib=round(_family_bytes(self._host.child.pid) / MIB, 1),
            cpu_share=psutil.cpu_percent() / 100,
            gpu_mib=card.used_mib if card is not None else None,
            celsius=card.celsius if card is not None else None,
        )

    async def _play_script(self) -> None:
        begun = await asyncio.to_thread(self._client.get, "/api/state")
        values = {name: begun["values"][name] for name in PLAYED}
        stage = Stage(
            self._set, self._client.call, self._hiccup, lambda: self._set(values, fade_s=0.0)
        )
        for step in show_script(self._plan.engine):
            await asyncio.sleep(max(0.0, step.at * self._plan.seconds - self._at_s))
            await self._do(step, stage)

    async def _do(self, step: Step, stage: Stage) -> None:
        at_s = self._at_s
        refusal = ""
        try:
            answer = await asyncio.to_thread(step.act, stage)
        except HostError as error:
            answer = refusal = str(error)
        if step.what or refusal:
            what = step.what or "a fader"
            halted_s = 0.0 if refusal else step.halts_s
            self.events.append(Event(round(at_s, 2), what, answer, bool(refusal), halted_s))

    def _set(self, values: dict[str, Any], fade_s: float) -> str:
        """Raises: HostError, also where one of the values is refused."""
        result = self._client.post("/api/set", {"values": values, "fade": fade_s})
        if result["errors"]:
            raise HostError("; ".join(result["errors"].values()))
        return ""

    def _hiccup(self, seconds: float) -> str:
        """Raises: HostError."""
        pid = self._client.get("/api/status")["worker_pid"]
        if pid is None:
            raise HostError("no engine runs that could be stopped")
        try:
            worker = psutil.Process(int(pid))
            worker.suspend()
            try:
                time.sleep(seconds)
            finally:
                worker.resume()
        except psutil.Error as error:
            raise HostError(f"the engine's process {pid} is gone ({error})") from error
        return "it went on"


def _family_bytes(pid: int) -> int:
    """Memory of the process and all below it; shared pages count in each that has them."""
    total = 0
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(pid)
        for process in (family, *family.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # ended meanwhile
                total += int(process.memory_info().rss)
    return total
