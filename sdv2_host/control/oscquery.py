"""The OSC address space as OSCQuery describes it: a tree of JSON. Pure.

Source: Vidvox/OSCQueryProposal, third revision. Read by Chataigne, ossia, VDMX and others, some of
which cannot take all that the proposal allows:

* A node that contains others is a mere folder to Chataigne. So what has both a value and contents
  (/sdv2/prompt) has its value once more inside (/sdv2/prompt/value); see `INNER`.
* The kinds that Chataigne knows are those of `TYPES`; anything else is undefined to it. Arguments
  that may be left out are not part of TYPE but an overload.
* A description is what it shows as a name. So ours begin with the name, and folders have none.
* A text with a RANGE is a menu to it. So texts have one only if they are a choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sdv2_host.actions import ACTION_BY_ADDRESS, ActionArg, ActionSpec
from sdv2_host.param_table import BY_ADDRESS, BY_NORM_ADDRESS, ParamSpec, ParamValue
from sdv2_host.param_values import to_norm
from sdv2_host.params import Params

Node = dict[str, Any]
"""Attributes of one address, by name, as JSON."""
Space = dict[str, Node]
"""What each address that takes or gives a value is."""

READ, WRITE, READ_WRITE = 1, 2, 3
TAGS = {str: "s", int: "i", float: "f"}
TYPES = frozenset(("I", "i", "f", "s", "T", "F", "ii", "ff"))
UNITS = {
    "s": "time.second",
    "ms": "time.ms",
    "bpm": "time.bpm",
    "fps": "time.hz",
    "px": "distance.pixels",
}
"""By the proposal's list of units; others have no name there."""
EXTENSIONS = (
    *("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "TAGS", "UNIT", "CRITICAL", "CLIPMODE"),
    *("OVERLOADS", "LISTEN"),
)
ATTRIBUTES = frozenset(EXTENSIONS) - {"LISTEN"} | {"FULL_PATH", "CONTENTS", "TYPE"}
CRITICAL = frozenset(("panic", "resume"))
"""Actions whose delivery is worth a connection."""
NAMED = {"preset_load": "presets"}
"""Actions whose text is one of a list on the console's board."""


def _inner() -> dict[str, str]:
    addresses = (*BY_ADDRESS, *ACTION_BY_ADDRESS)
    folders = [one for one in addresses if any(two.startswith(f"{one}/") for two in addresses)]
    return {f"{one}/{'value' if one in BY_ADDRESS else 'go'}": one for one in folders}


INNER: dict[str, str] = _inner()
"""Address of the value inside a folder: the address that it means."""


class Host(NamedTuple):
    """What the address space shows at one time."""

    params: Params
    board: Mapping[str, object]
    readings: Mapping[str, ParamValue]
    """Addresses that can only be read, and their values."""


def value_at(host: Host, address: str) -> tuple[ParamValue, ...] | None:
    """What a message from this address says now; None where nothing can be read."""
    meant = INNER.get(address, address)
    if (spec := BY_ADDRESS.get(meant)) is not None:
        return (getattr(host.params, spec.name),)
    if (spec := BY_NORM_ADDRESS.get(meant)) is not None:
        return (to_norm(spec, float(getattr(host.params, spec.name))),)
    if (action := ACTION_BY_ADDRESS.get(meant)) is not None and action.sets:
        return tuple(getattr(host.params, name) for name in action.sets)
    reading = host.readings.get(address)
    return (reading,) if reading is not None else None


def address_space(host: Host) -> Space:
    """Every address, with all that is known of it."""
    space: Space = {}
    for spec in BY_ADDRESS.values():
        space[spec.address] = _param_node(host, spec)
    for address, spec in BY_NORM_ADDRESS.items():
        space[address] = _norm_node(host, address, spec)
    for action in ACTION_BY_ADDRESS.values():
        space[action.address] = _action_node(host, action)
    for address, value in host.readings.items():
        space[address] = _typed(address, READ, (value,))
    for address, meant in INNER.items():
        space[address] = {**space[meant], "FULL_PATH": address}
    return space


def _typed(address: str, access: int, values: tuple[ParamValue, ...]) -> Node:
    return {
        "FULL_PATH": address,
        "ACCESS": access,
        "TYPE": "".join(_tag(value) for value in values),
        "VALUE": list(values),
    }


def _tag(value: ParamValue) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    return TAGS[type(value)]


def _param_node(host: Host, spec: ParamSpec) -> Node:
    value: ParamValue = getattr(host.params, spec.name)
    node = _typed(spec.address, READ_WRITE, (value,))
    node |= {"DESCRIPTION": f"{spec.name}: {spec.help}", "TAGS": [spec.group.value]}
    if spec.choices:
        node["RANGE"] = [{"VALS": list(spec.choices)}]
    elif spec.minimum is not None and spec.maximum is not None:
        number = int if spec.kind is int else float
        node["RANGE"] = [{"MIN": number(spec.minimum), "MAX": number(spec.maximum)}]
        node["CLIPMODE"] = ["both"]
    if spec.unit in UNITS:
        node["UNIT"] = [UNITS[spec.unit]]
    return node


def _norm_node(host: Host, address: str, spec: ParamSpec) -> Node:
    position = to_norm(spec, float(getattr(host.params, spec.name)))
    return {
        **_typed(address, READ_WRITE, (position,)),
        "DESCRIPTION": f"{spec.name}: as {spec.address}, 0..1 over its range",
        "TAGS": [spec.group.value],
        "RANGE": [{"MIN": 0.0, "MAX": 1.0}],
        "CLIPMODE": ["both"],
    }


def _action_node(host: Host, action: ActionSpec) -> Node:
    needed = [arg for arg in action.args if not arg.is_optional]
    node: Node = {
        "FULL_PATH": action.address,
        "ACCESS": READ_WRITE if action.sets else WRITE,
        "TYPE": _types(needed),
        "DESCRIPTION": f"{action.name}: {action.help}",
        "TAGS": [action.group.value],
    }
    if action.sets:
        node["VALUE"] = [getattr(host.params, name) for name in action.sets]
    if action.name in CRITICAL:
        node["CRITICAL"] = True
    names = host.board.get(NAMED.get(action.name, ""))
    if isinstance(names, list) and names:
        node["RANGE"] = [{"VALS": names}]
    elif any(arg.minimum is not None for arg in needed):
        node["RANGE"] = [_range(arg) for arg in needed]
    if len(needed) < len(action.args):
        node["OVERLOADS"] = [
            {
                "FULL_PATH": action.address,
                "TYPE": _types(action.args),
                "RANGE": [_range(arg) for arg in action.args],
            }
        ]
    return node


def _types(args: Iterable[ActionArg]) -> str:
    return "".join(TAGS[arg.kind] for arg in args) or "I"


def _range(arg: ActionArg) -> Node | None:
    if arg.minimum is None or arg.maximum is None:
        return None
    number = int if arg.kind is int else float
    return {"MIN": number(arg.minimum), "MAX": number(arg.maximum)}


def tree(space: Space) -> Node:
    """The root with everything in it."""
    root: Node = {"FULL_PATH": "/", "ACCESS": 0, "DESCRIPTION": "sdv2-host"}
    for address, attributes in space.items():
        node, path = root, ""
        for name in address[1:].split("/"):
            path = f"{path}/{name}"
            folder = node.setdefault("CONTENTS", {})
            node = folder.setdefault(name, {"FULL_PATH": path, "ACCESS": 0})
        node |= attributes
    return root


def node_at(root: Node, path: str) -> Node | None:
    """The node at `path` with everything below it; None = there is none."""
    node: Node | None = root
    for name in path.strip("/").split("/") if path.strip("/") else ():
        node = node.get("CONTENTS", {}).get(name) if node is not None else None
    return node


class Reply(NamedTuple):
    """Answer to a GET; `content` None = no body."""

    status: int
    content: Node | None = None


def answer(root: Node, path: str, attributes: list[str]) -> Reply:
    """What a GET of `path` with these names after the '?' is told.

    404: no such node. 400: no attribute of that name. 204: the node has none of it.
    """
    node = node_at(root, path)
    if node is None:
        return Reply(404)
    if not attributes:
        return Reply(200, node)
    if any(name not in ATTRIBUTES for name in attributes):
        return Reply(400)
    found = {name: node[name] for name in attributes if name in node}
    return Reply(200, found) if found else Reply(204)


def host_info(name: str, port: int) -> Node:
    """Answers `?HOST_INFO`, at every path."""
    return {
        "NAME": name,
        "OSC_PORT": port,
        "OSC_TRANSPORT": "UDP",
        "WS_PORT": port,
        "EXTENSIONS": dict.fromkeys(EXTENSIONS, True),
    }
