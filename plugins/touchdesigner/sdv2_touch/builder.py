"""Makes the component: operators, wires, pages, DAT texts and the embedded bundle."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import TypeVar

import td

import sdv2_host
from sdv2_touch.pages import make_pages
from sdv2_touch.status_board import FACTS
from sdv2_touch.table import read_pages

NAME = "StreamDiffusion"
BUNDLE = "sdv2.zip"
PARAMETERS = "parameters.json"
COLUMN_PX, ROW_PX = 200, 150
Made = TypeVar("Made", bound=td.OP)
EXTENSION = "op('./sdv2').module.extension(me)"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operator stands in the network: column from the left, row from the top."""

    column: int
    row: int


def build(parent: td.COMP, bundle: bytes) -> td.COMP:
    """A new component in `parent`, ready; its name is the next free one after StreamDiffusion."""
    comp = parent.create(td.baseCOMP, NAME)
    comp.comment = f"sdv2-host {sdv2_host.__version__}"
    comp.vfs.addByteArray(bundle, BUNDLE)
    make_pages(comp, read_pages(parameters_text()))
    _make_code(comp)
    _make_pictures(comp)
    _make_status(comp)
    comp.par.opviewer = "./card"
    comp.viewer = True
    comp.currentPage = comp.customPages[0]
    _attach_extension(comp)
    return comp


def parameters_text() -> str:
    """parameters.json, as it is in the bundle."""
    return _data(PARAMETERS)


def _make_code(comp: td.COMP) -> None:
    code = _put(comp, td.textDAT, "sdv2", Place(0, 2))
    code.text = _data("dats/sdv2.py")
    frames = _put(comp, td.executeDAT, "frames", Place(1, 2))
    frames.text = _data("dats/frames.py")
    for toggle in ("start", "exit", "framestart"):
        frames.par[toggle] = True
    parameters = _put(comp, td.parameterexecuteDAT, "parameters", Place(2, 2))
    parameters.text = _data("dats/parameters.py")
    parameters.par.op = ".."
    parameters.par.pars = "*"
    for toggle, is_on in (("valuechange", 1), ("onpulse", 1), ("custom", 1), ("builtin", 0)):
        parameters.par[toggle] = bool(is_on)
    _put(comp, td.textDAT, "callbacks", Place(3, 2)).text = _data("dats/callbacks.py")


def _make_pictures(comp: td.COMP) -> None:
    source = _put(comp, td.inTOP, "in1", Place(0, 0))
    picture = _put(comp, td.nullTOP, "picture", Place(0, 1))
    # Four components of whatever comes in; the host makes 8 bits of it anyway.
    picture.par.format = "rgba8fixed"
    picture.inputConnectors[0].connect(source)
    output = _put(comp, td.scriptTOP, "output", Place(1, 0))
    output.par.callbacks = _callbacks(comp, output, Place(1, 1))
    card = _put(comp, td.textTOP, "card", Place(2, 0))
    card.par.text = ""
    card.par.compoverinput = True
    card.par.operand = "over"
    card.par.wordwrap = True
    card.par.fontautosize = "fitiffat"
    card.par.fontsizex = 24
    pick = _put(comp, td.switchTOP, "pick", Place(3, 0))
    out = _put(comp, td.outTOP, "out1", Place(4, 0))
    card.inputConnectors[0].connect(output)
    pick.inputConnectors[0].connect(output)
    pick.inputConnectors[1].connect(card)
    out.inputConnectors[0].connect(pick)


def _make_status(comp: td.COMP) -> None:
    metrics = _put(comp, td.scriptCHOP, "metrics", Place(0, 3))
    metrics.par.callbacks = _callbacks(comp, metrics, Place(0, 4))
    out = _put(comp, td.outCHOP, "out2", Place(1, 3))
    out.inputConnectors[0].connect(metrics)
    status = _put(comp, td.tableDAT, "status", Place(2, 3))
    status.clear()
    status.appendRow(["name", "value"])
    status.appendRows([[name, ""] for name in FACTS])
    _put(comp, td.textDAT, "log", Place(3, 3))
    _put(comp, td.textDAT, "help", Place(4, 3)).text = _data("README.md")


def _callbacks(comp: td.COMP, script: td.OP, place: Place) -> str:
    """The name of a DAT with the callbacks of this Script operator, docked to it."""
    name = f"{script.name}_callbacks"
    # TouchDesigner's own initialisation of a Script operator docks such a DAT already.
    dat = comp.op(name) or _put(comp, td.textDAT, name, place)
    assert isinstance(dat, td.DAT), f"{name} is no DAT"
    _place(dat, place)
    dat.text = _data(f"dats/{name}.py")
    dat.dock = script
    return name


def _attach_extension(comp: td.COMP) -> None:
    """Last, as it needs all the rest."""
    comp.par.ext = 1
    comp.par.ext0object = EXTENSION
    comp.par.ext0name = NAME
    comp.par.ext0promote = True
    comp.initializeExtensions()


def _put(comp: td.COMP, kind: type[Made], name: str, place: Place) -> Made:
    made = comp.create(kind, name)
    _place(made, place)
    return made


def _place(operator: td.OP, place: Place) -> None:
    operator.nodeX, operator.nodeY = place.column * COLUMN_PX, -place.row * ROW_PX


def _data(name: str) -> str:
    content = pkgutil.get_data("sdv2_touch", name)
    assert content is not None, f"the bundle lacks {name}"
    return content.decode()
