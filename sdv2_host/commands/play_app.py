"""The command line that plays a running daemon. Commands import what they need when called."""
# ruff: noqa: PLC0415  (lazy imports: see cli.py)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sdv2_host.commands.client import Client

preset_app = typer.Typer(help="Load, save and list presets of the running host.")
cue_app = typer.Typer(help="Run the cue list of the running host.")
surfaces_app = typer.Typer(help="Ready-made surfaces: Open Stage Control, TouchOSC, Pure Data.")
osc_app = typer.Typer(help="OSC of the running host: watch, learn, send, and the addresses.")

PANEL = "Play a running host"

Name = Annotated[str | None, typer.Option(help="Name of the host, where several run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Fade = Annotated[float | None, typer.Option(help="Seconds that it takes; else its own.")]


def _host(name: str | None) -> Client:
    from sdv2_host.commands.client import find_host

    return find_host(name)


def add_play_commands(app: typer.Typer) -> None:
    """get, set, prompt, panic, resume and status, beside preset, cue and osc."""
    for command in (prompt, set_, get, panic, resume, status):
        app.command(command.__name__.rstrip("_"), rich_help_panel=PANEL)(command)
    app.add_typer(preset_app, name="preset", rich_help_panel=PANEL)
    app.add_typer(cue_app, name="cue", rich_help_panel=PANEL)
    app.add_typer(osc_app, name="osc", rich_help_panel=PANEL)
    app.add_typer(surfaces_app, name="surfaces", rich_help_panel="Prepare")


def get(
    params: Annotated[list[str] | None, typer.Argument(metavar="[PARAM]...")] = None,
    json: Json = False,
    name: Name = None,
) -> None:
    """Print parameters of the running host, by name or OSC address; all without one.

    Example: sdv2-host get prompt steps
    """
    from sdv2_host.commands.play import get as show

    show(_host(name), params or [], json)


def set_(
    values: Annotated[list[str], typer.Argument(metavar="PARAM=VALUE...")],
    fade: Fade = None,
    name: Name = None,
) -> int:
    """Set parameters of the running host, together; prints what is in force then.

    Examples:

      sdv2-host set steps=3 noise_s_max=0.7

      sdv2-host set mix=0 --fade 4
    """
    from sdv2_host.commands.play import set_values

    return set_values(_host(name), values, fade)


def prompt(
    text: Annotated[str, typer.Argument(help="The prompt, or several: 'neon:2 | gold:1'.")],
    fade: Fade = None,
    deck: Annotated[str, typer.Option(help="a or b.")] = "a",
    name: Name = None,
) -> int:
    """Give the running host a prompt.

    Examples:

      sdv2-host prompt "neon city at night"

      sdv2-host prompt "watercolor:2 | gold:1" --fade 5
    """
    from sdv2_host.commands.play import set_params
    from sdv2_host.commands.settings import check_choice

    check_choice("--deck", deck.lower(), ("a", "b"))
    key = "prompt" if deck.lower() == "a" else "prompt_b"
    return set_params(_host(name), {key: text}, fade)


def panic(name: Name = None) -> None:
    """Show the safe picture, at once, until `sdv2-host resume`."""
    print(_host(name).call("panic"))


def resume(name: Name = None) -> None:
    """End panic, blackout, freeze and pause."""
    print(_host(name).call("resume"))


def status(
    json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again.")] = False,
    name: Name = None,
) -> int:
    """How the running host does; the exit code is 0 only while it is live."""
    from sdv2_host.commands.play import status as show

    return show(_host(name), json, watch)


@preset_app.command("list")
def preset_list(json: Json = False, name: Name = None) -> None:
    """List the presets; those for the running engine come first, the loaded one is marked."""
    from sdv2_host.commands.play import list_presets

    list_presets(_host(name), json)


@preset_app.command("load")
def preset_load(preset: str, fade: Fade = None, name: Name = None) -> None:
    """Load a preset.

    Example: sdv2-host preset load "Neon Rain" --fade 3
    """
    from sdv2_host.commands.play import load_preset

    print(load_preset(_host(name), preset, fade))


@preset_app.command("save")
def preset_save(preset: str, name: Name = None) -> None:
    """Save the present look under this name."""
    print(_host(name).call("preset_save", preset))


@preset_app.command("next")
def preset_next(name: Name = None) -> None:
    """Load the preset after the present one."""
    print(_host(name).call("preset_next"))


@preset_app.command("previous")
def preset_previous(name: Name = None) -> None:
    """Load the preset before the present one."""
    print(_host(name).call("preset_previous"))


@cue_app.command("list")
def cue_list(json: Json = False, name: Name = None) -> None:
    """List the cue lists, and the cues of the one in hand."""
    from sdv2_host.commands.play import list_cues

    list_cues(_host(name), json)


@cue_app.command("load")
def cue_load(cues: str, name: Name = None) -> None:
    """Take a cue list in hand.

    Example: sdv2-host cue load "First night"
    """
    print(_host(name).call("cues_load", cues))


@cue_app.command("go")
def cue_go(
    cue: Annotated[str | None, typer.Argument(metavar="[NUMBER]")] = None, name: Name = None
) -> None:
    """The next cue, or the one of this number, now."""
    print(_host(name).call("cue_go", *([cue] if cue is not None else [])))


@cue_app.command("back")
def cue_back(name: Name = None) -> None:
    """The cue before the present one."""
    print(_host(name).call("cue_back"))


@osc_app.command("monitor")
def osc_monitor(name: Name = None) -> None:
    """Print what arrives, what changes and what is refused, with who did it, as it happens."""
    from sdv2_host.commands.play_osc import monitor

    monitor(_host(name))


@osc_app.command("doc")
def osc_doc(json: Json = False) -> None:
    """Print the OSC addresses: of parameters, actions and of what is sent back."""
    from sdv2_host.surfaces.reference import reference_json, reference_markdown

    print(reference_json() if json else reference_markdown())


@osc_app.command("learn")
def osc_learn(
    target: Annotated[str | None, typer.Argument(metavar="[PARAM]")] = None,
    remove: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Forget this.")] = None,
    name: Name = None,
) -> None:
    """Let the next unknown OSC address play a parameter or an action; without one, list.

    Examples:

      sdv2-host osc learn crossfade

      sdv2-host osc learn --remove /1/fader1
    """
    from sdv2_host.commands.play_osc import learn

    learn(_host(name), target, remove)


@osc_app.command("send")
def osc_send(
    address: str,
    args: Annotated[list[str] | None, typer.Argument(metavar="[VALUE]...")] = None,
    name: Name = None,
) -> None:
    """Send one OSC message to the running host, and print what it answers within 0.3 s.

    A question, which has no value, is answered; what the host refuses is an error with its reason.
    What it obeys has no answer.

    Examples:

      sdv2-host osc send /sdv2/noise/bounds 0.3 0.6

      sdv2-host osc send /sdv2/steps
    """
    from sdv2_host.commands.play_osc import send

    send(_host(name), address, args or [])


@surfaces_app.command("write")
def surfaces_write(
    folder: Annotated[Path, typer.Argument(help="Where to.")] = Path("surfaces"),
    host: Annotated[str, typer.Option(help="Address of the machine that is played.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port, 1..65535.")] = 9400,
    docs: Annotated[bool, typer.Option("--docs", help="All that this repository keeps.")] = False,
) -> None:
    """Write a session, a layout and a patch that play this host, made from its parameters.

    Examples:

      sdv2-host surfaces write

      sdv2-host surfaces write ipad --host 192.168.1.20
    """
    from sdv2_host.commands.docs import write_docs
    from sdv2_host.commands.settings import check_host, check_range
    from sdv2_host.surfaces.files import TOUCH, write_surfaces, write_touch

    check_host("--host", host)
    check_range("--port", port, 1, 65535)
    if docs:
        written = [*write_docs(Path("docs")), *write_touch(Path(TOUCH))]
    else:
        written = write_surfaces(folder, host, port)
    for path in written:
        print(f"wrote {path}")
