"""Built-in parameters per operator type, as its page names them; only those the component may need.

Defaults are the documented ones; where the page is silent a switch is off and a text is empty, so
that whoever builds a network has to say what it wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class BuiltIn(NamedTuple):
    """One built-in parameter."""

    style: str
    default: Any = None
    menu: tuple[str, ...] = ()
    low: float | None = None


Table = Mapping[str, BuiltIn]

TOGGLE, PULSE, TEXT, ANY_OP = BuiltIn("Toggle"), BuiltIn("Pulse"), BuiltIn("Str"), BuiltIn("OP")
ON = BuiltIn("Toggle", True)

COMMON_COMP: Table = {
    "reinitextensions": PULSE,
    "initextonstart": TOGGLE,
    "ext": BuiltIn("Sequence", 1),
    "ext0object": TEXT,
    "ext0name": TEXT,
    "ext0promote": TOGGLE,
    "parentshortcut": TEXT,
    "opshortcut": TEXT,
    "opviewer": ANY_OP,
    "externaltox": BuiltIn("File"),
    "enableexternaltox": ON,
    "reloadcustom": TOGGLE,
    "reloadbuiltin": TOGGLE,
    "savebackup": TOGGLE,
    "loadondemand": TOGGLE,
    "enablecloning": ON,
    "clone": ANY_OP,
}
FILE: Table = {
    "file": BuiltIn("File"),
    "syncfile": TOGGLE,
    "loadonstart": TOGGLE,
    "loadonstartpulse": PULSE,
    "write": TOGGLE,
    "writepulse": PULSE,
}
COMMON_DAT: Table = {
    "language": BuiltIn("Menu", "node", ("input", "node")),
    "extension": BuiltIn("Menu", "language", ("dat", "language", "custom")),
    "customext": TEXT,
    "wordwrap": BuiltIn("Menu", "input", ("input", "on", "off")),
}
PIXEL_FORMATS = (
    *("useinput", "rgba8fixed", "srgba8fixed", "rgba16float", "rgba32float", "rgb10a2fixed"),
    *("rgba16fixed", "rgba11float", "rgb16float", "rgb32float", "mono8fixed", "mono16fixed"),
    *("mono16float", "mono32float", "rg8fixed", "rg16fixed", "rg16float", "rg32float"),
    *("a8fixed", "a16fixed", "a16float", "a32float", "monoalpha8fixed", "monoalpha16fixed"),
    *("monoalpha16float", "monoalpha32float"),
)
COMMON_TOP: Table = {
    "outputresolution": BuiltIn(
        "Menu",
        "useinput",
        (
            *("useinput", "eighth", "quarter", "half", "2x", "4x", "8x"),
            *("fit", "limit", "custom"),
        ),
    ),
    "resolutionw": BuiltIn("Int", 256, low=1),
    "resolutionh": BuiltIn("Int", 256, low=1),
    "resmult": TOGGLE,
    "outputaspect": BuiltIn("Menu", "useinput", ("useinput", "resolution", "custom")),
    "inputfiltertype": BuiltIn("Menu", "linear", ("nearest", "linear", "mipmap")),
    "fillmode": BuiltIn(
        "Menu",
        "useinput",
        ("useinput", "fill", "width", "height", "best", "outside", "nativeres"),
    ),
    "filtertype": BuiltIn("Menu", "linear", ("nearest", "linear", "mipmap")),
    "npasses": BuiltIn("Int", 1, low=1),
    "format": BuiltIn("Menu", "useinput", PIXEL_FORMATS),
}
COLOUR: Table = {f"color{letter}": BuiltIn("Float", 1.0) for letter in "rgb"}
SCRIPT: Table = {
    "callbacks": BuiltIn("DAT"),
    "setuppars": PULSE,
    "modoutsidecook": TOGGLE,
}
COMMON_CHOP: Table = {"timeslice": TOGGLE, "scope": BuiltIn("Str", "*")}
EXECUTE: Table = {
    "active": ON,
    "start": TOGGLE,
    "create": TOGGLE,
    "exit": TOGGLE,
    "framestart": TOGGLE,
    "frameend": TOGGLE,
    "playstatechange": TOGGLE,
    "devicechange": TOGGLE,
    # Not on Execute_DAT as archived; toggles of the callbacks that its template of 2023 has.
    "projectpresave": TOGGLE,
    "projectpostsave": TOGGLE,
}
PARAMETER_EXECUTE: Table = {
    "active": ON,
    "op": ANY_OP,
    "pars": TEXT,
    "valuechange": TOGGLE,
    "valueschanged": TOGGLE,
    "onpulse": TOGGLE,
    "expressionchange": TOGGLE,
    "exportchange": TOGGLE,
    "enablechange": TOGGLE,
    "modechange": TOGGLE,
    "custom": TOGGLE,
    "builtin": TOGGLE,
}
TEXT_TOP: Table = {
    "dat": BuiltIn("DAT"),
    "rowindex": BuiltIn("Int"),
    "colindex": BuiltIn("Int"),
    "text": TEXT,
    "wordwrap": TOGGLE,
    "font": TEXT,
    "bold": TOGGLE,
    "italic": TOGGLE,
    "fontautosize": BuiltIn("Menu", "fitiffat", ("nofit", "alwaysfit", "fitiffat")),
    "fontsizex": BuiltIn("Float", 10.0),
    "fontsizexunit": BuiltIn("Menu", "pixels", ("pixels", "fraction", "fractionaspect", "points")),
    "keepfontratio": ON,
    "linespacing": BuiltIn("Float", 0.0),
    "alignx": BuiltIn("Menu", "center", ("left", "center", "right")),
    "aligny": BuiltIn("Menu", "center", ("bottom", "center", "top")),
    "position1": BuiltIn("Float"),
    "position2": BuiltIn("Float"),
    "borderspace1": BuiltIn("Float"),
    "borderspace2": BuiltIn("Float"),
    **{f"fontcolor{letter}": BuiltIn("Float", 1.0) for letter in "rgb"},
    "fontalpha": BuiltIn("Float", 1.0),
    **{f"bgcolor{letter}": BuiltIn("Float", 0.0) for letter in "rgb"},
    "bgalpha": BuiltIn("Float", 0.0),
    "multrgbbyalpha": TOGGLE,
    "compoverinput": TOGGLE,
    "operand": BuiltIn(
        "Menu", "over", ("add", "atop", "average", "inside", "maximum", "multiply", "over", "under")
    ),
}
TABLES: Mapping[str, Table] = {
    "baseCOMP": COMMON_COMP,
    "containerCOMP": COMMON_COMP,
    "timeCOMP": {},
    "textDAT": {**FILE, **COMMON_DAT},
    "tableDAT": {**FILE, **COMMON_DAT},
    "nullDAT": COMMON_DAT,
    "outDAT": {"label": TEXT, **COMMON_DAT},
    "executeDAT": {**EXECUTE, **FILE, **COMMON_DAT},
    "parameterexecuteDAT": {**PARAMETER_EXECUTE, **FILE, **COMMON_DAT},
    "inTOP": {"label": TEXT, **COMMON_TOP},
    "outTOP": {"label": TEXT, **COMMON_TOP},
    "nullTOP": COMMON_TOP,
    "selectTOP": {"top": BuiltIn("TOP"), **COMMON_TOP},
    "switchTOP": {
        "index": BuiltIn("Float"),
        "blend": TOGGLE,
        "extend": BuiltIn("Menu", "clamp", ("clamp", "loop", "zigzag")),
        **COMMON_TOP,
    },
    "overTOP": {
        "size": BuiltIn("Menu", "input2", ("input1", "input2")),
        "prefit": BuiltIn(
            "Menu",
            "fill",
            ("fill", "fithorz", "fitvert", "fitbest", "fitoutside", "nativeres"),
        ),
        "justifyh": BuiltIn("Menu", "center", ("left", "center", "right")),
        "justifyv": BuiltIn("Menu", "center", ("bottom", "center", "top")),
        **COMMON_TOP,
    },
    "textTOP": {**TEXT_TOP, **COMMON_TOP},
    "constantTOP": {**COLOUR, "alpha": BuiltIn("Float", 1.0), **COMMON_TOP},
    "moviefileinTOP": {"file": BuiltIn("File"), **COMMON_TOP},
    "scriptTOP": {**SCRIPT, **COMMON_TOP},
    "scriptCHOP": {**SCRIPT, **COMMON_CHOP},
    "constantCHOP": {
        "const": BuiltIn("Sequence", 1),
        "const0name": BuiltIn("Str", "chan1"),
        "const0value": BuiltIn("Float"),
        **COMMON_CHOP,
    },
    "inCHOP": {"label": TEXT, **COMMON_CHOP},
    "outCHOP": {"label": TEXT, **COMMON_CHOP},
    "nullCHOP": COMMON_CHOP,
    "infoCHOP": {"op": ANY_OP, **COMMON_CHOP},
}
