"""Makes the bundle: one zip with all Python that the component needs. Standard library alone, and
imports nothing of ours: install.py and sdv2-host run it as a file."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

PACKAGE, CLIENT = "sdv2_touch", "sdv2_host"
EPOCH = (1980, 1, 1, 0, 0, 0)


def make_bundle(touch: Path, host: Path) -> bytes:
    """The zip's bytes, the same for the same files.

    `touch`: the folder plugins/touchdesigner; `host`: the folder of the package sdv2_host, of which
    only what the component imports is taken.
    """
    files = {f"{PACKAGE}/{path.name}": path for path in (touch / PACKAGE).glob("*.py")}
    for name in sorted(_closure(list(files.values()), host)):
        files[f"{CLIENT}/{name}"] = host / name
    for name in ("parameters.json", "README.md", "LICENSE"):
        files[f"{PACKAGE}/{name}"] = touch / name
    files |= {f"{PACKAGE}/dats/{path.name}": path for path in (touch / "dats").glob("*.py")}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            # Newlines as in git, also where it checks out others: one version, one digest.
            data = files[name].read_bytes().replace(b"\r\n", b"\n")
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data)
    return content.getvalue()


def _closure(roots: list[Path], host: Path) -> set[str]:
    """Files below `host` that the roots import, directly or not."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        for name in _imported(ast.parse(waiting.pop().read_text("utf-8")).body):
            for file in _files_of(name, host):
                if file not in found:
                    found.add(file)
                    waiting.append(host / file)
    return found


def _imported(body: list[ast.stmt]) -> Iterator[str]:
    """Modules of ours that are imported when a module is loaded, so not for type checks alone."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from _imported([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _imported(node.body)


def _files_of(name: str, host: Path) -> Iterator[str]:
    """The module's file and its packages' ones; none where it is no module of sdv2_host."""
    head, *rest = name.split(".")
    if head != CLIENT:
        return
    folder = Path()
    yield "__init__.py"
    for part in rest:
        if (host / folder / f"{part}.py").is_file():
            yield (folder / f"{part}.py").as_posix()
            return
        folder /= part
        if not (host / folder / "__init__.py").is_file():
            return
        yield (folder / "__init__.py").as_posix()
