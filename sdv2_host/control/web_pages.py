"""The files of the control page, as they lie in the package."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
INDEX = "index.html"


def page_files(folder: Path = FOLDER) -> dict[str, Path]:
    """The file behind each path; nothing else of the disk can be asked for."""
    found = (path for path in sorted(folder.rglob("*")) if path.suffix in TYPES)
    return {f"/{path.relative_to(folder).as_posix()}": path for path in found}


def page_response(path: Path) -> web.Response:
    # Read each time: whoever changes the page reloads it. They are small.
    return web.Response(text=path.read_text("utf-8"), content_type=TYPES[path.suffix])
