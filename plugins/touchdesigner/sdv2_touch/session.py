"""Session: one activation of the component. Made when Active goes on, closed when it goes off.

What a frame costs TouchDesigner's main thread: `fetch` of the input, a few swaps of references with
the courier, and the cook of the Script TOP when a new picture is there. All waiting is done by the
courier's thread; only a lock-step waits here, on purpose.
"""

from __future__ import annotations

import time
import weakref

import td

from sdv2_host.client.courier import Courier, LockstepError
from sdv2_host.client.mailbox import Picture, Wish
from sdv2_host.client.status import State, Status
from sdv2_host.types import AlphaMode, Frame, Size
from sdv2_touch.cuda_transfer import TransferPath
from sdv2_touch.par_board import OnChange, ParBoard
from sdv2_touch.picture_path import PicturePath
from sdv2_touch.rate import Rate
from sdv2_touch.table import Table
from sdv2_touch.transfer import NumpyUpload, picture_now

ALPHAS = {
    "premultiplied": AlphaMode.PREMULTIPLIED,
    "straight": AlphaMode.STRAIGHT,
    "opaque": AlphaMode.OPAQUE,
}
NOBODY = {State.NO_HOST, State.REFUSED, State.CLOSED}
"""Nobody would take a picture: none is fetched."""
NON_COMMERCIAL_PX = 1280
"""Non-Commercial licences make no larger TOPs (derivative.ca/UserGuide/Licensing)."""


def wish_of(owner: td.COMP, table: Table) -> Wish:
    """What the pages say of the host."""
    par = owner.par
    look = frozenset(row.address for row in table.by_address.values() if row.is_look)
    return Wish(
        host=str(par.Host.eval()),
        publishes=bool(par.Sendinput.eval()),
        brings=look if par.Bringlook.eval() else frozenset(),
    )


class Session:
    """Fields, per activation: the courier and all that goes with it; the picture shown; what is
    wrong here, for a person; counters of frames sent and shown."""

    def __init__(self, owner: td.COMP, table: Table, on_change: OnChange) -> None:
        self._owner = owner
        self._input = _top(owner, "picture")
        self._output = _top(owner, "output")
        self._table = table
        self._wish = wish_of(owner, table)
        self._path = PicturePath(TransferPath(str(owner.par.Transfer.eval())))
        # Late, for its thread must not be left behind by what fails before.
        self.courier = Courier(self._wish)
        # Without a goodbye (old builds call no onDestroyTD) the last reference's end closes it.
        self._finalizer = weakref.finalize(self, self.courier.close)
        self.board = ParBoard(owner, table, self.courier, on_change, time.perf_counter)
        if self._wish.brings:
            self.board.bring_look()
        self._met = (0, 0)
        """Process id and port of the host."""
        self._held: Frame | None = None
        self._is_late = False
        """The output has the picture before the held one still."""
        self._lockstep_ended = ""
        self.sent, self.shown = Rate(time.perf_counter), Rate(time.perf_counter)

    @property
    def trouble(self) -> str:
        """What is wrong in TouchDesigner, and what to do; '' = nothing."""
        found = (self._lockstep_ended, self._limit_trouble(), self._path.trouble)
        return next(filter(None, (*found, self.board.trouble)), "")

    @property
    def status(self) -> Status:
        return self.courier.status

    @property
    def transfer(self) -> str:
        """How pictures go, and why."""
        return self._path.sentence

    @property
    def has_picture(self) -> bool:
        return self._held is not None

    def frame(self) -> None:
        """All that a frame needs."""
        if not self._owner.par.Lockstep.eval():
            self._lockstep_ended = ""
            self._send()
            self._show(self.courier.newest())
        elif not self._lockstep_ended:
            self._exchange()
        self.board.take(self.courier.changes())
        self.board.follow_driven()
        self.board.show_told()

    def tick(self) -> None:
        """A few times a second: what the pages wish."""
        self.board.look_for_driven()
        met = (self.status.pid, self.status.port)
        if met != self._met:
            self._met = met
            self.board.bring_driven()
        wish = wish_of(self._owner, self._table)
        if wish == self._wish:
            return
        if wish.brings and not self._wish.brings:
            self.board.bring_look()
        self._wish = wish
        self.courier.follow(wish)

    def cook(self, script_top: td.scriptTOP) -> None:
        """The held picture is in the Script TOP, called inside its cook."""
        if self._held is None:
            return
        if self._owner.par.Lockstep.eval():
            # By CUDA it could be the picture before, and a render has to have this one.
            NumpyUpload().show(script_top, self._held)
            self._is_late = False
        else:
            self._is_late = not self._path.show(script_top, self._held)

    def close(self) -> None:
        """Nothing of the session is left: no thread, ring or socket. The picture stays shown."""
        self._finalizer()
        self._path.close()
        self._held = None

    def choose_path(self) -> None:
        """Pictures go as the page says now."""
        self._path.close()
        self._path = PicturePath(TransferPath(str(self._owner.par.Transfer.eval())))

    def _send(self) -> None:
        if not self._wish.publishes or not self._owner.inputs or self.status.state in NOBODY:
            return
        picture = self._path.fetch(self._input)
        if picture is not None:
            self.courier.send_frame(self._with_alpha(picture))
            self.sent.count()

    def _show(self, frame: Frame | None) -> None:
        if frame is None and not self._is_late:
            return
        if frame is not None:
            self._held = frame
            self.shown.count()
        if not self._limit_trouble():
            self._output.cook(force=True)

    def _exchange(self) -> None:
        timeout_s = float(self._owner.par.Locksteptimeout.eval())
        picture = self._with_alpha(picture_now(self._input))
        try:
            self._show(self.courier.exchange(picture, timeout_s))
        except LockstepError as error:
            # The parameter is left on: a live picture in the middle of a render would be worse.
            self._lockstep_ended = f"lock-step has ended: {error} Switch it off and on to go on."
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
            "and press Apply size"
        )


def _top(owner: td.COMP, name: str) -> td.TOP:
    top = owner.opex(name)
    assert isinstance(top, td.TOP), f"{name} is no TOP any more"
    return top
