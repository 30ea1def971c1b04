"""Tempo: taps, beats and bars, and changes whose picture falls on one of them.

A change takes as long as the host's latency to be seen, so it is made that much before the beat.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from sdv2_host.actions import Args
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.control.console import Change, Console, Fact, Handler, Held, Notice
from sdv2_host.param_table import PARAMS
from sdv2_host.params import Params
from sdv2_host.status import HostStatus

FORGET_NS = 2 * NS_PER_S + NS_PER_S
"""After a pause of one beat at 20 per minute, taps begin anew."""
MIN_TAPS, MAX_TAPS = 4, 8
BARS = {"bar": 1, "2 bars": 2, "4 bars": 4}


@dataclass(slots=True)
class Tempo:
    """Pure, clock given. Fields, per process: `beat0_ns` the time of a bar's first beat; the tempo;
    the last taps."""

    bpm: float = 120.0
    beats_per_bar: int = 4
    beat0_ns: int = 0
    _taps: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_TAPS))

    @property
    def beat_ns(self) -> float:
        return 60 * NS_PER_S / self.bpm

    def set(self, bpm: float, beats_per_bar: int, now: int) -> None:
        """Another tempo from now on; the beat that is being played keeps its phase."""
        phase = (now - self.beat0_ns) / self.beat_ns
        self.bpm, self.beats_per_bar = bpm, beats_per_bar
        self.beat0_ns = round(now - phase * self.beat_ns)

    def tap(self, now: int) -> float | None:
        """A beat is now; the tempo that the taps make, None = too few of them yet.

        The median of their distances: one slip moves it little.
        """
        if self._taps and now - self._taps[-1] > FORGET_NS:
            self._taps.clear()
        self._taps.append(now)
        # The nearest beat of the bar is moved onto the tap: taps say where beats are, not bars.
        beats = round((now - self.beat0_ns) / self.beat_ns)
        self.beat0_ns = round(now - beats * self.beat_ns)
        if len(self._taps) < MIN_TAPS:
            return None
        distance = median(b - a for a, b in pairwise(self._taps))
        spec = PARAMS["bpm"]
        assert spec.minimum is not None, "bpm has a range"
        assert spec.maximum is not None, "bpm has a range"
        return min(max(60 * NS_PER_S / max(distance, 1), spec.minimum), spec.maximum)

    def downbeat(self, now: int) -> None:
        """A bar begins now."""
        self.beat0_ns = now

    def next_ns(self, unit: str, after_ns: int) -> int:
        """The first boundary at or after `after_ns`; `unit` as the parameter `quantize` has it."""
        beats = 1 if unit == "beat" else BARS[unit] * self.beats_per_bar
        length = beats * self.beat_ns
        count = -((self.beat0_ns - after_ns) // length)
        boundary = round(self.beat0_ns + count * length)
        return boundary if boundary >= after_ns else round(boundary + length)


def lookahead_ns(status: HostStatus) -> int:
    """From a change of the model's parameters to its first picture, as measured.

    A frame that is captured after the change is shown one latency later; a change waits for the
    next chunk to begin, half a chunk on average, which the latency of the frames of a chunk
    contains already: its first frame waits for the chunk to fill, its last does not.
    """
    return round(status.latency_ms.p50 * NS_PER_MS)


class _Waiting(NamedTuple):
    held: Held
    due_ns: int


class Conductor:
    """Holds changes until they are due: a `Deferral` of the console; the actions tap and downbeat;
    board 'tempo'. A `Listener`.

    Fields, per process: the tempo; what waits for the beat, in the order in which it was asked for,
    the newest of each kind; the timer of what is due first.
    """

    def __init__(self, console: Console, clock: Callable[[], int] = now_ns) -> None:
        self._console = console
        self._clock = clock
        self.tempo = Tempo(beat0_ns=clock())
        self._waiting: dict[str, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None

    def handlers(self) -> dict[str, Handler]:
        return {"tap": self._tap, "downbeat": self._downbeat}

    def defer(self, held: Held) -> bool:
        if self._console.params.quantize == "off":
            return False
        self._waiting.pop(held.kind, None)
        self._waiting[held.kind] = _Waiting(held, self._due_ns(held))
        self._arm()
        self._publish_soon()
        return True

    def forget(self, kind: str) -> None:
        if self._waiting.pop(kind, None) is not None:
            self._arm()
            self._publish_soon()

    def _due_ns(self, held: Held) -> int:
        """When to make the change, so that its picture falls on the boundary."""
        lookahead = 0 if held.is_output else lookahead_ns(self._console.stage.snapshot())
        now = self._clock()
        unit = self._console.params.quantize
        return self.tempo.next_ns(unit, now + lookahead) - lookahead

    def _arm(self) -> None:
        """The timer is that of what is due first."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            due_ns = min(waiting.due_ns for waiting in self._waiting.values())
            delay_s = (due_ns - self._clock()) / NS_PER_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._release, due_ns)

    def _release(self, until_ns: int) -> None:
        """What is due by then is done, in the order in which it was asked for."""
        due = {kind: one for kind, one in self._waiting.items() if one.due_ns <= until_ns}
        for kind in due:
            del self._waiting[kind]
        self._arm()
        for one in due.values():
            one.held.run()
        self.publish()

    def _retime(self) -> None:
        """The beat is elsewhere: so is what waits for it."""
        for kind, (held, _) in self._waiting.items():
            self._waiting[kind] = _Waiting(held, self._due_ns(held))
        self._arm()

    def close(self) -> None:
        """Nothing waits any more."""
        self._waiting.clear()
        self._arm()

    def publish(self) -> None:
        """The board shows the tempo and what waits for it."""
        tempo: dict[str, str | int | float | bool | None] = {
            "bpm": self.tempo.bpm,
            "beats_per_bar": self.tempo.beats_per_bar,
            "beat0_ms": self.tempo.beat0_ns / NS_PER_MS,
            "now_ms": self._clock() / NS_PER_MS,
            "pending": ", ".join(one.held.what for one in self._waiting.values()),
        }
        facts: dict[str, Fact] = {"tempo": tempo}
        self._console.publish(facts, "tempo")

    def follow(self, params: Params) -> None:
        """The tempo is what the parameters say."""
        self.tempo.set(params.bpm, params.beats_per_bar, self._clock())

    def on_change(self, change: Change) -> None:
        if not change.values.keys() & {"bpm", "beats_per_bar", "quantize"}:
            return
        self.follow(self._console.params)
        # Not from within the change: its listeners are still being told.
        loop = asyncio.get_running_loop()
        if self._console.params.quantize == "off" and self._waiting:
            # What waits is not lost: it is done now.
            loop.call_soon(self._release, max(one.due_ns for one in self._waiting.values()))
        else:
            self._retime()
            self._publish_soon()

    def _publish_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self.publish)

    def on_notice(self, notice: Notice) -> None: ...

    def _tap(self, args: Args, origin: str) -> str:
        bpm = self.tempo.tap(self._clock())
        self._retime()
        if bpm is None:
            return "tap"
        self._console.set({"bpm": round(bpm, 1)}, origin)
        self.publish()
        return f"{self._console.params.bpm:.1f} beats per minute"

    def _downbeat(self, args: Args, origin: str) -> str:
        self.tempo.downbeat(self._clock())
        self._retime()
        self.publish()
        return "a bar begins"
