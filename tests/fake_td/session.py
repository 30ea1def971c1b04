"""A running TouchDesigner: one process with one project (see the package's docstring)."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fake_td import module, search, tox
from tests.fake_td.access import MainThread
from tests.fake_td.application import (
    UI,
    AbsTime,
    App,
    Licenses,
    Project,
)
from tests.fake_td.components import COMP, baseCOMP, containerCOMP, timeCOMP
from tests.fake_td.errors import tdError
from tests.fake_td.meter import FrameTime
from tests.fake_td.operators import OP
from tests.fake_td.parameters import Par, ParMode
from tests.fake_td.running import Running
from tests.fake_td.runs import Run, Runs
from tests.fake_td.scripts import Scripted
from tests.fake_td.tops import TOP
from tests.fake_td.watchers import Watchers


class TouchDesigner(Running):
    """The stand-in. `with TouchDesigner(folder) as touch:` puts it where `import td` finds it.

    Fields: `failures` and `opened` (dialogs, viewers, files) per session; `_stack` the operators
    whose scripts run now; `_looked_at` the operators that somebody looks at.
    """

    def __init__(
        self,
        folder: Path,
        *,
        is_non_commercial: bool = False,
        build: str = "2025.32280",
        has_cuda: bool = True,
        has_on_destroy: bool = True,
    ) -> None:
        self.folder = folder
        self.has_cuda = has_cuda
        self.has_on_destroy = has_on_destroy
        self._begin_running()
        self.opened: list[str] = []
        self.printed: list[str] = []
        self._main_thread = MainThread()
        self._ids = itertools.count(1)
        self._frame = 0
        self._num_played = 0
        self._is_playing = True
        self._is_running = True
        self._looked_at: list[OP] = []
        self._initialised: dict[int, tuple[COMP, Any]] = {}
        self.app = App(self, build)
        if is_non_commercial:
            self.app.addNonCommercialLimit()
        self.project = Project(self, "NewProject.1.toe")
        self.licenses = Licenses(self)
        self.abs_time = AbsTime(self)
        self.ui = UI(self)
        self._runs = Runs(self)
        self._watchers = Watchers(self)
        self.td = module.TdModule(self)
        self._begin_network()

    def _begin_network(self) -> None:
        self.root = baseCOMP(self, None, "root")
        self.root.create(containerCOMP, "project1")
        local: COMP = self.root.create(baseCOMP, "local")
        self._timeline: timeCOMP = local.create(timeCOMP, "time")

    # For tests: the process

    def __enter__(self) -> TouchDesigner:
        assert "td" not in sys.modules, "one TouchDesigner at a time"
        sys.modules["td"] = self.td
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if self._is_running:
                self.quit()
        finally:
            del sys.modules["td"]
        if kind is None and self.failures:
            raise AssertionError("scripts failed:\n" + "\n".join(f.trace for f in self.failures))

    @property
    def project1(self) -> COMP:
        """The component that a new project has."""
        found = self.root._children["project1"]
        assert isinstance(found, COMP), "made so"
        return found

    def play(self, frames: int, *, rate_hz: float | None = None) -> None:
        """Runs that many frames: at once, or no faster than `rate_hz`."""
        for _ in range(frames):
            started = time.perf_counter()
            self._play_frame()
            if rate_hz is not None:
                time.sleep(max(0.0, 1 / rate_hz - (time.perf_counter() - started)))

    def play_until(
        self, condition: Callable[[], bool], *, deadline_s: float = 30.0, rate_hz: float = 60.0
    ) -> None:
        """Runs frames until `condition`; AssertionError after `deadline_s`."""
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, f"not within {deadline_s} s of frames"
            self.play(1, rate_hz=rate_hz)

    @property
    def component_times(self) -> list[FrameTime]:
        """Per frame, what the component's own code took on the main thread."""
        return self._meter.times

    def textport(self, line: str) -> None:
        """Runs `line` as if typed into the textport; what it raises is raised here."""
        names = module.names_for(self, None)
        exec(compile(line, "<textport>", "exec"), names)

    def look_at(self, operator: OP) -> None:
        """Somebody looks at it: it cooks in each frame in which it is out of date."""
        self._looked_at.append(operator)

    def look_away(self) -> None:
        """Nobody looks at anything."""
        self._looked_at.clear()

    def show(self, top: TOP, pixels: NDArray[Any]) -> None:
        """`top` shows these [h, w, 4] pixels, bottom row first; shrunk to the licence's limit."""
        limit = self.resolution_limit_px
        if limit is not None:
            step = -(-max(pixels.shape[1] / limit[0], pixels.shape[0] / limit[1], 1) // 1)
            pixels = pixels[:: int(step), :: int(step)]
        top._picture = np.ascontiguousarray(pixels).copy()
        top._dirty = False
        top._changed()

    def export(self, par: Par, value: object, source: OP | None = None) -> None:
        """A CHOP exports `value` to the parameter."""
        par._export = (source or self._timeline, value)
        par._mode = ParMode.EXPORT

    def change_devices(self) -> None:
        """A device was plugged in or out."""
        self._watchers.execute("onDeviceChange")

    def saved(self) -> bytes:
        """What a .toe of this project would hold."""
        return tox.packed(tox.state_of(self.root))

    def open(self, project: bytes) -> None:
        """Opens a saved project in this process: the open one goes first, then onStart runs."""
        for child in self.root.children:
            child._die()
        self._looked_at.clear()
        self._runs = Runs(self)
        self._watchers = Watchers(self)
        state = tox.unpacked(project)
        self.root = baseCOMP(self, None, "root")
        tox.fill(self.root, state)
        timeline = self.root._children["local"]._children["time"]
        self._timeline = timeline
        self._start()

    def _start(self) -> None:
        for operator in self._operators():
            wanted = operator._pars.get("initextonstart")
            if wanted is not None and wanted._current():
                operator._extensions.remake()
        self._watchers.execute("onStart")
        self._watchers.execute("onCreate")
        self._watchers.execute("create")

    def quit(self, *, crash: bool = False) -> None:
        """The process ends: onExit is called, extensions are not told."""
        if not crash:
            self._watchers.execute("onExit")
        self._is_running = False

    # What the module td offers

    def ops(self, *patterns: str | int, includeUtility: bool = False) -> list[OP]:
        return self._find_all(patterns, self._me_or_root(), inside=self._me() is None)

    def run(
        self,
        script: str,
        *args: object,
        endFrame: bool = False,
        fromOP: OP | None = None,
        asParameter: bool = False,
        group: str | None = None,
        delayFrames: int = 0,
        delayMilliSeconds: int = 0,
        delayRef: OP | None = None,
    ) -> Run:
        self._main_thread.check("td.run")
        delay = self._runs.frames_of(delayFrames, delayMilliSeconds)
        me = fromOP or self._me_or_root()
        return self._runs.add(script, me, args, group, delay, at_end=endFrame)

    def debug(self, *args: object) -> None:
        self._main_thread.check("td.debug")
        self.printed.append(" ".join(str(one) for one in args))

    # The frame

    def _play_frame(self) -> None:
        assert self._is_running, "TouchDesigner has quit"
        if not self.app.power:
            return
        self._frame += 1
        self._num_played += self._is_playing
        self._runs.start_frame()
        self._watchers.execute("onFrameStart", self._timeline.frame)
        self._watchers.tell()
        for operator in self._operators():
            if isinstance(operator, Scripted) and operator._cooks_by_itself():
                operator._demand()
        for operator in self._looked_at:
            if operator._alive:
                operator._demand()
        self._watchers.end_frame()
        self._watchers.execute("onFrameEnd", self._timeline.frame)
        self._runs.end_frame()
        self._tell_initialised()
        self._meter.end_frame(self._frame)

    def _tell_initialised(self) -> None:
        made, self._initialised = self._initialised, {}
        for comp, extension in made.values():
            self._guarded_call(comp, "onInitTD", extension.onInitTD)

    def _set_playing(self, playing: bool) -> None:
        if playing != self._is_playing:
            self._is_playing = playing
            self._watchers.execute("onPlayStateChange", playing)

    # Finding

    def _find(self, path: str, me: OP) -> OP | None:
        found = self._find_all((path,), me, inside=False)
        return found[0] if found else None

    def _find_all(self, patterns: tuple[str | int, ...], base: OP, *, inside: bool) -> list[OP]:
        self._main_thread.check("op()")
        # The textport stands in the root's network: there is nothing beside the root.
        return search.find_all(self.root, patterns, base, inside=inside or base is self.root)

    def _operators(self) -> list[Any]:
        return search.below(self.root)

    def _all_comps(self) -> list[COMP]:
        return [one for one in self._operators() if isinstance(one, COMP)]

    def _readers_of(self, operator: OP) -> list[Any]:
        return [
            one
            for one in self._operators()
            if one is not operator and any(source is operator for source in one._sources())
        ]

    # Life of operators

    def _operator_type(self, wanted: type | str) -> Any:
        name = wanted if isinstance(wanted, str) else getattr(wanted, "__name__", repr(wanted))
        if name not in module.OPERATOR_TYPES:
            raise tdError(f"create({name!r}): no operator type of that name here")
        return module.OPERATOR_TYPES[name]

    def _created(self, operator: OP) -> None:
        if type(operator).__name__ == "executeDAT":
            dat: Any = operator
            self._watchers.execute("onCreate", only=dat)
            self._watchers.execute("create", only=dat)

    def _forget(self, operator: OP) -> None:
        self._looked_at = [one for one in self._looked_at if one is not operator]

    def _next_id(self) -> int:
        return next(self._ids)

    def _resolve_file(self, path: str) -> Path:
        """Relative paths begin in the project's folder."""
        return self.folder / path

    # Limits

    @property
    def resolution_limit_px(self) -> tuple[int, int] | None:
        """The smallest limit (width, height) in force; None without one."""
        sizes = [size for _, size in self.app._limits]
        if not sizes:
            return None
        return (min(size[0] for size in sizes), min(size[1] for size in sizes))

    def _check_cuda(self) -> None:
        if not self.has_cuda:
            raise tdError("CUDA is not available on this machine")
