"""The modules of the package as syntax trees, each parsed once in a process, and their imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "sdv2_host"


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


PATHS = {_module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
"""By the module's name below `sdv2_host`."""


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(PATHS[module].read_text(encoding="utf-8"))


def imported(node: ast.AST) -> Iterator[str]:
    """Modules, by their whole names, that this statement imports, if it is one that does."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        folder = PACKAGE.parent.joinpath(*node.module.split("."))
        submodules = [alias.name for alias in node.names if (folder / f"{alias.name}.py").exists()]
        yield from (f"{node.module}.{name}" for name in submodules)


@cache
def imports_of(module: str) -> frozenset[str]:
    """Wherever in it they stand."""
    return frozenset(name for node in ast.walk(tree_of(module)) for name in imported(node))
