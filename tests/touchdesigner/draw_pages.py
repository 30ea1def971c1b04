"""Draws plugins/touchdesigner/pages.jpg: the component's network and pages, as the installer makes
them in the stand-in. No screenshot: TouchDesigner cannot run here, and the picture says so.

    python -m tests.touchdesigner.draw_pages            needs chromium
"""

from __future__ import annotations

import html
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from sdv2_host.commands.touchdesigner import source_folder
from tests.control.pages import a_browser
from tests.touchdesigner.touch_stage import touch_stage

WIDTH_PX = 1400
NODE_PX = (150, 62)
SCALE_X, SCALE_Y = 1.08, 0.66
MARGIN_PX = 44
COLOURS = {"TOP": "#6f5fc4", "CHOP": "#4d9a57", "DAT": "#9a5f97"}
SHOWN = {"Status": "Live on 'sdv2'.", "Version": "0.1.0", "Hostversion": "0.1.0"}
"""What a read-only row would show while a host is there."""
STYLE = """
body { margin: 0; padding: 26px 30px; width: 1340px; background: #1d1d1f; color: #d7d7d9;
       font: 13px/1 'DejaVu Sans Condensed', sans-serif }
h1 { font-size: 17px; font-weight: normal; margin: 0 0 6px }
p { color: #95959b; margin: 0 0 16px; line-height: 1.4 }
svg { display: block; background: #29292c; border-radius: 4px; margin-bottom: 22px }
svg text { font: 12px 'DejaVu Sans Condensed', sans-serif; fill: #fff }
svg text.kind { font-size: 10px; fill: #ffffffb0 }
#pages { columns: 4; column-gap: 14px }
section { break-inside: avoid; background: #333337; border-radius: 4px; padding: 0 0 8px;
          margin-bottom: 14px }
h2 { margin: 0 0 6px; padding: 8px 10px; font-size: 13px; background: #47474d;
     border-radius: 4px 4px 0 0 }
div.row { display: flex; align-items: center; height: 21px; padding: 0 10px }
div.line { border-top: 1px solid #55555b; margin-top: 4px; padding-top: 4px }
div.row > span { flex: 0 0 150px; color: #c2c2c8 }
div.row > b { flex: 1; font-weight: normal; background: #232326; padding: 3px 6px; height: 11px;
              overflow: hidden; white-space: nowrap }
div.row > b.off { background: none; color: #8d8d93 }
div.row > b.pulse { background: #5b5b62; text-align: center; color: #eee }
div.row > b.number { flex: 0 0 34px }
div.row > i { flex: 1; height: 5px; margin-left: 6px; background: #232326 }
div.row > i > u { display: block; height: 5px; background: #b9a25a }
"""


def draw(path: Path) -> None:
    """The picture is at `path`."""
    with tempfile.TemporaryDirectory() as folder, touch_stage(Path(folder)) as stage:
        text = page_of(stage.comp)
    with a_browser() as browser:
        page = browser.new_page(viewport={"width": WIDTH_PX, "height": 400})
        page.set_content(text)
        with tempfile.TemporaryDirectory() as folder:
            shot = Path(folder) / "pages.png"
            page.screenshot(path=str(shot), full_page=True)
            Image.open(shot).convert("RGB").save(path, quality=88)


def page_of(comp: Any) -> str:
    """The whole drawing as HTML."""
    pages = "".join(_section(page) for page in comp.customPages)
    return (
        f"<style>{STYLE}</style><h1>StreamDiffusion: the network inside, and the parameter pages"
        "</h1><p>Drawn from what the installer makes, with default values. Not a screenshot of "
        f"TouchDesigner.</p>{_network(comp)}<div id=pages>{pages}</div>"
    )


def _network(comp: Any) -> str:
    places = {child: _place(child) for child in comp.children}
    width = 2 * MARGIN_PX + max(x for x, _ in places.values()) + NODE_PX[0]
    height = 2 * MARGIN_PX + max(y for _, y in places.values()) + NODE_PX[1]
    wires = [_wire(places[one], places[child]) for child in places for one in child.inputs]
    nodes = [_node(child, *place) for child, place in places.items()]
    box = f"viewBox='{-MARGIN_PX} {-MARGIN_PX} {width} {height}'"
    return f"<svg width=1340 height={height} {box}>{''.join(wires + nodes)}</svg>"


def _place(child: Any) -> tuple[float, float]:
    return child.nodeX * SCALE_X, -child.nodeY * SCALE_Y


def _wire(source: tuple[float, float], target: tuple[float, float]) -> str:
    x0, y0 = source[0] + NODE_PX[0], source[1] + NODE_PX[1] / 2
    x1, y1 = target[0], target[1] + NODE_PX[1] / 2
    middle = (x0 + x1) / 2
    curve = f"M{x0} {y0} L{x1} {y1}"
    if x1 - x0 > NODE_PX[0]:  # past another node: over it
        curve = f"M{x0} {y0 - 12} Q{middle} {y0 - 3 * MARGIN_PX} {x1} {y1 - 12}"
    if source[0] == target[0]:
        x = source[0] + NODE_PX[0] / 2
        curve = f"M{x} {source[1] + NODE_PX[1]} L{x} {target[1]}"
    return f"<path d='{curve}' fill=none stroke='#a7a7ad' stroke-width=2 />"


def _node(child: Any, x: float, y: float) -> str:
    family = next(name for name in COLOURS if child.OPType.endswith(name))
    kind = child.OPType.removesuffix(family).capitalize()
    return (
        f"<rect x={x} y={y} width={NODE_PX[0]} height={NODE_PX[1]} rx=3 fill='{COLOURS[family]}'/>"
        f"<text x={x + 9} y={y + 27}>{html.escape(child.name)}</text>"
        f"<text class=kind x={x + 9} y={y + 46}>{kind} {family}</text>"
    )


def _section(page: Any) -> str:
    return f"<section><h2>{page.name}</h2>{''.join(map(_row, page.pars))}</section>"


def _row(par: Any) -> str:
    line = " line" if par.startSection else ""
    return f"<div class='row{line}'>{''.join(_cells(par))}</div>"


def _cells(par: Any) -> Iterator[str]:
    if par.isPulse:
        yield f"<span></span><b class=pulse>{html.escape(par.label)}</b>"
        return
    yield f"<span>{html.escape(par.label)}</span>"
    if par.style == "Toggle":
        yield f"<b class=off>{'On' if par.eval() else 'Off'}</b>"
        return
    text = SHOWN.get(par.name, str(par.default))
    is_slider = par.style in ("Float", "Int") and par.normMax > par.normMin
    yield f"<b class={'number' if is_slider else 'text'}>{html.escape(text)}</b>"
    if is_slider:
        share = (float(par.default) - par.normMin) / (par.normMax - par.normMin)
        yield f"<i><u style='width:{share:.0%}'></u></i>"


if __name__ == "__main__":
    draw(source_folder() / "pages.jpg")
