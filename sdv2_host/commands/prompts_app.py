"""The command line of `sdv2-host prompts`. Commands import what they need when they are called."""
# ruff: noqa: PLC0415  (lazy imports, as in cli.py)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdv2_host.commands.options import TextDevice, Threads
from sdv2_host.config import Config

prompts_app = typer.Typer(help="Bank the prompts of a show: then it runs without a text encoder.")

ENGINE = "wan-1.3b"
"""All Wan engines share the text encoder, and so the bank."""


Folder = Annotated[
    str,
    typer.Option("--models-dir", metavar="DIR", help=Config.model_fields["models_dir"].description),
]


@prompts_app.command("add")
def add_prompts(
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Prompts.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A text file with a prompt in each line.")
    ] = None,
    text_device: TextDevice = None,
    threads: Threads = None,
    models_dir: Folder = "",
) -> int:
    """Encode prompts and keep them on disk, for every Wan engine.

    The bank is a folder that can be copied to another machine, see: sdv2-host prompts list.

    Examples:

      sdv2-host prompts add "neon rain" "a charcoal sketch"

      sdv2-host prompts add --file show.txt --text-device cuda
    """
    from sdv2_host.commands.prompts import add
    from sdv2_host.commands.settings import make_config

    options = {"text_device": text_device, "threads": threads, "models_dir": models_dir}
    return add(make_config({"engine": ENGINE, **options}), texts or [], file)


@prompts_app.command("list")
def list_banked(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    models_dir: Folder = "",
) -> None:
    """List the prompts that need no text encoder, and the folder they are in.

    Example: sdv2-host prompts list
    """
    from sdv2_host.commands.prompts import list_prompts, open_bank

    list_prompts(open_bank(models_dir), json)


@prompts_app.command("rm")
def remove_prompts(
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Prompts.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all of them.")] = False,
    models_dir: Folder = "",
) -> None:
    """Remove prompts from the bank.

    Examples:

      sdv2-host prompts rm "neon rain"

      sdv2-host prompts rm --all
    """
    from sdv2_host.commands.prompts import open_bank, remove

    remove(open_bank(models_dir), texts or [], everything)
