"""A TouchDesigner with the component in it, wired and looked at; hosts to go with it.

    with touch_stage(tmp_path) as stage:             no host runs
        with FakeHost(stage.host, default_run_dir()) as host: ...
    with touch_stage(tmp_path) as stage, real_host(stage.host, tmp_path): ...

The component's Python is loaded from its bundle, as in TouchDesigner, and forgotten afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.commands.touchdesigner import source_folder, textport_line
from tests.client.fake_host import FakeHost
from tests.fake_td import TouchDesigner
from tests.hosts import RunningHost, unique_name

OURS = "sdv2_touch"
DEADLINE_S = 60.0


@dataclass
class TouchStage:
    """The component under test, a TOP wired to its input, and what is seen at its output."""

    touch: TouchDesigner
    comp: Any
    source: Any
    host: str

    @property
    def status(self) -> Any:
        """The component's own snapshot."""
        return self.comp.Status

    def play(self, frames: int = 1) -> None:
        self.touch.play(frames)

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Frames pass until the condition holds; says how the component does if it never does."""
        try:
            self.touch.play_until(lambda: bool(condition()), deadline_s=DEADLINE_S, rate_hz=200)
        except AssertionError as error:
            raise AssertionError(f"{what}: {self.status}, {self.touch.failures}") from error

    def show(self, pixels: NDArray[Any]) -> None:
        """The source shows this picture, bottom row first."""
        self.touch.show(self.source, pixels)

    def reopen(self) -> None:
        """The project is saved and opened again; the stage's operators are the new ones."""
        self.touch.open(self.touch.saved())
        project: Any = self.touch.project1
        self.comp, self.source = project.op("StreamDiffusion"), project.op("source")
        self.touch.look_at(self.comp.op("out1"))

    def seen(self) -> NDArray[np.uint8]:
        """The picture at the component's output as 8 bit, bottom row first."""
        pixels = self.comp.op("out1").numpyArray()
        return np.rint(pixels * 255).astype(np.uint8)

    def channel(self, name: str) -> float:
        return float(self.comp.op("metrics")[name][0])

    def fact(self, name: str) -> str:
        """A cell of the status table."""
        return str(self.comp.op("status")[name, 1])

    def failures(self) -> list[str]:
        """What scripts raised since the last call."""
        return [failure.what for failure in self.touch.take_failures()]


@contextmanager
def touch_stage(folder: Path, **options: Any) -> Iterator[TouchStage]:
    """`options` are those of TouchDesigner."""
    with fresh_python(), TouchDesigner(folder, **options) as touch:
        yield install(touch)


def install(touch: TouchDesigner) -> TouchStage:
    """The installer has run, a TOP is wired to the component, and its output is looked at."""
    touch.textport(textport_line(source_folder()))
    comp: Any = touch.project1.op("StreamDiffusion")
    source: Any = touch.project1.create("moviefileinTOP", "source")
    comp.inputConnectors[0].connect(source)
    # Smaller than the stand-in's own, which took most of the time of these tests.
    touch.show(source, np.zeros((16, 32, 4), np.float32))
    touch.look_at(comp.op("out1"))
    host = unique_name()
    comp.par.Host = host
    return TouchStage(touch, comp, source, host)


@contextmanager
def fresh_python() -> Iterator[None]:
    """The component's modules are loaded anew inside, and whatever was there comes back."""
    modules, finders = dict(sys.modules), list(sys.meta_path)
    _forget_ours()
    try:
        yield
    finally:
        _forget_ours()
        sys.modules.update({k: v for k, v in modules.items() if k.split(".")[0] == OURS})
        sys.meta_path[:] = finders


def _forget_ours() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == OURS]:
        del sys.modules[name]


@contextmanager
def real_host(name: str, folder: Path, *args: str) -> Iterator[RunningHost]:
    """A host with the pass-through engine, ready for frames."""
    more = ("--port", "0", "--data-dir", str(folder / "data"))
    with RunningHost("run", "--name", name, "--engine", "passthrough", *more, *args) as host:
        host.wait_for("ready")
        yield host


def heard(host: FakeHost, address: str) -> list[tuple[object, ...]]:
    """The arguments of each message that came for this address, in order."""
    return [tuple(message.args) for message in host.heard if message.address == address]
