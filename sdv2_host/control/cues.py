"""The cue list at the console: GO, back, waits and follow-ons."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sdv2_host.actions import Args
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.control.console import Console, Handler, Held
from sdv2_host.control.cue_file import CUES, Cue, CueList
from sdv2_host.control.fader import Duration
from sdv2_host.control.folder_watch import follow_files, json_files
from sdv2_host.control.presets import PresetDeck
from sdv2_host.errors import ConfigError, HostError, ParamError
from sdv2_host.param_table import PARAMS
from sdv2_host.param_values import coerce_all

GUARD_NS = NS_PER_S // 4
"""A second GO within this time is a slip of the finger, or one finger on two surfaces."""


class Found(NamedTuple):
    """What the folders held when they were read."""

    lists: dict[str, CueList]
    problems: list[str]


class CueDeck:
    """The actions cues_load, cue_go and cue_back; board 'cue_lists', 'cue_list', 'cues', 'cue',
    'next_cue'.

    Fields, per process: the lists by name, the one in hand, the index of the cue that went last
    (-1 = none); what was wrong with files at the last look at them; timers of waits; time of the
    last GO.
    """

    def __init__(
        self,
        console: Console,
        presets: PresetDeck,
        folders: tuple[Path, ...],
        clock: Callable[[], int] = now_ns,
    ) -> None:
        """`folders`: of two lists with one name the one in the later folder counts."""
        self._console = console
        self._presets = presets
        self._folders = folders
        self._clock = clock
        self._lists: dict[str, CueList] = {}
        self._told: list[str] = []
        self._list: CueList | None = None
        self._index = -1
        self._timers: set[asyncio.TimerHandle] = set()
        self._went_ns: int | None = None

    def handlers(self) -> dict[str, Handler]:
        return {"cues_load": self._load, "cue_go": self._go, "cue_back": self._back}

    def scan(self) -> None:
        """The board shows what the folders hold."""
        self._keep(self._read())

    async def watch(self) -> None:
        """Rescans when a file changes, until cancelled. The list in hand stays as it was loaded."""
        await follow_files(self._paths, self._read, self._keep)

    def _paths(self) -> list[Path]:
        return [path for folder in self._folders for path in json_files(folder)]

    def _read(self) -> Found:
        found = Found({}, [])
        for path in self._paths():
            try:
                cues = CUES.read(path).value
            except ConfigError as error:
                found.problems.append(str(error))
            else:
                found.lists[cues.name] = cues
        return found

    def _keep(self, found: Found) -> None:
        for problem in found.problems:
            if problem not in self._told:
                self._console.note("warning", "cue", problem)
        self._told = found.problems
        self._lists = found.lists
        in_hand = self._list
        if in_hand is not None and found.lists.get(in_hand.name, in_hand) != in_hand:
            text = f"cue list {in_hand.name} was edited; load it again to run what it says now"
            self._console.note("info", "cue", text)
        self._publish("cue")

    def restore(self, name: str, cue: str) -> None:
        """The list and the cue that were in hand when the state was kept, if they still are."""
        try:
            self._take(name)
        except HostError as error:
            self._console.note("warning", "state", str(error))
            return
        ids = [one.id for one in self._list.cues] if self._list else []
        self._index = ids.index(cue) if cue in ids else -1
        self._publish("state")

    def close(self) -> None:
        """Nothing goes by itself any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _take(self, name: str) -> CueList:
        """The list is in hand, before its first cue. Raises: ParamError, ConfigError."""
        folded = {known.lower(): cues for known, cues in self._lists.items()}
        chosen = self._lists.get(name) or folded.get(name.lower())
        if chosen is None:
            known = ", ".join(self._lists) or "none"
            wrong = f"; it may be in a file that is wrong: {self._told[0]}" if self._told else ""
            raise ParamError(f"no cue list {name[:64]!r}, known are {known}{wrong}")
        for cue in chosen.cues:
            self._check(chosen, cue)
        self.close()
        self._list, self._index = chosen, -1
        return chosen

    def _check(self, cues: CueList, cue: Cue) -> None:
        where = f"cue list {cues.name}, cue {cue.id}"
        errors = coerce_all(cue.params).errors
        if errors:
            raise ConfigError(f"{where}: {next(iter(errors.values()))}")
        if cue.preset is not None:
            try:
                self._presets.shelf.find(cue.preset)
            except ParamError as error:
                raise ConfigError(f"{where}: {error}") from error

    def _load(self, args: Args, origin: str) -> str:
        cues = self._take(str(args[0]))
        self._publish(origin)
        return f"cue list {cues.name}, {len(cues.cues)} cues"

    def _go(self, args: Args, origin: str) -> str:
        cues = self._in_hand()
        now = self._clock()
        if self._went_ns is not None and now - self._went_ns < GUARD_NS:
            return "GO received but disregarded: it came too soon after the one before"
        index = self._index_of(str(args[0])) if args else self._index + 1
        if index >= len(cues.cues):
            raise ParamError(f"cue list {cues.name} is at its end; /sdv2/cue/load begins anew")
        self._went_ns = now
        self.close()
        return self._start(index, origin)

    def _back(self, args: Args, origin: str) -> str:
        self._in_hand()
        if self._index <= 0:
            raise ParamError("there is no cue before this one")
        self.close()
        return self._start(self._index - 1, origin)

    def _start(self, index: int, origin: str) -> str:
        """The cue goes: it is the present one at once, its change may wait."""
        cue = self._in_hand().cues[index]
        self._index = index
        self._publish(origin)
        self._after(cue.pre_wait, lambda: self._fire(cue, origin))
        if cue.follow == "auto" and index + 1 < len(self._in_hand().cues):
            self._after(cue.pre_wait + cue.post_wait, lambda: self._start(index + 1, "cue"))
        return f"cue {cue.id} {cue.name}".rstrip()

    def _after(self, seconds: float, run: Callable[[], object]) -> None:
        if seconds <= 0:
            run()
            return
        loop = asyncio.get_running_loop()

        def fire() -> None:
            self._timers.discard(timer)
            run()

        timer = loop.call_later(seconds, fire)
        self._timers.add(timer)

    def _fire(self, cue: Cue, origin: str) -> None:
        fade = Duration(cue.fade) if cue.fade is not None else None
        params = coerce_all(cue.params).patch
        try:
            look = self._presets.shelf.find(cue.preset) if cue.preset is not None else None
        except ParamError as error:  # its file went while the show is on
            self._console.note("error", origin, f"cue {cue.id}: {error}")
            return

        def run() -> None:
            if look is not None:
                self._presets.apply(look, fade, origin, params)
            else:
                self._console.set(params, origin, fade=fade, now=True)

        is_output = all(PARAMS[name].is_output for name in params)
        is_output = is_output and (look is None or look.is_output)
        self._console.hold(Held("cue", f"cue {cue.id}", run, is_output))

    def _in_hand(self) -> CueList:
        if self._list is None:
            known = ", ".join(self._lists) or "none"
            raise ParamError(f"no cue list is loaded; /sdv2/cue/load takes one of: {known}")
        return self._list

    def _index_of(self, id_: str) -> int:
        ids = [cue.id for cue in self._in_hand().cues]
        if id_ not in ids:
            raise ParamError(f"no cue {id_[:40]!r} in this list, its cues are {', '.join(ids)}")
        return ids.index(id_)

    def _publish(self, origin: str) -> None:
        cues = self._list.cues if self._list else []
        following = cues[self._index + 1].id if self._index + 1 < len(cues) else ""
        self._console.publish(
            {
                "cue_lists": list(self._lists),
                "cue_list": self._list.name if self._list else "",
                "cues": [f"{cue.id} {cue.name or cue.preset or ''}".rstrip() for cue in cues],
                "cue": cues[self._index].id if 0 <= self._index < len(cues) else "",
                "next_cue": following,
            },
            origin,
        )
