"""The command line of `sdv2-host replay`."""
# ruff: noqa: PLC0415, PLR0913, PLR0917  (lazy imports, and an option is an argument: see cli.py)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdv2_host.commands.options import Device, ModelsDir, Threads, Vae


def add_replay_command(app: typer.Typer) -> None:
    """`app` has the command."""
    app.command()(replay)


def replay(
    show: Annotated[Path, typer.Argument(metavar="SHOW", help="A recorded show: NAME.show.")],
    target: Annotated[Path | None, typer.Argument(metavar="OUT", help="The MP4 to write.")] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Compare with the show's pictures; fail if one differs or is missing."
        ),
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(min=1, max=4, help="Denoising steps of every picture, 1..4."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Size of the pictures; else that of the show."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, help="The noise of every picture.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Another engine; else that of the show.")
    ] = None,
    vae: Vae = None,
    device: Device = None,
    threads: Threads = None,
    models_dir: ModelsDir = None,
) -> None:
    """Make a recorded show again: the same pictures bit for bit, or better ones.

    A show is what /sdv2/record/show (Record show on the page) writes into the recordings
    folder: the input frames, and every change of a parameter with the chunk it came at.
    Without options the pictures are those of the show, on a computer and with versions like
    those it was recorded with. --steps, --size, --engine and --seed make others of the same
    performance.

    Examples:

      sdv2-host replay sdv2-20261127-200000-000.show again.mp4

      sdv2-host replay sdv2-20261127-200000-000.show large.mp4 --steps 4 --size 512x512

      sdv2-host replay sdv2-20261127-200000-000.show --verify
    """
    from sdv2_host.commands.replay import Changes, replay_show, report
    from sdv2_host.errors import ConfigError

    changes = Changes(steps, size, seed, engine, vae, device, threads, models_dir or "")
    verdict = replay_show(show, target, changes, verify)
    if target is not None:
        print(f"wrote {target}")
    if not changes.has_any:
        print("\n".join(report(show, verdict, changes)))
    if verify and verdict.first_other:
        raise ConfigError("the pictures are not those of the show")
    if verify and verdict.num_missing:
        raise ConfigError("not all pictures of the show could be compared")
