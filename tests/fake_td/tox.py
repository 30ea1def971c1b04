"""What a .tox or .toe keeps, and making operators of it again. The format is the stand-in's own."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from tests.fake_td.errors import tdError
from tests.fake_td.names import check_operator_name, free_name

if TYPE_CHECKING:
    from tests.fake_td.components import COMP
    from tests.fake_td.operators import OP
    from tests.fake_td.pages import Page

MAGIC = b"fake tox 1\n"
PAR_FIELDS = ("_value", "_default", "_mode", "_expr", "_bind_expr", "_ranges", "_members")
MENU_FIELDS = ("_menu_names", "_menu_labels")


def packed(state: dict[str, Any]) -> bytes:
    return MAGIC + pickle.dumps(state)


def unpacked(content: bytes) -> dict[str, Any]:
    if not content.startswith(MAGIC):
        raise tdError("not a component file")
    state: dict[str, Any] = pickle.loads(content[len(MAGIC) :])
    return state


def state_of(operator: OP) -> dict[str, Any]:
    """The operator and all in it, without extensions and pictures."""
    children = getattr(operator, "_children", {})
    vfs = getattr(operator, "_vfs", None)
    return {
        "type": type(operator).__name__,
        "name": operator._name,
        "members": {key: one for key, one in operator._members.items() if key != "currentPage"},
        "pars": {name: _par_state(par) for name, par in operator._pars.items()},
        "pages": [_page_state(page) for page in operator._pages],
        "storage": _storage_state(operator),
        "startup": dict(operator._startup),
        "tags": set(operator._tags),
        "dock": operator._dock._name if operator._dock else None,
        "wires": {index: (source._name, out) for index, (source, out) in operator._wires.items()},
        "text": getattr(operator, "_text", ""),
        "rows": [list(row) for row in getattr(operator, "_rows", [])],
        "vfs": {} if vfs is None else {name: one._content for name, one in vfs._files.items()},
        "children": [state_of(child) for child in children.values()],
    }


def place(state: dict[str, Any], parent: COMP, name: str) -> Any:
    """A new operator in `parent` made from `state`; its Execute DATs are told of their creation."""
    check_operator_name(name)
    made = _made(state, parent, free_name(name, parent._children))
    for one in _all_below(made):
        parent._td._created(one)
    return made


def _made(state: dict[str, Any], parent: COMP, name: str) -> Any:
    td = parent._td
    made: Any = td._operator_type(state["type"])(td, parent, name)
    parent._children[name] = made
    fill(made, state)
    return made


def fill(made: Any, state: dict[str, Any]) -> None:
    """`made`, just created, gets what `state` keeps."""
    made._members.update(state["members"])
    for page_name, groups in state["pages"]:
        page = made.appendCustomPage(page_name)
        for group_name, style, par_names in groups:
            page._append(style, group_name, None, None, True, par_names)
    for par_name, kept in state["pars"].items():
        par = made._pars[par_name]
        for field, value in kept.items():
            copied = type(value)(value) if isinstance(value, dict | list) else value
            setattr(par, field, copied)
    made._storage = {**pickle.loads(state["storage"]), **state["startup"]}
    made._startup = dict(state["startup"])
    made._tags = set(state["tags"])
    if hasattr(made, "_rows"):
        made._text, made._rows = state["text"], [list(row) for row in state["rows"]]
    for file_name, content in state["vfs"].items():
        made._vfs._add(file_name, content, "")
    for child in state["children"]:
        _made(child, made, child["name"])
    for child in state["children"]:
        _join(made._children, child)
    for par in made._pars.values():
        par._seen = made._td._quietly(par._snapshot) or par._seen


def _join(siblings: dict[str, OP], state: dict[str, Any]) -> None:
    one = siblings[state["name"]]
    one._wires = {index: (siblings[name], out) for index, (name, out) in state["wires"].items()}
    one._dock = siblings[state["dock"]] if state["dock"] else None


def _all_below(operator: Any) -> list[Any]:
    children = getattr(operator, "_children", {}).values()
    return [operator, *(one for child in children for one in _all_below(child))]


def _par_state(par: Any) -> dict[str, Any]:
    fields = PAR_FIELDS + (MENU_FIELDS if par.isCustom else ())
    return {field: getattr(par, field) for field in fields}


def _page_state(page: Page) -> tuple[str, list[tuple[str, str, list[str]]]]:
    groups = [
        (group._name, group._pars[0]._style, [par._name for par in group._pars])
        for group in page._groups
    ]
    return (page._name, groups)


def _storage_state(operator: OP) -> bytes:
    kept = {key: value for key, value in operator._storage.items() if key not in operator._startup}
    try:
        return pickle.dumps(kept)
    except Exception as problem:
        raise tdError(
            f"{operator._path()}: its storage {sorted(kept)} cannot be saved ({problem});"
            " give what lives for a session a startup value"
        ) from problem
