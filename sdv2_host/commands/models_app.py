"""The command line of `sdv2-host models`. Commands import what they need when they are called."""
# ruff: noqa: PLC0415, PLR0913, PLR0917  (lazy imports, and an option is an argument: see cli.py)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdv2_host.config import Config

models_app = typer.Typer(help="Install, list, verify and remove models.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="wan-1.3b or wan-14b.")]
Folder = Annotated[
    str,
    typer.Option("--models-dir", metavar="DIR", help=Config.model_fields["models_dir"].description),
]
CatalogueFile = Annotated[Path | None, typer.Option("--catalogue", hidden=True)]


@models_app.command("list")
def list_models(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    models_dir: Folder = "",
    catalogue: CatalogueFile = None,
) -> None:
    """List the models: their parts, sizes, licences, and what is installed.

    Example: sdv2-host models list
    """
    from sdv2_host.commands.models import list_models as show
    from sdv2_host.commands.models import open_store

    show(open_store(models_dir, catalogue), json)


@models_app.command()
def pull(
    name: Name,
    text: Annotated[
        bool, typer.Option("--text/--no-text", help="With the text encoder, 11.4 GB.")
    ] = True,
    taehv: Annotated[
        bool, typer.Option("--taehv/--no-taehv", help="With the small autoencoder, 23 MB.")
    ] = True,
    revision: Annotated[
        str | None,
        typer.Option(help="Commit, branch or tag of the DiT, in place of the known one."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Read what is there, load damaged files again.")
    ] = False,
    models_dir: Folder = "",
    catalogue: CatalogueFile = None,
) -> int:
    """Download a model from the Hugging Face hub into its cache; goes on where it stopped.

    Examples:

      sdv2-host models pull wan-1.3b

      sdv2-host models pull wan-14b --no-text
    """
    from sdv2_host.commands.models import open_store
    from sdv2_host.commands.models_pull import Wishes
    from sdv2_host.commands.models_pull import pull as pull_model

    wishes = Wishes(text, taehv, revision, repair)
    return pull_model(open_store(models_dir, catalogue), name, wishes)


@models_app.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="All without it.")] = None,
    models_dir: Folder = "",
    catalogue: CatalogueFile = None,
) -> None:
    """Read installed files again and compare sizes and hashes.

    Example: sdv2-host models verify wan-1.3b
    """
    from sdv2_host.commands.models import open_store
    from sdv2_host.commands.models import verify as verify_models

    verify_models(open_store(models_dir, catalogue), name)


@models_app.command("rm")
def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    models_dir: Folder = "",
    catalogue: CatalogueFile = None,
) -> None:
    """Remove what no other installed model uses; imported files stay where they are.

    Example: sdv2-host models rm wan-14b
    """
    from sdv2_host.commands.models import open_store, remove_model

    remove_model(open_store(models_dir, catalogue), name, yes)


@models_app.command("import")
def import_path(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or a folder you have.")],
    loras: Annotated[
        bool, typer.Option("--loras", help="Copy the LoRA files of a folder too.")
    ] = False,
    models_dir: Folder = "",
    catalogue: CatalogueFile = None,
) -> None:
    """Use files you have: a checkpoint, a ComfyUI, diffusers or StreamDiffusionV2 folder, a LoRA.

    They stay where they are; only LoRA files are copied, into the models folder.

    Examples:

      sdv2-host models import ~/StreamDiffusionV2

      sdv2-host models import ghibli.safetensors
    """
    from sdv2_host.commands.models import open_store
    from sdv2_host.commands.models_import import import_path as import_found

    import_found(open_store(models_dir, catalogue), path.expanduser().absolute(), loras)


@models_app.command()
def plan(
    ctx: typer.Context,
    engine: Name,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Default 512x512.")] = None,
    max_steps: Annotated[
        int | None, typer.Option("--steps", "--max-steps", help="Most denoising steps, 1..4.")
    ] = None,
    vae: Annotated[str | None, typer.Option(help="wan, hybrid or taehv.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, bfloat16, float16 or float32.")] = None,
    linears: Annotated[str | None, typer.Option(help="plain or fp8.")] = None,
    mode: Annotated[str | None, typer.Option(help="corrected or reference.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = None,
    text_device: Annotated[
        str | None, typer.Option(help="Where the text encoder runs; it counts if the same.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(metavar="GIB", help="Plan for a graphics card of this size.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the numbers to this file.")
    ] = None,
) -> None:
    """Say how much memory a model will take, before anything is loaded, and what would fit.

    Examples:

      sdv2-host models plan wan-1.3b --size 832x480 --steps 2

      sdv2-host models plan wan-14b --memory 24
    """
    from sdv2_host.commands.models_plan import show_plan
    from sdv2_host.commands.settings import check_choice, check_range, make_config
    from sdv2_host.gpu.wan_spec import WAN_DIMS

    check_choice("NAME", engine, tuple(WAN_DIMS))
    check_range("--steps", max_steps or 1, 1, 4)
    show_plan(make_config(ctx.params), memory, json_file)
