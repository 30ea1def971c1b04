"""Presets at the console: the user's own, and those that come with the product."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sdv2_host import __version__
from sdv2_host.actions import NAME_SYNTAX, Args, can_name_file
from sdv2_host.control.console import Change, Console, Handler, Held, Notice
from sdv2_host.control.fader import Duration
from sdv2_host.control.folder_watch import SUFFIX, follow_files, json_files
from sdv2_host.control.preset_file import PRESET, Look, Preset, Transition, as_look
from sdv2_host.errors import ConfigError, ParamError
from sdv2_host.param_table import PARAMS, ParamValue

NOTHING: Mapping[str, ParamValue] = {}


def engine_tag(engine: str) -> str:
    """What presets call the engine."""
    return "wan" if engine.startswith("wan") else "tiny"


class Found(NamedTuple):
    """What the folders held when they were read."""

    looks: dict[Path, Look]
    """By file, the shipped ones first."""
    problems: list[str]
    broken: list[str]
    """Those of files that gave no look, or the one that they held before."""


class PresetShelf:
    """The presets in the folders, by name; one's own wins over a shipped one of the same name."""

    def __init__(self, own: Path, shipped: Path, engine: str) -> None:
        """`engine`: whose presets come first."""
        self._own = own
        self._shipped = shipped
        self._tag = engine_tag(engine)
        self._files: dict[Path, Look] = {}
        self._broken: list[str] = []
        self.looks: dict[str, Look] = {}
        """In the order of the list: for this engine, for any, for others; by name in each."""

    def scan(self) -> list[str]:
        """Reads the folders; what is wrong with files, a line each."""
        found = self.read()
        self.take(found)
        return found.problems

    def read(self) -> Found:
        """The folders' content. A file that became wrong gives the look that it held. Changes
        nothing, so another thread may call it."""
        known = self._files
        found = Found({}, [], [])
        for path in self.paths():
            try:
                preset, unknown = PRESET.read(path)
                look = as_look(preset, str(path), unknown)
            except ConfigError as error:
                found.problems.append(str(error))
                found.broken.append(str(error))
                if path in known:
                    found.looks[path] = known[path]
            else:
                found.looks[path] = look
                found.problems.extend(look.warnings)
        return found

    def take(self, found: Found) -> None:
        """The shelf holds what was read."""
        self._files = found.looks
        self._broken = found.broken
        by_name = {look.name: look for look in found.looks.values()}
        order = {self._tag: 0, "": 1}
        names = sorted(by_name, key=lambda name: (order.get(by_name[name].engine, 2), name.lower()))
        self.looks = {name: by_name[name] for name in names}

    def paths(self) -> list[Path]:
        """The files there are, the shipped ones first."""
        return [*json_files(self._shipped), *json_files(self._own)]

    def find(self, name: str) -> Look:
        """Raises: ParamError, with the nearest names."""
        look = self.looks.get(name)
        if look is not None:
            return look
        folded = {known.lower(): known for known in self.looks}
        same = folded.get(name.lower())
        if same is not None:
            return self.looks[same]
        near = difflib.get_close_matches(name.lower(), folded, 3)
        hint = f"did you mean {', '.join(folded[n] for n in near)}?" if near else ""
        if self._broken:
            others = f", and {len(self._broken) - 1} more" if len(self._broken) > 1 else ""
            hint = f"{hint} It may be in a file that is wrong: {self._broken[0]}{others}".strip()
        raise ParamError(f"no preset {name[:64]!r}; {hint or 'sdv2-host preset list shows all'}")

    def save(self, preset: Preset) -> Look:
        """The preset is in one's own folder: in the file that has its name already, upper case
        and lower case being one, else in a new one.

        Raises:
            ConfigError: it cannot be written.
        """
        name = preset.name.lower()
        path = self._own / f"{preset.name}{SUFFIX}"
        for file, known in self._files.items():
            if file.parent == self._own and known.name.lower() == name:
                path = file
        PRESET.write(path, preset)
        look = as_look(preset, path.name)
        self.take(Found({**self._files, path: look}, [], self._broken))
        return look


class Loaded(NamedTuple):
    name: str
    is_changed: bool


class PresetDeck:
    """The actions preset_load, preset_save, preset_next and preset_previous; board 'presets',
    'preset', 'preset_changed'. A `Listener`.

    Fields, per process: the shelf; the look loaded last and whether it was changed since; what
    was wrong with files at the last look at them.
    """

    def __init__(self, console: Console, shelf: PresetShelf) -> None:
        self._console = console
        self.shelf = shelf
        self._loaded = Loaded("", False)
        self._is_loading = False
        self._told: list[str] = []

    def handlers(self) -> dict[str, Handler]:
        return {
            "preset_load": self._load,
            "preset_save": self._save,
            "preset_next": lambda args, origin: self._step(1, origin),
            "preset_previous": lambda args, origin: self._step(-1, origin),
        }

    def scan(self) -> None:
        """The board shows what the folders hold."""
        self._take(self.shelf.read())

    async def watch(self) -> None:
        """Rescans when a file changes, until cancelled."""
        await follow_files(self.shelf.paths, self.shelf.read, self._take)

    def _take(self, found: Found) -> None:
        self.shelf.take(found)
        for problem in found.problems:
            if problem not in self._told:
                self._console.note("warning", "preset", problem)
        self._told = found.problems
        self._publish("preset")

    def restore(self, name: str) -> None:
        """This one was loaded when the state was kept."""
        look = self.shelf.looks.get(name)
        if look is not None:
            self._loaded = Loaded(name, not look.is_shown_by(self._console.params))
            self._publish("state")

    def load(self, name: str, fade: Duration | None, origin: str) -> str:
        """The look is asked for, now or on the beat; the line that says so.

        Raises:
            ParamError: there is none of that name.
        """
        look = self.shelf.find(name)

        def run() -> None:
            self.apply(look, fade, origin)

        what = f"preset {look.name}"
        waits = self._console.hold(Held("preset", what, run, look.is_output))
        return f"{what} waits for the beat" if waits else what

    def apply(
        self,
        look: Look,
        fade: Duration | None,
        origin: str,
        extra: Mapping[str, ParamValue] = NOTHING,
    ) -> None:
        """The look is in force, with its own fade where none is given. `extra` values are set with
        it, and win."""
        if fade is None and look.transition is not None:
            fade = Duration(look.transition.seconds)
        self._is_loading = True
        try:
            values = {**look.values, **extra}
            result = self._console.set(values, origin, fade=fade, whole=True, now=True)
        finally:
            self._is_loading = False
        assert not result.errors, "checked when the file was read"
        self._loaded = Loaded(look.name, False)
        self._publish(origin)

    def on_change(self, change: Change) -> None:
        touches_look = any(PARAMS[name].in_preset for name in change.values)
        if touches_look and not self._is_loading and not self._loaded.is_changed:
            self._loaded = self._loaded._replace(is_changed=True)
            # Not from within the change: its listeners are still being told.
            asyncio.get_running_loop().call_soon(self._publish, change.origin)

    def on_notice(self, notice: Notice) -> None: ...

    def _publish(self, origin: str) -> None:
        name, is_changed = self._loaded
        facts = {"presets": list(self.shelf.looks), "preset": name, "preset_changed": is_changed}
        self._console.publish(facts, origin)  # type: ignore[arg-type]

    def _load(self, args: Args, origin: str) -> str:
        fade = Duration(float(args[1])) if len(args) > 1 else None
        return self.load(str(args[0]), fade, origin)

    def _save(self, args: Args, origin: str) -> str:
        name = str(args[0]).strip()
        if not can_name_file(name):
            raise ParamError(
                f"/sdv2/preset/save {name[:80]!r}, expected {NAME_SYNTAX}, and not a name of "
                "devices of Windows such as CON, AUX or COM1"
            )
        params = self._console.params
        chosen = {
            spec.address: getattr(params, spec.name) for spec in PARAMS.values() if spec.in_preset
        }
        engine = self._console.stage.snapshot().engine
        is_timed = params.transition_unit == "seconds"
        look = self.shelf.save(
            Preset(
                name=name,
                created=time.strftime("%Y-%m-%dT%H:%M:%S"),
                app_version=__version__,
                engine=engine_tag(engine),
                params=chosen,
                transition=Transition(seconds=params.transition) if is_timed else None,
            )
        )
        self._loaded = Loaded(look.name, False)
        self._publish(origin)
        return f"saved as preset {name}"

    def _step(self, by: int, origin: str) -> str:
        names = list(self.shelf.looks)
        if not names:
            raise ParamError("there are no presets")
        at = names.index(self._loaded.name) if self._loaded.name in names else -(by > 0)
        return self.load(names[(at + by) % len(names)], None, origin)
