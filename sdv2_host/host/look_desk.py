"""The actions look_save, look_recall, look_forget: what the daemon knows of its worker's looks."""

from __future__ import annotations

from collections.abc import Callable

from sdv2_host.actions import NAME, NAME_SYNTAX, Args
from sdv2_host.control.console import Console, Handler, Held
from sdv2_host.errors import ParamError
from sdv2_host.look_orders import MAX_LOOKS
from sdv2_host.param_table import PARAMS, ParamValue, Patch

OrderFn = Callable[[str, str, Patch], None]
"""(verb, name, patch): the worker does it before its next chunk, which is made with the patch.

Raises WorkerError for a save while there is no worker to keep it.
"""


class LookDesk:
    """Board 'looks'. Fields, per process: the parameters of every look by name; the names that
    went with a worker, and why."""

    def __init__(self, console: Console, order: OrderFn) -> None:
        self._console = console
        self._order = order
        self._looks: dict[str, dict[str, ParamValue]] = {}
        self._lost: dict[str, str] = {}

    def handlers(self) -> dict[str, Handler]:
        return {
            "look_save": self._save,
            "look_recall": self._recall,
            "look_forget": self._forget,
        }

    def lose(self, reason: str) -> None:
        """The worker that held them is gone."""
        if self._looks:
            names = ", ".join(self._looks)
            self._console.note("warning", "look", f"looks {names} are gone: the worker {reason}")
        self._lost |= dict.fromkeys(self._looks, reason)
        self._looks.clear()
        self._publish("look")

    def _save(self, args: Args, origin: str) -> str:
        name = str(args[0]).strip()
        if not NAME.fullmatch(name):
            raise ParamError(f"/sdv2/look/save {name[:80]!r}, expected {NAME_SYNTAX}")
        if name not in self._looks and len(self._looks) >= MAX_LOOKS:
            raise ParamError(
                f"/sdv2/look/save {name!r}: there are {len(self._looks)} looks, allowed are "
                f"{MAX_LOOKS}: /sdv2/look/forget makes room"
            )
        params = self._console.params
        chosen = {key: getattr(params, key) for key, spec in PARAMS.items() if spec.in_preset}
        self._order("save", name, {})
        self._looks[name] = chosen
        self._lost.pop(name, None)
        self._publish(origin)
        return f"look {name} is saved before the next chunk"

    def _recall(self, args: Args, origin: str) -> str:
        name = self._find(args, "recall")

        def run() -> None:
            before = self._console.params
            self._order("recall", name, self._looks.get(name, {}))
            self._console.refresh(origin, before)

        waits = self._console.hold(Held("look", f"look {name}", run))
        return f"look {name} waits for the beat" if waits else f"look {name}"

    def _forget(self, args: Args, origin: str) -> str:
        name = self._find(args, "forget")
        self._order("forget", name, {})
        del self._looks[name]
        self._publish(origin)
        return f"look {name} is forgotten"

    def _find(self, args: Args, verb: str) -> str:
        name = str(args[0]).strip()
        if name not in self._looks:
            known = f"there are {', '.join(self._looks)}" if self._looks else "there are none"
            why = f"is gone, the worker {self._lost[name]}" if name in self._lost else "is none"
            raise ParamError(f"/sdv2/look/{verb}: look {name[:80]!r} {why}; {known}")
        return name

    def _publish(self, origin: str) -> None:
        self._console.publish({"looks": list(self._looks)}, origin)
