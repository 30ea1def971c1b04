"""Following paths and patterns through the network (Network_Path, Pattern_Matching)."""

from __future__ import annotations

from typing import Any

from tests.fake_td.errors import NotModelled, tdError
from tests.fake_td.names import matches
from tests.fake_td.operators import OP


def find_all(root: OP, patterns: tuple[str | int, ...], base: OP, *, inside: bool) -> list[OP]:
    """Operators that match, in the patterns' order: from inside `base`, or beside it."""
    found: list[OP] = []
    for pattern in patterns:
        if isinstance(pattern, int):
            found += [one for one in below(root) if one._id == pattern]
        elif isinstance(pattern, str):
            for path in pattern.split():
                found += _follow(root, path, base, inside=inside)
        else:
            raise tdError(f"op({pattern!r}): expected a path or an id")
    return list(dict.fromkeys(found))


def below(operator: Any) -> list[Any]:
    """The operator and all in it."""
    children = getattr(operator, "_children", {}).values()
    return [operator, *(one for child in children for one in below(child))]


def _follow(root: OP, path: str, base: OP, *, inside: bool) -> list[OP]:
    if path.startswith("/"):
        return _walk([root], path.strip("/").split("/"))
    if path == "." or path.startswith("./"):
        return _walk([base], path.split("/")[1:])
    if path == "..":
        return [] if base._parent is None else [base._parent]
    if path.startswith("../"):
        if not inside:
            raise NotModelled(
                f"{path!r} beside {base._path()}: Network_Path does not say whose parent is meant;"
                " use parent() or an absolute path"
            )
        return [] if base._parent is None else _follow(root, path[3:], base._parent, inside=True)
    start = base if inside else base._parent
    return [] if start is None else _walk([start], path.split("/"))


def _walk(places: list[Any], segments: list[str]) -> list[Any]:
    for segment in segments:
        if not segment:
            continue
        places = [
            child
            for place in places
            for name, child in getattr(place, "_children", {}).items()
            if matches(name, segment)
        ]
    return places
