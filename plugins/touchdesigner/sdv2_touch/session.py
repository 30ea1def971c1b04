"""Session: one activation of the component. Made when Active goes on, closed when it goes off.

What a frame costs TouchDesigner's main thread: `fetch` of the input, a few swaps of references with
the courier, and the cook of the Script TOP when a new picture is there. All waiting is done by the
courier's thread; only a lock-step waits here, on purpose.
"""

from __future__ import annotations

import time
import weakref
from pathlib import Path

import td

from sdv2_host.client.courier import Courier, LockstepError
from sdv2_host.client.mailbox import Picture, Wish
from sdv2_host.client.status import State, Status
from sdv2_host.types import AlphaMode, Frame, Size
from sdv2_touch.par_board import OnChange, ParBoard
from sdv2_touch.rate import Rate
from sdv2_touch.table import Table
from sdv2_touch.transfer import Download, NumpyDownload, NumpyUpload, Upload, picture_now

ALPHAS = {
    "premultiplied": AlphaMode.PREMULTIPLIED,
    "straight": AlphaMode.STRAIGHT,
    "opaque": AlphaMode.OPAQUE,
}
NOBODY = {State.NO_HOST, State.REFUSED, State.CLOSED}
"""Nobody would take a picture: none is fetched."""
NON_COMMERCIAL_PX = 1280
"""Non-Commercial licences make no larger TOPs (derivative.ca/UserGuide/Licensing)."""


def wish_of(owner: td.COMP) -> Wish:
    """What the pages say of the host."""
    par = owner.par
    return Wish(
        host=str(par.Host.eval()),
        publishes=bool(par.Sendinput.eval()),
        brings_look=bool(par.Bringlook.eval()),
    )


class Session:
    """Fields, per activation: the courier and all that goes with it; the picture shown; what is
    wrong here, for a person; counters of frames sent and shown."""

    def __init__(
        self, owner: td.COMP, table: Table, on_change: OnChange, run_dir: Path | None
    ) -> None:
        self._owner = owner
        self._input = _top(owner, "in1")
        self._output = _top(owner, "output")
        self._wish = wish_of(owner)
        self.courier = Courier(self._wish, run_dir=run_dir)
        # Without a goodbye (old builds call no onDestroyTD) the last reference's end closes it.
        self._finalizer = weakref.finalize(self, self.courier.close)
        self.board = ParBoard(owner, table, self.courier, on_change, time.perf_counter)
        if self._wish.brings_look:
            self.board.bring_look()
        self._download, self._upload, self.transfer = make_transfer(str(owner.par.Transfer.eval()))
        self._held: Frame | None = None
        self._lockstep_ended = ""
        self.sent, self.shown = Rate(time.perf_counter), Rate(time.perf_counter)

    @property
    def trouble(self) -> str:
        """What is wrong in TouchDesigner, and what to do; '' = nothing."""
        return self._lockstep_ended or self._limit_trouble()

    @property
    def status(self) -> Status:
        return self.courier.status

    @property
    def has_picture(self) -> bool:
        return self._held is not None

    def frame(self) -> None:
        """All that a frame needs."""
        if self._owner.par.Lockstep.eval():
            self._exchange()
        else:
            self._send()
            self._show(self.courier.newest())
        self.board.take(self.courier.changes())
        self.board.follow_driven()
        self.board.show_told()

    def tick(self) -> None:
        """A few times a second: what the pages wish."""
        self.board.look_for_driven()
        wish = wish_of(self._owner)
        if wish != self._wish:
            self._wish = wish
            self.courier.follow(wish)

    def cook(self, script_top: td.scriptTOP) -> None:
        """The held picture is in the Script TOP, called inside its cook."""
        if self._held is not None:
            self._upload.show(script_top, self._held)

    def close(self) -> None:
        """Nothing of the session is left: no thread, ring or socket. The picture stays shown."""
        self._finalizer()
        self._download.close()
        self._upload.close()

    def begin_lockstep(self) -> None:
        """The next frame begins a new one."""
        self._lockstep_ended = ""

    def _send(self) -> None:
        if not self._wish.publishes or not self._owner.inputs or self.status.state in NOBODY:
            return
        picture = self._download.fetch(self._input)
        if picture is not None:
            self.courier.send_frame(self._with_alpha(picture))
            self.sent.count()

    def _show(self, frame: Frame | None) -> None:
        if frame is None:
            return
        self._held = frame
        if not self._limit_trouble():
            self._output.cook(force=True)
            self.shown.count()

    def _exchange(self) -> None:
        timeout_s = float(self._owner.par.Locksteptimeout.eval())
        picture = self._with_alpha(picture_now(self._input))
        try:
            self._show(self.courier.exchange(picture, timeout_s))
        except LockstepError as error:
            self._lockstep_ended = f"lock-step has ended: {error}"
            self._owner.par.Lockstep.val = False
            self._owner.addScriptError(self._lockstep_ended)
        self.sent.count()

    def _with_alpha(self, picture: Picture) -> Picture:
        return picture._replace(alpha=ALPHAS[str(self._owner.par.Inputalpha.eval())])

    def _limit_trouble(self) -> str:
        if self._held is None or not td.licenses.isNonCommercial:
            return ""
        size = Size(self._held.meta.width, self._held.meta.height)
        if max(size) <= NON_COMMERCIAL_PX:
            return ""
        return (
            f"a Non-Commercial TouchDesigner shows at most {NON_COMMERCIAL_PX}x{NON_COMMERCIAL_PX} "
            f"and the host's picture is {size}: set a smaller Width and Height on the page Output "
            "and press Output size"
        )


def make_transfer(mode: str) -> tuple[Download, Upload, str]:
    """How pictures go, and a sentence that says so."""
    return NumpyDownload(), NumpyUpload(), "by numpy"


def _top(owner: td.COMP, name: str) -> td.TOP:
    top = owner.opex(name)
    assert isinstance(top, td.TOP), f"{name} is no TOP any more"
    return top
