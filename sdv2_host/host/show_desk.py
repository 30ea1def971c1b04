"""ShowDesk: names the show that workers record, and tells what became of it."""

from __future__ import annotations

from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.host.folders import folders
from sdv2_host.host.snapshot import take_name
from sdv2_host.ipc.messages import ShowTold
from sdv2_host.params import Params

ORIGIN = "record_show"


class ShowDesk:
    """Used in the daemon's loop. Board 'show': the folder of the show that is recorded."""

    def __init__(self, console: Console, config: Config) -> None:
        self._console = console
        self._folder = folders(config).takes

    def named(self, params: Params) -> Params:
        """The parameters with the folder of the show, which is another one each time."""
        if params.record_show == bool(params.show):
            return params
        show = str(self._folder / take_name(".show")) if params.record_show else ""
        self._console.publish({"show": show}, ORIGIN)
        return params.model_copy(update={"show": show})

    def told(self, message: ShowTold) -> None:
        """A worker has ended a part of a show, or cannot begin one yet."""
        if not message.has_failed:
            self._console.note("info", ORIGIN, message.text)
            return
        self._console.note("error", ORIGIN, message.text)
        if message.show == self._console.params.show:
            self._console.set({"record_show": False}, ORIGIN)
