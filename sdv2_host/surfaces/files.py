"""The files that are generated from the tables: what each holds, and which are kept in the tree.

`python -m sdv2_host surfaces write --docs` writes them anew; a test fails while they are stale.
"""

from __future__ import annotations

from pathlib import Path

from sdv2_host.errors import ConfigError
from sdv2_host.surfaces.layout import DEFAULT_HOST, DEFAULT_PORT
from sdv2_host.surfaces.open_stage_control import open_stage_control
from sdv2_host.surfaces.pure_data import pure_data
from sdv2_host.surfaces.reference import reference_markdown
from sdv2_host.surfaces.touchdesigner import touch_json, touch_markdown
from sdv2_host.surfaces.touchosc import touchosc

BEGIN = "<!-- generated from the tables: sdv2-host surfaces write --docs -->"
END = "<!-- end of what is generated -->"
REFERENCE = "control.md"
TOUCH = "plugins/touchdesigner"
TOUCH_PARAMETERS = "parameters.json"


def surface_files(host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> dict[str, bytes]:
    """Content by file name; the widgets send to host:port, where a file can say so."""
    return {
        "sdv2-open-stage-control.json": open_stage_control(host, port),
        "sdv2.tosc": touchosc(),
        "sdv2.pd": pure_data(host, port),
    }


def with_reference(text: str) -> str:
    """The document with the tables of now between the marks.

    Raises:
        ConfigError: it has no marks.
    """
    return _between_marks(text, reference_markdown(), REFERENCE)


def with_touch_tables(text: str) -> str:
    """The same for the README of the TouchDesigner component. Raises: ConfigError."""
    return _between_marks(text, touch_markdown(), f"{TOUCH}/README.md")


def _between_marks(text: str, tables: str, name: str) -> str:
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"{name}: the marks around the tables are gone; put back {BEGIN}")
    return f"{head}{BEGIN}\n\n{tables}\n{END}{tail}"


def write_surfaces(folder: Path, host: str, port: int) -> list[Path]:
    """The files in the folder. Raises: ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, content in surface_files(host, port).items():
            (folder / name).write_bytes(content)
            paths.append(folder / name)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from error
    return paths


def write_touch(folder: Path) -> list[Path]:
    """What is generated beside the TouchDesigner component is up to date. Raises: ConfigError."""
    parameters, readme = folder / TOUCH_PARAMETERS, folder / "README.md"
    try:
        parameters.write_text(touch_json(), "utf-8")
        readme.write_text(with_touch_tables(readme.read_text("utf-8")), "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write in {folder}: {error.strerror}") from error
    return [parameters, readme]
