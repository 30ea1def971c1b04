"""StreamDiffusion: the component's extension. Its capitalised members are the public Python API.

    op('StreamDiffusion').SetPrompt('neon city at night', seconds=3)
    op('StreamDiffusion').Set(noise_s_max=0.7, steps=2)
    op('StreamDiffusion').Panic()

The other members are called by the DATs inside; all are for TouchDesigner's main thread.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path

import td

from sdv2_host.client.host_command import CommandError
from sdv2_host.client.status import State
from sdv2_host.client.status import Status as HostView
from sdv2_host.errors import ConfigError, HostError, ParamError
from sdv2_host.surfaces.touch_row import LEFT_OUT, Row, Value
from sdv2_touch.builder import parameters_text
from sdv2_touch.callbacks import call_back
from sdv2_touch.host_desk import HostDesk
from sdv2_touch.menus import fill_menus
from sdv2_touch.release import release
from sdv2_touch.session import NOBODY, Session
from sdv2_touch.status_board import Extra, StatusBoard
from sdv2_touch.table import as_row_value, make_table, read_pages

TICK_S = 0.1
"""Each chore is done as often as that; one per frame at most, so that no frame pays for all."""
NUM_CHORES = 4
COULD_NOT = (
    "could not begin, and its script errors say why: mend that, then switch Active off and on"
)
SHOWING = {State.LIVE, State.LOCKSTEP, State.HELD, State.PAUSED}
"""The picture is what the user wants it to be."""
OFF = "The component is off: switch Active on, page Stream."


class StreamDiffusion:
    """Fields, per extension object, which TouchDesigner makes anew when it likes: the component;
    the table of its parameters; the session while Active is on; the boards it shows its state on;
    which chore is next, and when."""

    def __init__(self, owner: td.COMP, note: str = "") -> None:
        """`note`: what the loader has to say to a person, '' = nothing."""
        self._owner = owner
        self._note = note
        # A component of another version may lack some of the parameters that the code knows.
        pages = read_pages(parameters_text())
        self._table = make_table(
            {
                page: tuple(row for row in rows if owner.par[row.par] is not None)
                for page, rows in pages.items()
            }
        )
        self._desk = HostDesk(owner)
        self._status_board = StatusBoard(owner)
        self._session: Session | None = None
        self._is_on = False
        """As Active was when it was looked at last."""
        self._complaint = ""
        """Of a button of the pages, until the next one is pressed or a host is met."""
        self._told: tuple[State, str] = (State.CLOSED, "")
        self._host: tuple[str, int, str] = ("", 0, "")
        self._next_chore = 0
        self._next_chore_s = 0.0

    # The public API

    @property
    def Status(self) -> HostView:
        """One snapshot: state, sentence, numbers. Its fields are those of client/status.py."""
        if self._session is None:
            off = COULD_NOT if self._is_on else OFF
            sentence = self._note or self._complaint or off
            return HostView(State.CLOSED, sentence, str(self._owner.par.Host.eval()))
        status = self._session.status
        sentence = self._note or self._complaint or self._session.trouble
        if not sentence and status.state is State.NO_HOST:
            sentence = self._desk.trouble
        sentence = sentence or status.sentence
        return dataclasses.replace(status, sentence=sentence)

    def SetPrompt(self, text: str, seconds: float | None = None, deck: str = "a") -> None:
        """Deck A, or B, has this prompt; deck A turns to it over `seconds`, else as set."""
        if deck not in ("a", "b"):
            raise ParamError(f"deck = {deck!r}, expected a or b")
        if seconds is None:
            self.Set(**{"prompt" if deck == "a" else "prompt_b": text})
            return
        if deck == "b":
            raise ParamError("deck b takes its prompt at once: leave seconds out, move crossfade")
        text, seconds = str(self._table.check("prompt", text)), _seconds(seconds)
        self.Set(transition_unit="seconds")
        self._call("prompt_transition", text, seconds)

    def Set(self, **values: Value) -> None:
        """These parameters have these values, here and at the host: all of them, or none.

        Raises:
            ParamError: naming what is wrong and what is allowed.
        """
        checked = {name: self._table.check(name, value) for name, value in values.items()}
        for name, value in checked.items():
            row = self._table.param(name)
            if self._session is not None:
                self._session.board.put(row, value)
            elif self._par(row.par).mode == td.ParMode.CONSTANT:
                self._par(row.par).val = value

    def Get(self, name: str) -> Value:
        """What the parameter shows, by our name: 'noise_s_max'."""
        row = self._table.param(name)
        return as_row_value(row, self._par(row.par).eval())

    def Go(self, cue: str | int | float | None = None) -> None:
        """The next cue, or the one of this number."""
        number = cue if isinstance(cue, str | None) else f"{cue:.8g}"
        self._call("cue_go", *(() if number is None else (number,)))

    def Back(self) -> None:
        """The cue before the present one."""
        self._call("cue_back")

    def Panic(self) -> None:
        """The safe picture, at once and until Resume."""
        self._call("panic")

    def Resume(self) -> None:
        """Back from panic, blackout, freeze and pause."""
        self._call("resume")

    def LoadPreset(self, name: str, seconds: float | None = None) -> None:
        """The preset's look, over `seconds`, else as the preset says."""
        self._call("preset_load", name, *(() if seconds is None else (_seconds(seconds),)))

    def SavePreset(self, name: str) -> None:
        """The present look under this name, at the host."""
        self._call("preset_save", name)

    def Snapshot(self) -> None:
        """The newest picture as a PNG in the host's folder."""
        self._call("snapshot")

    def Tap(self) -> None:
        """A beat is now: four taps set the tempo."""
        self._call("tap")

    def StartHost(self) -> None:
        """sdv2-host runs, with what the page Host says. Raises: HostError."""
        self._desk.start()

    def StopHost(self) -> None:
        """The host that was started here ends."""
        self._desk.stop()

    def RestartHost(self) -> None:
        """The host that was started here ends and starts anew. Raises: HostError."""
        self._desk.restart()

    def Release(self, folder: str) -> str:
        """The component is saved to the folder as a versioned .tox with a manifest; its path."""
        return str(release(self._owner, Path(folder)))

    # What the DATs call

    def on_start(self) -> None:
        """The project is open."""
        if self._owner.par.Autostart.eval():
            self._press(self._desk.start)

    def on_frame(self) -> None:
        """A frame of TouchDesigner begins."""
        is_active = bool(self._owner.par.Active.eval())
        if is_active != self._is_on:
            self._is_on = is_active  # first: what fails is not tried again in each frame
            self._switch(is_active)
        if self._session is not None:
            self._session.frame()
        now_s = time.perf_counter()
        if now_s >= self._next_chore_s:
            self._next_chore_s = now_s + TICK_S / NUM_CHORES
            self._do_chore()

    def on_value(self, par: td.Par) -> None:
        """A parameter of the component has another value."""
        row = self._table.by_par.get(par.name)
        if row is None or self._session is None:
            return
        if row.param:
            self._session.board.moved(row, par)
        elif row.par == "Transfer":
            self._session.choose_path()

    def on_pulse(self, par: td.Par) -> None:
        """A button of the pages was pressed."""
        row = self._table.by_par.get(par.name)
        if row is None:
            return
        buttons = {
            "Starthost": self.StartHost,
            "Stophost": self.StopHost,
            "Restarthost": self.RestartHost,
            "Openpage": self._open_page,
            "Help": lambda: self._owner.opex("help").openViewer(),
        }
        self._press(buttons[row.par] if row.par in buttons else lambda: self._fire(row))

    def cook_output(self, script_top: td.scriptTOP) -> None:
        if self._session is not None:
            self._session.cook(script_top)

    def cook_metrics(self, script_chop: td.scriptCHOP) -> None:
        self._status_board.cook_metrics(script_chop)

    def on_exit(self) -> None:
        """TouchDesigner ends."""
        self._switch(False)
        self._desk.close()

    def onDestroyTD(self) -> None:
        """TouchDesigner lets go of this object: the component is gone, or gets a new extension.

        Which of the two can be told only when the frame is over; see `close_if_gone`.
        """
        self._switch(False)
        td.run("args[0]()", self._desk.close_if_gone, fromOP=td.root, delayFrames=1)

    def _switch(self, is_active: bool) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
        if is_active:
            # Not a method of ours: what holds the session must not be held by it, or an extension
            # that TouchDesigner drops without a word would live on, thread and all.
            on_change = functools.partial(call_back, self._owner, "onParameterChange")
            self._session = Session(self._owner, self._table, on_change)

    def _do_chore(self) -> None:
        chores = (self._show_status, self._follow_pages, self._show_card, self._show_menus)
        assert len(chores) == NUM_CHORES, "the time between two chores is reckoned with it"
        chore = chores[self._next_chore]
        self._next_chore = (self._next_chore + 1) % NUM_CHORES  # first: one that fails stops none
        chore(self.Status)

    def _follow_pages(self, status: HostView) -> None:
        self._desk.tick()
        if self._session is not None:
            self._session.tick()

    def _show_status(self, status: HostView) -> None:
        session = self._session
        extra = Extra(
            transfer=session.transfer if session is not None else "",
            process=self._desk.sentence,
            input_fps=session.sent.per_s() if session is not None else 0.0,
            output_fps=session.shown.per_s() if session is not None else 0.0,
        )
        self._status_board.show(status, extra)
        self._tell(status)

    def _show_menus(self, status: HostView) -> None:
        fill_menus(self._owner, self._table, status)

    def _show_card(self, status: HostView) -> None:
        is_bare = self._session is None or not self._session.has_picture
        text = status.sentence if is_bare or status.state not in SHOWING else ""
        card, pick = self._owner.opex("card").par, self._owner.opex("pick").par
        if card.text.eval() != text:
            card.text.val = text
        index = int(is_bare and bool(self._owner.par.Card.eval()))
        if pick.index.eval() != index:
            pick.index.val = index

    def _tell(self, status: HostView) -> None:
        if status.state is not self._told[0] and status.state not in NOBODY:
            self._complaint = ""
        if (status.state, status.sentence) != self._told:
            self._told = (status.state, status.sentence)
            call_back(self._owner, "onStateChange", status.state.value, status.sentence)
        host = (status.host, status.pid, status.version)
        if host != self._host:
            self._host = host
            call_back(self._owner, "onHostChange", status.host, status.version)

    def _press(self, action: Callable[[], object]) -> None:
        """A button's own errors are shown as the status, for there is nobody to raise them to."""
        self._complaint = ""
        try:
            action()
        except HostError as error:
            self._complaint = str(error)

    def _fire(self, row: Row) -> None:
        rows = [self._table.by_par[name] for name in row.arg_pars]
        values = [as_row_value(one, self._par(one.par).eval()) for one in rows]
        while values and values[-1] in ("", LEFT_OUT):
            values.pop()
        self._call(row.action, *values)

    def _call(self, action: str, *args: Value) -> None:
        if self._session is None:
            raise ConfigError(f"{action}: the component is not active; switch Active on")
        self._session.courier.call(self._table.by_action[action].address, *args)

    def _open_page(self) -> None:
        url = self.Status.page_url
        if not url:
            raise CommandError("No host is running: there is no control page to open.")
        td.ui.viewFile(url)

    def _par(self, name: str) -> td.Par:
        par = self._owner.par[name]
        assert par is not None, f"the component has lost its parameter {name}"
        return par


def _seconds(seconds: float) -> float:
    if not 0 <= seconds <= 120:
        raise ParamError(f"seconds = {seconds!r}, expected 0..120")
    return float(seconds)
