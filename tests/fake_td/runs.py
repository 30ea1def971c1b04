"""Scripts that run later (Run_Class, Run_Command_Examples)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fake_td.access import Guarded
from tests.fake_td.errors import tdError

if TYPE_CHECKING:
    from tests.fake_td.dats import DAT
    from tests.fake_td.operators import OP
    from tests.fake_td.session import TouchDesigner


class Run(Guarded):
    """A script that will run once."""

    def __init__(self, td: TouchDesigner, script: str, me: OP, args: tuple[Any, ...]) -> None:
        self._td = td
        self._script = script
        self._me = me
        self._args = args
        self._dat: DAT | None = None
        self._group = ""
        self._due_frame = 0
        self._is_active = True

    @property
    def active(self) -> bool:
        return self._is_active

    @active.setter
    def active(self, active: bool) -> None:
        self._is_active = bool(active)

    @property
    def group(self) -> str:
        return self._group

    @group.setter
    def group(self, group: str) -> None:
        self._group = group

    @property
    def remainingFrames(self) -> int:
        return max(0, self._due_frame - self._td._frame)

    @remainingFrames.setter
    def remainingFrames(self, frames: int) -> None:
        self._due_frame = self._td._frame + frames

    @property
    def isDAT(self) -> bool:
        return self._dat is not None

    @property
    def isString(self) -> bool:
        return self._dat is None

    def kill(self) -> None:
        self._td._runs.remove(self)


class Runs:
    """The scripts that wait, oldest first."""

    def __init__(self, td: TouchDesigner) -> None:
        self._td = td
        self._waiting: list[Run] = []
        self._at_end: list[Run] = []

    def frames_of(self, frames: int, milliseconds: float) -> int:
        """The delay in frames, to the nearest one."""
        return frames + round(milliseconds * self._td.project.cookRate / 1000)

    def add(
        self,
        script: str,
        me: OP,
        args: tuple[Any, ...],
        group: str | None,
        delay_frames: int,
        *,
        at_end: bool,
        dat: DAT | None = None,
    ) -> Run:
        """Runs at once without a delay, else when its frame comes."""
        if not isinstance(script, str):
            raise tdError(f"run({script!r}): expected the text of a script")
        made = Run(self._td, script, me, args)
        made._dat = dat
        made._group = group or ""
        made._due_frame = self._td._frame + delay_frames
        if at_end and not delay_frames:
            self._at_end.append(made)
        elif delay_frames:
            self._waiting.append(made)
        else:
            self._run(made)
        return made

    def remove(self, run: Run) -> None:
        self._waiting = [one for one in self._waiting if one is not run]
        self._at_end = [one for one in self._at_end if one is not run]

    def start_frame(self) -> None:
        due = [one for one in self._waiting if one._due_frame <= self._td._frame]
        self._waiting = [one for one in self._waiting if one._due_frame > self._td._frame]
        for one in due:
            self._run(one)

    def end_frame(self) -> None:
        due, self._at_end = self._at_end, []
        for one in due:
            self._run(one)

    def _run(self, run: Run) -> None:
        if run._is_active and run._me._alive:
            names = {**self._td._names_for(run._me), "args": run._args}
            where = run._me._path()
            self._td._guarded_call(
                run._me, "script", lambda: exec(compile(run._script, where, "exec"), names)
            )
