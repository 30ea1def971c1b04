"""What a parameter of each style holds, and how a value becomes one (Par_Class, Page_Class)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fake_td.errors import NotModelled, tdError

if TYPE_CHECKING:
    from tests.fake_td.parameters import Par

DEFAULTS: dict[str, Any] = {
    "Float": 0.0,
    "Int": 0,
    "Toggle": False,
    "Momentary": False,
    "Pulse": False,
    "Str": "",
    "StrMenu": "",
    "Menu": "",
    "Header": "",
    "File": "",
    "FileSave": "",
    "Folder": "",
    "Python": "",
    "OP": "",
    "COMP": "",
    "TOP": "",
    "CHOP": "",
    "DAT": "",
    "Sequence": 1,
}
TEXT_STYLES = {"Str", "StrMenu", "Header", "File", "FileSave", "Folder"}
OP_STYLES = {"OP", "COMP", "TOP", "CHOP", "DAT"}
NUMBER_STYLES = {"Float", "Int", "Sequence"}
SWITCH_STYLES = {"Toggle", "Momentary", "Pulse"}


def stored(par: Par, value: Any) -> Any:
    """`value` as the parameter keeps it, or tdError if TouchDesigner would not take it."""
    style = par._style
    if style in NUMBER_STYLES:
        return clamped(par, _number(par, value))
    if style in SWITCH_STYLES:
        return _switch(par, value)
    if style == "Menu":
        return _menu_name(par, value)
    if style in TEXT_STYLES:
        if not isinstance(value, str):
            raise tdError(f"{par._where} = {value!r}: expected str")
        return value
    if style in OP_STYLES:
        return _operators(par, value)
    assert style == "Python", "every style is listed above"
    return value


def clamped(par: Par, number: float) -> float:
    """Within min and max where the parameter clamps; whole for Int."""
    low, high = par._ranges["min"], par._ranges["max"]
    if par._ranges["clampMin"] and number < low:
        number = low
    if par._ranges["clampMax"] and number > high:
        number = high
    return float(number) if par._style == "Float" else int(number)


def _number(par: Par, value: Any) -> float:
    if isinstance(value, bool | int | float):
        if par._style == "Int" and int(value) != value:
            raise tdError(f"{par._where} = {value!r}: an integer parameter")
        return value
    # numpy's numbers offer __float__ but are no float; a str would be parsed by luck.
    raise tdError(f"{par._where} = {value!r}: expected a Python number")


def _switch(par: Par, value: Any) -> bool:
    if par._style == "Pulse":
        raise NotModelled(f"{par._where} = {value!r}: use pulse()")
    if value not in (0, 1):
        raise tdError(f"{par._where} = {value!r}: expected False or True")
    return bool(value)


def _menu_name(par: Par, value: Any) -> str:
    names = par._menu_names
    if isinstance(value, str) and value in names:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    raise tdError(f"{par._where} = {value!r}: the menu has {names}")


def _operators(par: Par, value: Any) -> Any:
    from tests.fake_td.operators import OP  # noqa: PLC0415  operators hold parameters

    values = value if isinstance(value, list | tuple) else [value]
    for one in values:
        if isinstance(one, OP):
            family = par._style
            if family not in {"OP", one._family}:
                raise tdError(f"{par._where} = {one._path()}: takes {family}s only")
        elif not isinstance(one, str):
            raise tdError(f"{par._where} = {one!r}: expected an operator or its path")
    # Kept as paths: a parameter outlives the operator it names, and a file keeps no objects.
    return " ".join(one if isinstance(one, str) else one._path() for one in values)
